"""Enqueue: what is accepted, where it goes, what the caller gets."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from tests.support.house import STATUS, House, eventually, open_house, refused
from tests.support.patience import longer_and_longer
from tests.support.wire_client import build


async def test_direct_waits_for_the_result(house: House) -> None:
    worker_id = await house.worker(response_type=1)
    before = int(time.time() * 1000)
    reply = await house.enqueue(b"hello", uniq_key="k", timeout=60_000, priority=1)
    data = reply.result.data
    assert (data.output.items, data.status) == (b"did hello", STATUS["SUCCESS"])
    assert (data.job_id, data.worker_id.value, data.worker_name) == (reply.id, worker_id, "w")
    assert (data.args, data.uniq_key, data.timeout, data.priority) == (b"hello", "k", 60_000, 1)
    assert before <= data.enqueue_time <= data.start_time <= data.end_time
    assert reply.result.id.value not in (0, reply.id.value)
    assert (data.response_type, data.retried, data.max_retry) == (1, 0, 0)


async def test_no_result_answers_with_the_id_alone_before_the_job_ends(house: House) -> None:
    await house.worker(broadcast_results=True)
    reply = await house.enqueue(b"wait")
    assert reply.id.value > 0
    assert not reply.HasField("result")
    await house.strings.until(lambda: house.strings.running == 1)
    house.strings.release.set()
    assert (await house.listen(reply.id.value)).data.output.items == b"did wait"


async def test_a_failed_direct_job_is_an_ok_answer_with_the_failure_inside(house: House) -> None:
    await house.worker(response_type=1)
    for kind, status in (
        ("retryable", "MAX_RETRY"),
        ("fatal", "FATAL_ERROR"),
        ("abort", "ABORT"),
        ("bad", "OTHER_ERROR"),
    ):
        data = (await house.enqueue(f"fail {kind} broke".encode())).result.data
        assert (data.status, data.output.items) == (STATUS[status], b"broke")


async def test_a_crashing_runner_ends_its_job_alone(house: House) -> None:
    await house.worker(response_type=1, channel="narrow")
    data = (await house.enqueue(b"crash")).result.data
    assert data.status == STATUS["OTHER_ERROR"]
    assert b"the runner crashed" in data.output.items
    assert (await house.enqueue(b"next")).result.data.status == STATUS["SUCCESS"]


@pytest.mark.parametrize("queue_type", [0, 1, 2])
async def test_every_queue_type_runs_the_job_once_and_leaves_no_row(house: House, queue_type: int) -> None:
    await house.worker(queue_type=queue_type, broadcast_results=True)
    job_id = (await house.enqueue(b"go")).id.value
    assert (await house.listen(job_id)).data.output.items == b"did go"
    assert house.strings.ran == [b"go"]
    assert (await house.client.call("JobService.Count")).total == 0
    assert await house.status(job_id) is None


@pytest.mark.parametrize(("queue_type", "rows"), [(0, 0), (1, 1), (2, 1)])
async def test_durable_jobs_have_a_row_while_they_wait_and_run(house: House, queue_type: int, rows: int) -> None:
    await house.worker(queue_type=queue_type, channel="narrow")
    first = await house.enqueue(b"wait")
    second = await house.enqueue(b"later")
    await house.strings.until(lambda: house.strings.running == 1)
    assert (await house.client.call("JobService.Count")).total == 2 * rows
    listed = [each.id.value for each in (await house.client.items("JobService.FindList")).items]
    assert listed == ([second.id.value, first.id.value] if rows else [])
    house.strings.release.set()


async def test_overrides_replace_the_workers_settings_field_by_field(house: House) -> None:
    await house.worker(store_success=True, broadcast_results=True, retry_policy={"type": 3, "max_retry": 2, "basis": 2})
    reply = await house.enqueue(b"x", overrides={"response_type": 1, "store_success": False})
    data = reply.result.data
    assert (data.response_type, data.store_success, data.broadcast_results) == (1, False, True)
    assert data.max_retry == 2
    assert await house.results(reply.id.value) == []
    one_retry = {"type": 3, "max_retry": 1, "interval": 1, "basis": 2}
    data = (
        await house.enqueue(b"fail retryable", overrides={"response_type": 1, "retry_policy": one_retry})
    ).result.data
    assert (data.max_retry, data.retried, data.status) == (1, 1, STATUS["MAX_RETRY"])
    assert data.resolved_retry_policy.type == 3


@pytest.mark.parametrize(
    ("request_fields", "words"),
    [
        ({"worker_name": None}, ["worker"]),
        ({"worker_name": ""}, ["worker_name"]),
        ({"worker_name": "nobody"}, ["nobody"]),
        ({"worker_name": None, "worker_id": {"value": 12345}}, ["12345"]),
        ({"run_after_time": -1}, ["run_after_time", "-1"]),
        ({"run_after_time": 1, "overrides": {"response_type": 1}}, ["run_after_time", "DIRECT"]),
        ({"using": "juggle"}, ["juggle", "plain", "flow"]),
        ({"using": "flow"}, ["flow", "EnqueueForStream"]),
        ({"using": "fed"}, ["fed", "stream"]),
        ({"priority": 7}, ["priority", "7"]),
        ({"overrides": {"response_type": 5}}, ["response_type", "5"]),
        ({"overrides": {"retry_policy": {"type": 1, "basis": 0.1}}}, ["overrides.retry_policy.basis", "0.1"]),
    ],
)
async def test_a_request_that_can_never_run_is_refused(
    house: House, request_fields: dict[str, Any], words: list[str]
) -> None:
    await house.worker()
    fields: dict[str, Any] = {"worker_name": "w", "args": b"x", **request_fields}
    async with refused(Status.INVALID_ARGUMENT, *words):
        await house.client.call("JobService.Enqueue", **{k: v for k, v in fields.items() if v is not None})
    assert house.strings.ran == []
    assert len(house.daemon.engine.live) == 0


async def test_direct_and_db_only_do_not_go_together(house: House) -> None:
    await house.worker(queue_type=2)
    async with refused(Status.INVALID_ARGUMENT, "DB_ONLY", "DIRECT"):
        await house.enqueue(overrides={"response_type": 1})


async def test_runners_that_are_not_built_are_unimplemented(house: House) -> None:
    await house.worker("llm", runner=32_768)
    async with refused(Status.UNIMPLEMENTED, "LLM"):
        await house.enqueue(worker="llm", using="chat")


async def test_high_runs_before_medium_before_low_and_each_in_order(house: House) -> None:
    await house.worker(channel="narrow", broadcast_results=True)
    await house.enqueue(b"wait")
    await house.strings.until(lambda: house.strings.running == 1)
    for name, priority in (("l1", -1), ("m1", 0), ("h1", 1), ("l2", -1), ("h2", 1), ("m2", 0)):
        last = await house.enqueue(name.encode(), priority=priority)
    house.strings.release.set()
    await house.strings.until(lambda: len(house.strings.ran) == 7)
    assert house.strings.ran[1:] == [b"h1", b"h2", b"m1", b"m2", b"l1", b"l2"]
    assert last.id.value


async def test_a_channel_runs_as_many_at_once_as_it_has_slots(house: House) -> None:
    await house.worker()
    await house.worker("one", channel="narrow")
    for _ in range(8):
        await house.enqueue(b"wait")
    await house.strings.until(lambda: house.strings.running == 4)
    await house.enqueue(b"wait", worker="one")
    await house.strings.until(lambda: house.strings.running == 5)
    house.strings.release.set()
    await house.strings.until(lambda: len(house.strings.ran) == 9 and house.strings.running == 0)
    assert house.strings.most_running == 5


async def test_a_timeout_ends_the_run_and_counts_as_retryable(house: House) -> None:
    await house.worker(response_type=1)
    for limit in longer_and_longer(30):
        data = (await house.enqueue(b"wait", timeout=limit)).result.data
        assert data.status == STATUS["MAX_RETRY"]
        assert b"%d ms" % limit in data.output.items
        if house.strings.ran:
            break
    assert house.strings.cancelled == 1


async def test_timeouts_beyond_32_bits_and_their_absence_are_kept(house: House) -> None:
    await house.worker(queue_type=2, channel="narrow")
    await house.enqueue(b"wait")
    await house.strings.until(lambda: house.strings.running == 1)
    wanted: dict[int, dict[str, Any]] = {2**40: {"timeout": 2**40}, 0: {"timeout": 0}, 31_536_000_000: {}}
    for expected, fields in wanted.items():
        job_id = (await house.enqueue(b"x", **fields)).id
        found = await house.client.call("JobService.Find", job_id)
        assert found.data.data.timeout == expected
    house.strings.release.set()


async def test_metadata_reaches_the_runner_and_the_job_without_secrets(house: House) -> None:
    await house.worker(queue_type=2)
    sent = {"traceparent": "00-1", "x-mine": "v", "authorization": "Bearer s", "cookie": "c", "jobworkerp-x": "no"}
    await house.client.call("JobService.Enqueue", worker_name="w", args=b"wait", metadata=sent)
    await house.strings.until(lambda: house.strings.running == 1)
    assert dict(house.strings.calls[0].metadata) == {"traceparent": "00-1", "x-mine": "v"}
    listed = (await house.client.items("JobService.FindList")).items[0]
    assert dict(listed.metadata) == {"traceparent": "00-1", "x-mine": "v"}
    house.strings.release.set()


async def test_a_key_is_held_from_acceptance_to_the_end_across_channels_and_queues(house: House) -> None:
    await house.worker()
    await house.worker("other", channel="narrow", queue_type=2, store_failure=True)
    first = await house.enqueue(b"wait", uniq_key="k")
    await house.strings.until(lambda: house.strings.running == 1)
    with pytest.raises(GRPCError) as caught:
        await house.enqueue(b"x", worker="other", uniq_key="k")
    assert caught.value.status is Status.ALREADY_EXISTS
    assert str(first.id.value) in (caught.value.message or "")
    async with house.client.open("JobService.Enqueue") as stream:
        request = build("jobworkerp.service.JobRequest", worker_name="w", args=b"x", uniq_key="k")
        await stream.send_message(request.SerializeToString(), end=True)
        with pytest.raises(GRPCError):
            await stream.recv_message()
        assert stream.trailing_metadata is not None
        trailer = stream.trailing_metadata["x-job-id-bin"]
    assert build("JobId", value=first.id.value).SerializeToString() == trailer
    house.strings.release.set()
    await house.strings.until(lambda: house.strings.running == 0)
    await house.enqueue(b"x", uniq_key="k", overrides={"response_type": 1})
    await house.enqueue(b"x", uniq_key="k", overrides={"response_type": 1})


async def test_an_empty_key_is_no_key(house: House) -> None:
    await house.worker(queue_type=1, channel="narrow")
    for _ in range(3):
        await house.enqueue(b"wait", uniq_key="")
    house.strings.release.set()


async def test_a_full_queue_makes_the_caller_wait_then_says_so(tmp_path: Any) -> None:
    settings: dict[str, Any] = {"JOB_QUEUE_CHANNEL_CAPACITY": "1", "JOB_QUEUE_FULL_WAIT_MS": "50"}
    async with open_house(tmp_path, **settings) as house:
        await house.worker(channel="narrow", queue_type=1)
        await house.enqueue(b"wait")
        await house.strings.until(lambda: house.strings.running == 1)
        await house.enqueue(b"waiting")
        async with refused(Status.RESOURCE_EXHAUSTED, "narrow", "JOB_QUEUE_CHANNEL_CAPACITY", "JOB_QUEUE_FULL_WAIT_MS"):
            await house.enqueue(b"too many")
        assert (await house.client.call("JobService.Count")).total == 2
        house.strings.release.set()
        await house.strings.until(lambda: house.strings.ran == [b"wait", b"waiting"])


async def test_a_caller_waiting_for_room_gets_it(tmp_path: Any) -> None:
    async with open_house(tmp_path, JOB_QUEUE_CHANNEL_CAPACITY="1") as house:
        await house.worker(channel="narrow")
        await house.enqueue(b"wait")
        await house.strings.until(lambda: house.strings.running == 1)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(5):
                tasks.create_task(house.enqueue(b"more"))
            house.strings.release.set()
        await house.strings.until(lambda: len(house.strings.ran) == 6)


async def test_a_caller_that_hangs_up_does_not_take_its_job_along(house: House) -> None:
    await house.worker(store_success=True)
    async with house.client.open("JobService.Enqueue") as stream:
        request = build("jobworkerp.service.JobRequest", worker_name="w", args=b"wait", overrides={"response_type": 1})
        await stream.send_message(request.SerializeToString(), end=True)
        await house.strings.until(lambda: house.strings.running == 1)
        await stream.cancel()
    house.strings.release.set()
    await house.strings.until(lambda: house.strings.running == 0)
    assert house.strings.cancelled == 0


async def test_a_deleted_workers_waiting_jobs_end_and_say_so(house: House) -> None:
    worker_id = await house.worker(channel="narrow", store_failure=True)
    blocking = await house.enqueue(b"wait")
    await house.strings.until(lambda: house.strings.running == 1)
    async with asyncio.TaskGroup() as tasks:
        direct = tasks.create_task(house.enqueue(b"direct", overrides={"response_type": 1}))
        future = int(time.time() * 1000) + 3_600_000
        scheduled = await house.enqueue(b"scheduled", run_after_time=future, uniq_key="k")
        await eventually(lambda: house.waiting("narrow") == [b"direct"])
        await house.client.call("WorkerService.Delete", value=worker_id)
    assert direct.result().result.data.status == STATUS["FATAL_ERROR"]
    assert b"was deleted" in direct.result().result.data.output.items
    stored = await house.results(scheduled.id.value)
    assert [each.data.status for each in stored] == [STATUS["FATAL_ERROR"]]
    await house.worker("again")
    await house.enqueue(b"x", worker="again", uniq_key="k")
    house.strings.release.set()
    assert blocking.id.value


async def test_two_hundred_callers_wait_on_one_connection(house: House) -> None:
    await house.worker(response_type=1)
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(house.enqueue(b"wait")) for _ in range(200)]
        await house.strings.until(lambda: house.strings.running == 4)
        assert (await house.client.call("WorkerService.Count")).total == 1
        house.strings.release.set()
    assert {each.result().result.data.status for each in waiting} == {0}
    assert len({each.result().id.value for each in waiting}) == 200
