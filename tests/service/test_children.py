"""Jobs that a running job starts: on whose slot they run, what they inherit, how they end with their parent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from jobworkerp_standalone.jobs.model import channel_from_name
from tests.support.family import PARENT, open_family
from tests.support.house import PUPPET, STATUS, House, eventually
from tests.support.patience import PATIENCE_SEC, longer_and_longer

DIRECT = {"response_type": 1}
QUEUES = ["NORMAL", "WITH_BACKUP", "DB_ONLY"]


async def family(house: House, args: Any, worker: str = "p", **fields: Any) -> Any:
    return await house.enqueue(json.dumps(args).encode(), worker=worker, **fields)


def does(*texts: str, **fields: Any) -> list[dict[str, Any]]:
    return [{"do": text, **fields} for text in texts]


async def test_children_in_sequence_answer_their_parent(tmp_path: Path) -> None:
    async with open_family(tmp_path) as house:
        await house.worker("p", PARENT, **DIRECT)
        reply = await family(house, {"children": does("a", "b", "c")})
        assert json.loads(reply.result.data.output.items) == ["did a", "did b", "did c"]
        assert len((await house.client.items("WorkerService.FindList")).items) == 1


async def test_a_child_runs_on_the_only_slot_of_its_channel(tmp_path: Path) -> None:
    async with open_family(tmp_path) as house:
        await house.worker("p", PARENT, channel="narrow", **DIRECT)
        nested = {"children": [{"children": does("x", "y", channel="narrow"), "channel": "narrow"}]}
        reply = await family(house, nested)
        assert reply.result.data.status == STATUS["SUCCESS"], reply.result.data.output.items
        assert house.strings.ran == [b"x", b"y"]


async def test_a_grandchild_finds_the_slot_of_its_grandparent(tmp_path: Path) -> None:
    """Its parent runs in another channel; the only slot of its own is its grandparent's."""
    async with open_family(tmp_path) as house:
        await house.worker("p", PARENT, channel="narrow", **DIRECT)
        reply = await family(house, {"children": [{"children": does("deep", channel="narrow")}]})
        assert reply.result.data.status == STATUS["SUCCESS"], reply.result.data.output.items


async def test_parallel_children_take_free_slots_and_no_more(tmp_path: Path) -> None:
    async with open_family(tmp_path) as house:
        await house.worker("p", PARENT, **DIRECT)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(family, house, {"children": does(*["wait"] * 6), "together": True})
            await house.strings.until(lambda: house.strings.running == 4)  # one on the parent's slot, three beside it
            house.strings.release.set()
        assert len(house.strings.ran) == 6
        assert house.strings.most_running == 4


async def test_parents_on_every_slot_end(tmp_path: Path) -> None:
    async with open_family(tmp_path, WORKER_DEFAULT_CONCURRENCY="8") as house:
        await house.worker("p", PARENT, **DIRECT)
        replies: list[Any] = []

        async def one() -> None:
            replies.append(await family(house, {"children": does("a", "b", "c"), "together": True}))

        with anyio.fail_after(PATIENCE_SEC):
            async with anyio.create_task_group() as tasks:
                for _ in range(8):
                    tasks.start_soon(one)
        assert [reply.result.data.status for reply in replies] == [STATUS["SUCCESS"]] * 8
        assert house.strings.most_running <= 8


async def test_a_child_that_is_retried_finds_its_parents_slot_again(tmp_path: Path) -> None:
    async with open_family(tmp_path) as house:
        await house.worker("p", PARENT, channel="narrow", **DIRECT)
        reply = await family(house, {"children": does("flaky 2 x", channel="narrow", retry=20)})
        assert json.loads(reply.result.data.output.items) == ["did flaky 2 x"]


async def test_a_full_queue_does_not_stop_children(tmp_path: Path) -> None:
    async with open_family(tmp_path, JOB_QUEUE_CHANNEL_CAPACITY="1", WORKER_DEFAULT_CONCURRENCY="1") as house:
        await house.worker("p", PARENT, **DIRECT)
        await house.worker("w")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(family, house, {"children": does("wait", "b", "c"), "together": True})
            await house.strings.until(lambda: house.strings.running == 1)
            await eventually(lambda: len(house.waiting("__default_job_channel__")) == 1)
            house.strings.release.set()
        assert sorted(house.strings.ran) == [b"b", b"c", b"wait"]


async def test_a_child_is_visible_and_cancellable_by_itself(tmp_path: Path) -> None:
    async with open_family(tmp_path) as house:
        await house.worker("p", PARENT, **DIRECT)
        replies: list[Any] = []

        async def parent() -> None:
            replies.append(await family(house, {"children": does("wait")}, metadata={"x-given": "client"}))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(parent)
            await house.strings.until(lambda: house.strings.running == 1)
            child = house.strings.calls[0]
            listed = await house.client.items("JobService.FindListWithProcessingStatus", status=2)
            ids = {each.job.id.value for each in listed.items}
            assert child.job_id in ids
            assert child.metadata["jobworkerp-parent-job-id"] in {str(each) for each in ids - {child.job_id}}
            assert dict(child.metadata) | {"from-task": "task", "x-given": "client"} == dict(child.metadata)
            assert await house.delete(child.job_id)
        assert replies[0].result.data.status == STATUS["MAX_RETRY"]
        assert b"cancelled by a client" in replies[0].result.data.output.items


@pytest.mark.parametrize("together", [False, True])
async def test_a_cancelled_parent_takes_its_children_along(tmp_path: Path, together: bool) -> None:
    async with open_family(tmp_path) as house:
        await house.worker("p", PARENT, store_failure=True, broadcast_results=True)
        reply = await family(house, {"children": does("wait", "wait"), "together": together})
        await house.strings.until(lambda: house.strings.running == (2 if together else 1))
        assert await house.delete(reply.id.value)
        result = await house.listen(reply.id.value, "p")
        assert result.data.status == STATUS["CANCELLED"]
        assert house.strings.cancelled == (2 if together else 1)
        assert house.strings.running == 0
        child = (await house.results(house.strings.calls[0].job_id))[0]
        assert child.data.status == STATUS["CANCELLED"]
        assert b"its parent" in child.data.output.items
        assert len(house.daemon.engine.live) == 0


async def test_a_parents_time_out_ends_its_children(tmp_path: Path) -> None:
    async with open_family(tmp_path) as house:
        await house.worker("p", PARENT, **DIRECT)
        for limit in longer_and_longer(100):
            reply = await family(house, {"children": [{"children": does("wait")}]}, timeout=limit)
            assert reply.result.data.status == STATUS["MAX_RETRY"]
            if house.strings.ran:
                break
        assert house.strings.cancelled == 1
        assert len(house.daemon.engine.live) == 0


async def test_a_child_that_nobody_waits_for_goes_on(tmp_path: Path) -> None:
    async with open_family(tmp_path) as house:
        await house.worker("p", PARENT, **DIRECT)
        reply = await family(house, {"children": does("wait", loose=True)})
        child = int(json.loads(reply.result.data.output.items)[0])
        await house.strings.until(lambda: house.strings.running == 1)
        house.strings.release.set()
        await eventually(lambda: len(house.daemon.engine.live) == 0)
        assert (await house.results(child))[0].data.status == STATUS["SUCCESS"]


async def test_a_cancelled_parent_ends_children_that_nobody_waits_for(tmp_path: Path) -> None:
    async with open_family(tmp_path) as house:
        await house.worker("p", PARENT)
        reply = await family(house, {"children": [*does("wait", loose=True), *does("wait")]})
        await house.strings.until(lambda: house.strings.running == 2)
        await house.delete(reply.id.value)
        await eventually(lambda: len(house.daemon.engine.live) == 0)
        assert house.strings.cancelled == 2


async def test_a_durable_child_has_a_row_while_it_runs(tmp_path: Path) -> None:
    async with open_family(tmp_path) as house:
        await house.worker("p", PARENT, **DIRECT)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(family, house, {"children": does("wait", queue="WITH_BACKUP")})
            await house.strings.until(lambda: house.strings.running == 1)
            assert (await house.client.call("JobService.Count")).total == 1
            house.strings.release.set()
        assert (await house.client.call("JobService.Count")).total == 0


@pytest.mark.parametrize("queue", ["WITH_BACKUP", "DB_ONLY"])
async def test_durable_children_run_on_their_parents_slot(tmp_path: Path, queue: str) -> None:
    async with open_family(tmp_path) as house:
        await house.worker("p", PARENT, channel="narrow", **DIRECT)
        reply = await family(house, {"children": does("a", "b", queue=queue, channel="narrow"), "together": True})
        assert json.loads(reply.result.data.output.items) == ["did a", "did b"]


async def test_a_durable_child_survives_without_its_parent(tmp_path: Path) -> None:
    async with open_family(tmp_path) as house:
        await house.worker("p", PARENT, **DIRECT)
        await family(house, {"children": does("wait", loose=True, queue="WITH_BACKUP", settings="kept")})
        await house.strings.until(lambda: house.strings.running == 1)
    async with open_family(tmp_path) as house:
        await house.strings.until(lambda: house.strings.running == 1)
        assert house.strings.loads == [b"kept"]
        house.strings.release.set()
        await eventually(lambda: len(house.daemon.engine.live) == 0)


async def test_a_static_task_has_one_stored_worker(tmp_path: Path) -> None:
    async with open_family(tmp_path) as house:
        await house.worker("p", PARENT, **DIRECT)
        args = {"children": does("a", "b", static=True, name="kept")}
        await family(house, args)
        await family(house, args)
        workers = (await house.client.items("WorkerService.FindList")).items
        assert sorted(each.data.name for each in workers) == ["kept", "p"]
        assert house.strings.loads == [b""]
        await family(house, {"children": does("c", static=True, name="kept", settings="other")})
        assert house.strings.loads == [b"", b"other"]


async def test_a_child_of_a_stored_worker(tmp_path: Path) -> None:
    async with open_family(tmp_path) as house:
        await house.worker("p", PARENT, **DIRECT)
        await house.worker("w", PUPPET)
        reply = await family(house, {"children": does("a", worker="w")})
        assert json.loads(reply.result.data.output.items) == ["did a"]
        reply = await family(house, {"children": does("a", worker="nobody")})
        assert reply.result.data.status == STATUS["OTHER_ERROR"]
        assert b"nobody" in reply.result.data.output.items


async def test_a_streaming_child_hands_its_items_up(tmp_path: Path) -> None:
    async with open_family(tmp_path) as house:
        await house.worker("p", PARENT, channel="narrow", **DIRECT)
        args = json.dumps({"children": does("a b c", channel="narrow")}).encode()
        answer = await house.client.items("JobService.EnqueueForStream", worker_name="p", args=args)
        assert [item.data for item in answer.items if item.data] == [b"a", b"b", b"c", b"folded:c"]


async def test_a_channel_nobody_configured_is_opened(tmp_path: Path) -> None:
    async with open_family(tmp_path) as house:
        await house.worker("p", PARENT, **DIRECT)
        reply = await family(house, {"children": does("a", channel="new")})
        assert json.loads(reply.result.data.output.items) == ["did a"]
        channels = await house.client.call("WorkerService.FindChannelList")
        assert {"new"} <= {each.name for each in channels.channels}


async def test_a_channel_that_was_opened_for_a_stored_worker_is_opened_again(tmp_path: Path) -> None:
    async with open_family(tmp_path) as house:
        await house.worker("p", PARENT, **DIRECT)
        children = [*does("a", static=True, name="kept", channel="new"), *does("a", channel="passing")]
        await family(house, {"children": children})
    async with open_family(tmp_path) as house:
        channels = {each.name for each in (await house.client.call("WorkerService.FindChannelList")).channels}
        assert channels == {"[default]", "narrow", "new"}
        instance = (await house.client.items("WorkerInstanceService.FindList")).items[0]
        assert "new" in {each.name for each in instance.data.channels}
        await house.enqueue(b"again", "kept", overrides={"response_type": 1})
        assert house.strings.ran == [b"again"]


async def test_a_channel_that_was_opened_is_opened_again_for_a_row_that_waits_in_it(tmp_path: Path) -> None:
    async with open_family(tmp_path) as house:
        await house.worker("p", PARENT, **DIRECT)
        await family(house, {"children": does("wait", loose=True, queue="WITH_BACKUP", channel="new")})
        await house.strings.until(lambda: house.strings.running == 1)
    async with open_family(tmp_path) as house:
        await house.strings.until(lambda: house.strings.running == 1)
        house.strings.release.set()
        await eventually(lambda: len(house.daemon.engine.live) == 0)


async def test_running_children_go_on_through_the_grace_of_a_stop(tmp_path: Path) -> None:
    async with open_family(tmp_path, SHUTDOWN_GRACE_SEC="3600", WORKER_DEFAULT_CONCURRENCY="1") as house:
        await house.worker("p", PARENT, store_success=True)
        reply = await family(house, {"children": does("wait", "b", "c"), "together": True})
        await house.strings.until(lambda: house.strings.running == 1)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(house.daemon.stop)
            await eventually(lambda: house.daemon.engine.intake.closed)
            house.strings.release.set()
        assert [each.status for each in await house.daemon.engine.store.results_of_job(reply.id.value, 1)] == [0]


async def test_a_stop_ends_parent_and_children_and_gives_the_durable_parent_back(tmp_path: Path) -> None:
    async with open_family(tmp_path) as house:
        await house.worker("p", PARENT, queue_type=1)
        await family(house, {"children": does("wait", "wait", queue="WITH_BACKUP"), "together": True})
        await house.strings.until(lambda: house.strings.running == 2)
    async with open_family(tmp_path) as house:
        await house.strings.until(lambda: house.strings.running == 2)
        assert (await house.client.call("JobService.Count")).total == 3
        house.strings.release.set()
        await eventually(lambda: len(house.daemon.engine.live) == 0)
        assert len(house.strings.ran) == 2


@pytest.mark.parametrize("later", [{"channel": "narrow"}, {"queue": "DB_ONLY"}])
async def test_a_family_that_cannot_go_on_in_a_stop_goes_back_at_once(tmp_path: Path, later: dict[str, str]) -> None:
    """The next child would have to wait where nothing is taken any more: the durable head is given back."""
    inner = {"children": [*does("wait"), *does("later", **later)]}
    async with open_family(tmp_path, SHUTDOWN_GRACE_SEC="3600") as house:
        await house.worker("p", PARENT, queue_type=1)
        await family(house, {"children": [inner]})
        await house.strings.until(lambda: house.strings.running == 1)
        with anyio.fail_after(PATIENCE_SEC):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(house.daemon.stop)
                await eventually(lambda: house.daemon.engine.intake.closed)
                house.strings.release.set()
        assert house.strings.ran == [b"wait"]
    async with open_family(tmp_path) as house:
        house.strings.release.set()
        await eventually(lambda: house.strings.ran == [b"wait", b"later"])
        await eventually(lambda: len(house.daemon.engine.live) == 0)


@pytest.mark.parametrize("queue", QUEUES)
async def test_a_child_that_waits_when_the_process_stops_is_no_failed_child(tmp_path: Path, queue: str) -> None:
    """The parent must not take it for an error that it can heal, or compensate for: it is given back, and goes on."""
    async with open_family(tmp_path, SHUTDOWN_GRACE_SEC="3600") as house:
        await house.worker("blocker", channel="narrow")
        await house.enqueue(b"wait", "blocker")
        await house.strings.until(lambda: house.strings.running == 1)
        await house.worker("p", PARENT, queue_type=1, store_failure=True)
        reply = await family(house, {"children": does("later", channel="narrow", queue=queue)})
        await eventually(lambda: house.waiting("narrow") == [b"later"])
        await stopped_while_released(house)
        assert await house.daemon.engine.store.results_of_job(reply.id.value, 1) == []
        assert house.strings.ran == [b"wait"]
    async with open_family(tmp_path) as house:
        await eventually(lambda: len(house.strings.ran) > 0)
        await eventually(lambda: len(house.daemon.engine.live) == 0)
        assert house.strings.ran == [b"later"]
        assert (await house.client.call("JobService.Count")).total == 0


@pytest.mark.parametrize("queue", QUEUES)
async def test_a_child_that_waits_when_the_process_stops_ends_with_a_parent_that_does(
    tmp_path: Path, queue: str
) -> None:
    async with open_family(tmp_path, SHUTDOWN_GRACE_SEC="3600") as house:
        await house.worker("blocker", channel="narrow")
        await house.enqueue(b"wait", "blocker")
        await house.strings.until(lambda: house.strings.running == 1)
        await house.worker("p", PARENT, store_failure=True)
        reply = await family(house, {"children": does("later", channel="narrow", queue=queue)})
        await eventually(lambda: house.waiting("narrow") == [b"later"])
        await stopped_while_released(house)
        (result,) = await house.daemon.engine.store.results_of_job(reply.id.value, 9)
        assert (result.status, b"server stopped" in (result.output or b"")) == (STATUS["CANCELLED"], True)
        assert await house.daemon.engine.store.count() == 0


@pytest.mark.parametrize("queue", QUEUES)
async def test_a_child_that_is_to_be_retried_when_the_process_stops_does_not_hold_it(
    tmp_path: Path, queue: str
) -> None:
    async with open_family(tmp_path, SHUTDOWN_GRACE_SEC="3600") as house:
        await house.worker("p", PARENT, queue_type=1)
        await family(house, {"children": does("wait", queue=queue, retry=5, timeout=100)})
        await eventually(lambda: len(house.strings.ran) > 0)
        with anyio.fail_after(PATIENCE_SEC):
            await house.daemon.stop()
        assert await house.daemon.engine.store.count() == 1


@pytest.mark.parametrize("queue", ["WITH_BACKUP", "DB_ONLY"])
async def test_a_durable_child_stays_with_the_process_in_which_it_is_waited_for(tmp_path: Path, queue: str) -> None:
    """Also while it waits for a far retry, or where more wait than a process takes ahead: nobody else may have it."""
    async with open_family(tmp_path) as house:
        store = house.daemon.engine.store
        await house.worker("p", PARENT, queue_type=1)
        many = does(*["wait"] * 70, channel="narrow", queue=queue)
        far = does("fail retryable later", queue=queue, retry=3_600_000)
        parent = (await family(house, {"children": [*many, *far], "together": True})).id.value
        with anyio.fail_after(PATIENCE_SEC):
            while [row.retried for row in await store.listing(None, 0)].count(1) == 0 or await store.count() < 72:
                pass
        assert await store.next_due_ms(["narrow", channel_from_name(None)]) is None
        await house.delete(parent)
        with anyio.fail_after(PATIENCE_SEC):
            while await store.count():
                pass


async def stopped_while_released(house: House) -> None:
    """Stop, and let go what runs as soon as nothing new is taken."""
    with anyio.fail_after(PATIENCE_SEC):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(house.daemon.stop)
            await eventually(lambda: house.daemon.engine.intake.closed)
            house.strings.release.set()


async def test_a_child_cannot_be_given_keys_of_the_program(tmp_path: Path) -> None:
    async with open_family(tmp_path) as house:
        await house.worker("p", PARENT, **DIRECT)
        given = {"jobworkerp-goes-on-with": "1", "jobworkerp-generation": "-9", "x-mine": "v"}
        await family(house, {"children": does("a", metadata=given)})
        metadata = house.strings.calls[0].metadata
        assert (metadata["x-mine"], metadata["jobworkerp-generation"]) == ("v", "1")
        assert "jobworkerp-goes-on-with" not in metadata


async def test_what_is_wrong_with_a_durable_child_is_not_blamed_on_a_chain(tmp_path: Path) -> None:
    async with open_family(tmp_path) as house:
        await house.worker("p", PARENT, **DIRECT)
        await house.worker("kept", queue_type=1, store_failure=True)
        reply = await family(house, {"children": does("fail bad wrong", worker="kept")})
        assert b"wrong" in reply.result.data.output.items
        assert b"next_workers" not in reply.result.data.output.items
