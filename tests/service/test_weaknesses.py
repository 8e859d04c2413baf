"""What is known to go wrong elsewhere, and does not here. Each test is named after what a client would suffer."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from grpclib.const import Status

from tests.support.clocks import SteppedClock
from tests.support.house import STATUS, House, eventually, open_house, refused
from tests.support.patience import PATIENCE_SEC
from tests.support.wire_client import build

HOUR_MS = 3_600_000
POLICY = {"type": 3, "interval": 1, "max_retry": 2, "basis": 2}
STORED: dict[str, Any] = {"broadcast_results": True, "store_success": True, "store_failure": True}


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def test_a_long_stored_job_stops_no_other_channel_and_no_other_row(house: House) -> None:
    await house.worker("long", queue_type=2)
    await house.worker("short", queue_type=2, channel="narrow", **STORED)
    await house.worker("neighbour", queue_type=2, **STORED)
    await house.enqueue(b"wait", worker="long")
    await house.strings.until(lambda: house.strings.running == 1)
    for worker in ("short", "neighbour"):
        job_id = (await house.enqueue(b"x", worker=worker, run_after_time=now_ms() + 50)).id.value
        assert (await house.listen(job_id, worker)).data.status == STATUS["SUCCESS"]
    house.strings.release.set()


async def test_db_only_jobs_are_retried_listened_to_and_cancelled(house: House) -> None:
    await house.worker(queue_type=2, retry_policy=POLICY, **STORED)
    job_id = (await house.enqueue(b"fail retryable")).id.value
    assert (await house.listen(job_id)).data.status == STATUS["MAX_RETRY"]
    assert len(house.strings.ran) == 3
    running = (await house.enqueue(b"wait")).id.value
    await house.strings.until(lambda: house.strings.running == 1)
    assert await house.delete(running)
    assert (await house.listen(running)).data.status == STATUS["CANCELLED"]


async def test_a_row_can_be_retried_and_cancelled_after_a_restart(tmp_path: Any) -> None:
    async with open_house(tmp_path) as house:
        await house.worker(queue_type=2, retry_policy=POLICY, **STORED)
        due_ms = now_ms() + HOUR_MS
        waits = (await house.enqueue(b"wait", run_after_time=due_ms)).id.value
        fails = (await house.enqueue(b"fail retryable", run_after_time=due_ms)).id.value
    async with open_house(tmp_path, clock=SteppedClock(HOUR_MS)) as house:
        assert (await house.listen(fails)).data.status == STATUS["MAX_RETRY"]
        assert house.strings.ran.count(b"fail retryable") == 3
        await house.strings.until(lambda: house.strings.running == 1)
        assert await house.delete(waits)
        assert (await house.listen(waits)).data.status == STATUS["CANCELLED"]
        assert house.strings.cancelled == 1


async def test_a_schedule_holds_its_key_between_its_runs(house: House) -> None:
    await house.worker(periodic_interval=1001)
    job_id = (await house.enqueue(b"tick", uniq_key="k")).id.value
    await house.strings.until(lambda: len(house.strings.ran) >= 1)
    async with refused(Status.ALREADY_EXISTS, "k", str(job_id)):
        await house.enqueue(b"other", uniq_key="k")
    await house.strings.until(lambda: len(house.strings.ran) >= 2)
    assert await house.delete(job_id)
    await eventually(lambda: house.daemon.engine.live.get(job_id) is None)
    assert (await house.enqueue(b"other", uniq_key="k")).id.value != job_id


async def test_a_failed_enqueue_leaves_no_row_and_no_key_behind(tmp_path: Any) -> None:
    async with open_house(tmp_path, JOB_QUEUE_CHANNEL_CAPACITY="1", JOB_QUEUE_FULL_WAIT_MS="20") as house:
        await house.worker(queue_type=1, channel="narrow")
        await house.enqueue(b"wait")
        await house.strings.until(lambda: house.strings.running == 1)
        await house.enqueue(b"waiting")
        async with refused(Status.RESOURCE_EXHAUSTED):
            await house.enqueue(b"late", uniq_key="k")
        assert (await house.client.call("JobService.Count")).total == 2
        house.strings.release.set()
        await house.strings.until(lambda: len(house.strings.ran) == 2)
        assert (await house.enqueue(b"late", uniq_key="k")).id.value


@pytest.mark.parametrize("fetch_interval", ["10", "3600000"], ids=["far", "near"])
async def test_a_retry_never_deletes_another_job_with_its_key(tmp_path: Any, fetch_interval: str) -> None:
    clock = SteppedClock()
    async with open_house(tmp_path, clock=clock, JOB_QUEUE_FETCH_INTERVAL=fetch_interval) as house:
        await house.worker(channel="narrow", retry_policy={**POLICY, "interval": HOUR_MS}, **STORED)
        first = (await house.enqueue(b"flaky 1", uniq_key="k")).id.value
        await house.strings.until(lambda: len(house.strings.ran) == 1)
        async with refused(Status.ALREADY_EXISTS, str(first)):
            await house.enqueue(b"other", uniq_key="k")
        clock.step_ms += HOUR_MS
        house.look_at_the_clock()
        assert (await house.listen(first)).data.status == STATUS["SUCCESS"]


async def test_a_no_result_stream_runs_although_nobody_listens(house: House) -> None:
    await house.worker(**STORED)
    await house.client.items("JobService.EnqueueForStream", worker_name="w", args=b"one two")
    await house.strings.until(lambda: house.strings.ran == [b"one two"])
    await eventually(lambda: len(house.daemon.engine.live) == 0)
    listed = (await house.client.items("JobResultService.FindListBy")).items
    assert [each.data.output.items for each in listed] == [b"two"]


async def test_a_direct_answer_is_never_missed_however_quick_the_job(house: House) -> None:
    await house.worker(response_type=1)
    async with asyncio.TaskGroup() as tasks:
        calls = [tasks.create_task(house.enqueue(b"%d" % n)) for n in range(300)]
    assert [each.result().result.data.output.items for each in calls] == [b"did %d" % n for n in range(300)]


async def test_a_listener_is_never_missed_however_quick_the_job(house: House) -> None:
    await house.worker(broadcast_results=True)
    for n in range(50):
        job_id = (await house.enqueue(b"%d" % n)).id.value
        assert (await house.listen(job_id, timeout=60_000)).data.args == b"%d" % n


async def test_a_slow_listener_by_worker_loses_nothing(house: House) -> None:
    await house.worker(response_type=1)
    async with house.client.open("JobResultService.ListenByWorker") as stream:
        request = build("jobworkerp.service.ListenByWorkerRequest", worker_name="w")
        await stream.send_message(request.SerializeToString(), end=True)
        await stream.recv_initial_metadata()
        async with asyncio.TaskGroup() as tasks:
            for n in range(500):
                tasks.create_task(house.enqueue(b"%d" % n))
        heard = {
            house.client.reply("JobResultService.ListenByWorker", await stream.recv_message()).data.args
            for _ in range(500)
        }
        await stream.cancel()
    assert heard == {b"%d" % n for n in range(500)}


async def test_a_streaming_periodic_job_goes_on(house: House) -> None:
    await house.worker(periodic_interval=1001, broadcast_results=True)
    await house.client.items("JobService.EnqueueForStream", worker_name="w", args=b"one")
    await house.strings.until(lambda: len(house.strings.ran) >= 2)
    assert (await house.client.call("JobService.Count")).total == 1


async def test_a_direct_override_on_a_periodic_worker_is_refused_and_ends_no_schedule(house: House) -> None:
    await house.worker(periodic_interval=1001)
    job_id = (await house.enqueue(b"tick")).id.value
    async with refused(Status.INVALID_ARGUMENT, "schedule", "DIRECT"):
        await house.enqueue(b"now", overrides={"response_type": 1})
    await house.strings.until(lambda: len(house.strings.ran) >= 2)
    assert await house.delete(job_id)


async def test_deleting_an_overdue_row_ends_it_with_a_result(house: House) -> None:
    await house.worker("blocker", channel="narrow")
    await house.worker(channel="narrow", **STORED)
    await house.enqueue(b"wait", worker="blocker")
    await house.strings.until(lambda: house.strings.running == 1)
    job_id = (await house.enqueue(b"x", run_after_time=now_ms() + 30)).id.value
    await eventually(lambda: house.waiting("narrow") == [b"x"])
    assert await house.delete(job_id)
    assert (await house.listen(job_id)).data.status == STATUS["CANCELLED"]
    assert await house.status(job_id) is None
    house.strings.release.set()


async def test_no_priority_and_no_channel_lets_a_job_wait_unseen(house: House) -> None:
    await house.worker()
    async with refused(Status.INVALID_ARGUMENT, "priority"):
        await house.enqueue(priority=5)
    async with refused(Status.INVALID_ARGUMENT, "channel"):
        await house.worker("lost", channel="unserved")


async def test_a_worker_whose_channel_is_gone_does_not_let_jobs_wait_unseen(tmp_path: Any) -> None:
    async with open_house(tmp_path) as house:
        await house.worker(channel="narrow")
    async with (
        open_house(tmp_path, WORKER_CHANNELS="other", WORKER_CHANNEL_CONCURRENCIES="1") as house,
        refused(Status.INVALID_ARGUMENT, "narrow", "WORKER_CHANNELS"),
    ):
        await house.enqueue()


async def test_a_full_queue_blocks_nobody_without_an_error(tmp_path: Any) -> None:
    async with open_house(tmp_path, JOB_QUEUE_CHANNEL_CAPACITY="1", JOB_QUEUE_FULL_WAIT_MS="20") as house:
        await house.worker(channel="narrow")
        await house.enqueue(b"wait")
        await house.strings.until(lambda: house.strings.running == 1)
        await house.enqueue(b"fills")
        async with refused(Status.RESOURCE_EXHAUSTED, "JOB_QUEUE_CHANNEL_CAPACITY"):
            await house.enqueue(b"too many")
        house.strings.release.set()


async def test_policy_none_with_retries_ends_with_a_final_status(house: House) -> None:
    await house.worker(retry_policy={"type": 0, "max_retry": 3, "basis": 2}, **STORED)
    job_id = (await house.enqueue(b"fail retryable")).id.value
    assert (await house.listen(job_id)).data.status == STATUS["MAX_RETRY"]


async def test_edits_of_a_worker_reach_its_running_schedule(house: House) -> None:
    worker_id = await house.worker(periodic_interval=1001)
    job_id = (await house.enqueue(b"tick")).id.value
    await house.strings.until(lambda: len(house.strings.ran) >= 1)
    data = {"name": "w", "runner_id": {"value": 70_001}, "periodic_interval": 1001, "store_success": True}
    await house.client.call("WorkerService.Update", id={"value": worker_id}, data=data)
    await house.strings.until(lambda: len(house.strings.ran) >= 2)
    async with asyncio.timeout(PATIENCE_SEC):
        while len(await house.results(job_id)) < 1:
            pass
    assert await house.delete(job_id)


async def test_a_stream_that_fails_late_has_the_status_that_it_ended_with(house: House) -> None:
    await house.worker(response_type=1, **STORED)
    async with refused(Status.FAILED_PRECONDITION):
        await house.client.items("JobService.EnqueueForStream", worker_name="w", args=b"one fatal")
    (stored,) = (await house.client.items("JobResultService.FindListBy")).items
    assert stored.data.status == STATUS["FATAL_ERROR"]
    assert stored.data.end_time >= stored.data.start_time


async def test_a_listener_needs_no_stored_result_and_is_answered_at_once(house: House) -> None:
    await house.worker(broadcast_results=True)
    job_id = (await house.enqueue(b"wait")).id.value
    async with asyncio.TaskGroup() as tasks:
        listener = tasks.create_task(house.listen(job_id))
        await house.strings.until(lambda: house.strings.running == 1)
        house.strings.release.set()
    received = now_ms()
    assert received - listener.result().data.end_time < 900


async def test_load_tells_its_reason(house: House) -> None:
    await house.worker(runner_settings=b"broken")
    async with refused(Status.INTERNAL, "these settings are broken"):
        await house.client.call("WorkerService.Load", name="w")


async def test_ids_grow_and_no_result_has_the_id_of_a_job(house: House) -> None:
    await house.worker(response_type=1)
    replies = [await house.enqueue() for _ in range(50)]
    job_ids = [each.id.value for each in replies]
    assert job_ids == sorted(set(job_ids))
    assert not set(job_ids) & {each.result.id.value for each in replies}


async def test_ids_grow_over_restarts(tmp_path: Any) -> None:
    ids: list[int] = []
    for _ in range(3):
        async with open_house(tmp_path) as house:
            await house.client.call(
                "WorkerService.UpsertByName", name="w", runner_id={"value": 70_001}, response_type=1, store_success=True
            )
            ids.append((await house.enqueue()).id.value)
    assert ids == sorted(set(ids))


@pytest.mark.parametrize("queue_type", [1, 2])
async def test_metadata_survives_every_way_through_the_table(tmp_path: Any, queue_type: int) -> None:
    async with open_house(tmp_path) as house:
        await house.worker(queue_type=queue_type)
        await house.client.call(
            "JobService.Enqueue", worker_name="w", args=b"x", run_after_time=now_ms() + 700, metadata={"x-mine": "v"}
        )
    async with open_house(tmp_path) as house:
        await house.strings.until(lambda: len(house.strings.calls) == 1)
        assert dict(house.strings.calls[0].metadata) == {"x-mine": "v"}


async def test_the_header_of_a_listened_stream_stays_small(house: House) -> None:
    await house.worker(**STORED)
    args = b"word " * 2_000
    answer = await house.client.items("JobService.EnqueueForStream", worker_name="w", args=args)
    job_id = build("JobId")
    job_id.ParseFromString(answer.headers["x-job-id-bin"])
    request = build("jobworkerp.service.ListenRequest", job_id={"value": job_id.value}, worker_name="w", timeout=60_000)
    heard = await house.client.items("JobResultService.ListenStream", request)
    assert len(heard.headers["x-job-result-bin"]) < 1000
    assert len(heard.trailers["x-job-result-bin"]) <= 8192


async def test_a_renamed_worker_is_not_found_under_its_old_name(house: House) -> None:
    worker_id = await house.worker("old_name")
    data = {"name": "new%name", "runner_id": {"value": 70_001}}
    await house.client.call("WorkerService.Update", id={"value": worker_id}, data=data)
    assert not (await house.client.call("WorkerService.FindByName", name="old_name")).HasField("data")
    listed = await house.client.items("WorkerService.FindList", name_filter="new%")
    assert [each.data.name for each in listed.items] == ["new%name"]


async def test_a_channel_never_runs_more_at_once_than_it_has_slots(house: House) -> None:
    await house.worker("queued", channel="narrow")
    await house.worker("stored", channel="narrow", queue_type=2)
    for _ in range(3):
        await house.enqueue(b"wait", worker="queued")
        await house.enqueue(b"wait", worker="stored")
    await house.strings.until(lambda: house.strings.running == 1)
    house.strings.release.set()
    await house.strings.until(lambda: len(house.strings.ran) == 6)
    assert house.strings.most_running == 1
