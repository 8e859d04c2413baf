"""No job, no caller and no neighbour's mistake harms another job."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from grpclib.const import Status

from jobworkerp_standalone.jobs.model import Job, Rules
from tests.support.house import PUPPET, STATUS, House, eventually, open_house, refused
from tests.support.patience import longer_and_longer
from tests.support.wire_client import build

FAR_RETRY = {"type": 3, "interval": 600_000, "max_retry": 1, "basis": 2}


async def test_a_cancellation_from_within_a_runner_ends_its_job_alone(house: House) -> None:
    await house.worker(channel="narrow", response_type=1)
    data = (await house.enqueue(b"stray")).result.data
    assert data.status == STATUS["OTHER_ERROR"]
    assert b"cancelled" in data.output.items
    assert (await house.enqueue(b"next")).result.data.status == STATUS["SUCCESS"]


async def test_a_request_to_cancel_that_a_library_leaves_behind_ends_nobody(house: House) -> None:
    await house.worker("limited", channel="narrow", response_type=1)
    for number in (1, 2):
        for limit in longer_and_longer(50):
            data = (await house.enqueue(b"woken", worker="limited", timeout=limit)).result.data
            assert data.status == STATUS["MAX_RETRY"]
            assert b"took longer than %d ms" % limit in data.output.items
            if len(house.strings.ran) == number:
                break
    deleted = asyncio.create_task(house.enqueue(b"woken to be deleted", worker="limited"))
    await house.strings.until(lambda: house.strings.running == 1 and len(house.strings.ran) == 3)
    await house.delete(house.strings.calls[-1].job_id)
    assert (await deleted).result.data.status == STATUS["CANCELLED"]
    house.strings.release.set()
    assert (await house.enqueue(b"woken", worker="limited")).result.data.status == STATUS["SUCCESS"]


async def test_direct_callers_that_wait_for_a_far_retry_hold_up_no_row(house: House) -> None:
    await house.worker("direct", channel="narrow", response_type=1, retry_policy=FAR_RETRY)
    await house.worker("row", channel="narrow", queue_type=2, broadcast_results=True)
    callers = [asyncio.create_task(house.enqueue(b"fail retryable", worker="direct")) for _ in range(70)]
    await house.strings.until(lambda: len(house.strings.ran) == 70)
    job_id = (await house.enqueue(b"due", worker="row")).id.value
    assert (await house.listen(job_id, "row")).data.output.items == b"did due"
    for caller in callers:
        caller.cancel()
    await asyncio.gather(*callers, return_exceptions=True)


async def test_an_upsert_cannot_make_a_circle(house: House) -> None:
    first = await house.worker("first")
    await house.worker("second", next_workers=[{"value": first}])
    async with refused(Status.INVALID_ARGUMENT, "next_workers", "leads back"):
        await house.client.call(
            "WorkerService.UpsertByName", name="first", runner_id={"value": PUPPET}, next_workers=[{"value": 2}]
        )


async def test_loading_is_told_to_its_caller_alone(house: House) -> None:
    await house.worker(use_static=True, response_type=1)
    async with house.client.open("JobResultService.ListenByWorker") as stream:
        request = build("jobworkerp.service.ListenByWorkerRequest", worker_name="w")
        await stream.send_message(request.SerializeToString(), end=True)
        await stream.recv_initial_metadata()
        await house.client.call("WorkerService.Load", name="w")
        await house.enqueue(b"heard")
        heard = house.client.reply("JobResultService.ListenByWorker", await stream.recv_message())
        await stream.cancel()
    assert heard.data.args == b"heard"
    async with refused(Status.INVALID_ARGUMENT, "4711"):
        await house.client.call("WorkerService.Load", worker_id={"value": 4711})


@pytest.mark.parametrize("key", ["jobworkerp-schedule-job-id", "x-schedule-job-id"])
async def test_metadata_of_a_client_ties_no_job_to_another(house: House, key: str) -> None:
    await house.worker(periodic_interval=60_000)
    await house.worker("plain", broadcast_results=True)
    schedule = (await house.enqueue(b"tick", run_after_time=int(time.time() * 1000) + 60_000)).id.value
    reply = await house.client.call(
        "JobService.Enqueue", worker_name="plain", args=b"wait", metadata={key: str(schedule)}
    )
    await house.strings.until(lambda: house.strings.running == 1)
    assert await house.delete(schedule)
    house.strings.release.set()
    assert (await house.listen(reply.id.value, "plain")).data.status == STATUS["SUCCESS"]


async def test_a_deleted_job_leaves_nothing_behind_in_a_busy_channel(house: House) -> None:
    await house.worker(channel="narrow")
    await house.enqueue(b"wait")
    await house.strings.until(lambda: house.strings.running == 1)
    for number in range(50):
        assert await house.delete((await house.enqueue(b"%d" % number)).id.value)
    assert house.waiting("narrow") == []
    assert len(house.daemon.engine.live) == 1
    house.strings.release.set()


async def test_a_listener_that_comes_late_hears_how_much_it_missed(tmp_path: Any) -> None:
    async with open_house(tmp_path, STREAM_STORE_MAX_BYTES="200") as house:
        await house.worker(response_type=1, broadcast_results=True)
        words = b" ".join(b"%02d" % number for number in range(20))
        answer = await house.client.items("JobService.EnqueueForStream", worker_name="w", args=words)
        job_id = build("JobId")
        job_id.ParseFromString(answer.headers["x-job-id-bin"])
        request = build("jobworkerp.service.ListenRequest", job_id={"value": job_id.value}, worker_name="w")
        heard = await house.client.items("JobResultService.ListenStream", request)
    missed = int(heard.headers["x-stream-items-skipped"])
    assert 0 < missed < 20
    assert [each.data for each in heard.items if each.HasField("data")] == words.split()[missed:]


async def test_rows_of_a_channel_that_is_gone_are_named_at_the_start(tmp_path: Any, caplog: Any) -> None:
    async with open_house(tmp_path) as house:
        await house.worker(channel="narrow")
        await house.enqueue(b"far", run_after_time=int(time.time() * 1000) + 3_600_000)
    async with open_house(tmp_path, WORKER_CHANNELS="other", WORKER_CHANNEL_CONCURRENCIES="1"):
        pass
    assert "1 stored jobs wait in channel 'narrow'" in caplog.text


async def test_a_caller_that_hangs_up_leaves_memory_and_store_alike(house: House) -> None:
    for number in range(10):
        async with house.client.open("WorkerService.Create") as stream:
            data = build("WorkerData", name=f"w{number}", runner_id={"value": PUPPET})
            await stream.send_message(data.SerializeToString(), end=True)
            await stream.cancel()
    await house.worker("last")  # they are made one after the other, so what was begun before has ended
    assert [each.name for each in house.daemon.engine.catalog.workers()] == [
        each.name for each in await house.daemon.engine.store.all_workers()
    ]


async def test_jobs_near_their_last_delivery_run_alone_and_hold_no_slot_while_they_wait(house: House) -> None:
    worker_id = await house.worker(response_type=1)
    engine = house.daemon.engine
    suspects = [
        Job(engine.new_id(), worker_id, b"wait %d" % number, Rules(), 1, run_after_ms=1, stored=True, deliveries=4)
        for number in range(4)
    ]
    await engine.store.add(suspects, held=False)
    engine.poller.nudge(0)
    await house.strings.until(lambda: house.strings.running == 1)
    assert (await house.enqueue(b"quick")).result.data.status == STATUS["SUCCESS"]
    assert house.strings.most_running <= 2
    waiting = [each.id for each in suspects if await house.status(each.id) == 1]
    assert len(waiting) == 3
    assert await house.delete(waiting[0])
    house.strings.release.set()
    await eventually(lambda: len(engine.live) == 0)
    assert len([args for args in house.strings.ran if args.startswith(b"wait")]) == 3
    assert (await house.client.call("JobService.Count")).total == 0
