"""JobService.Delete in every state of a job."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from grpclib.const import Status

from tests.support.house import COMMAND, STATUS, House, eventually, open_house, refused
from tests.support.wire_client import build

FAR_MS = 3_600_000


def in_an_hour() -> int:
    return int(time.time() * 1000) + FAR_MS


async def test_an_unknown_id_is_not_there(house: House) -> None:
    assert not await house.delete(123)


@pytest.mark.parametrize("queue_type", [0, 1])
async def test_a_queued_job_ends_at_once_and_never_runs(house: House, queue_type: int) -> None:
    await house.worker(queue_type=queue_type, channel="narrow", store_failure=True, broadcast_results=True)
    await house.enqueue(b"wait")
    await house.strings.until(lambda: house.strings.running == 1)
    job_id = (await house.enqueue(b"never", uniq_key="k")).id.value
    assert await house.delete(job_id)
    result = await house.listen(job_id)
    assert result.data.status == STATUS["CANCELLED"]
    assert b"cancelled" in result.data.output.items
    assert [each.data.status for each in await house.results(job_id)] == [STATUS["CANCELLED"]]
    assert await house.status(job_id) is None
    assert not await house.delete(job_id)
    await house.enqueue(b"again", uniq_key="k")
    house.strings.release.set()
    await house.strings.until(lambda: house.strings.ran == [b"wait", b"again"])


async def test_a_direct_caller_in_the_queue_gets_the_cancelled_result(house: House) -> None:
    await house.worker(channel="narrow")
    await house.enqueue(b"wait")
    await house.strings.until(lambda: house.strings.running == 1)
    async with asyncio.TaskGroup() as tasks:
        caller = tasks.create_task(house.enqueue(b"direct", overrides={"response_type": 1}))
        await eventually(lambda: house.waiting("narrow") == [b"direct"])
        (waiting,) = house.daemon.engine.queue.listing("narrow")
        assert await house.delete(waiting.id)
    assert caller.result().result.data.status == STATUS["CANCELLED"]
    house.strings.release.set()


async def test_scheduled_and_db_only_jobs_end_at_once_with_a_result(tmp_path: Path) -> None:
    """What is due within the fetch interval is held in memory, what is due later is a row."""
    async with open_house(tmp_path, JOB_QUEUE_FETCH_INTERVAL=str(FAR_MS)) as house:
        await _scheduled_jobs_end(house)


async def _scheduled_jobs_end(house: House) -> None:
    await house.worker(broadcast_results=True, store_failure=True)
    await house.worker("db", channel="narrow", queue_type=2, broadcast_results=True, store_failure=True)
    await house.enqueue(b"wait", worker="db")
    await house.strings.until(lambda: house.strings.running == 1)
    far = (await house.enqueue(b"far", run_after_time=in_an_hour() + FAR_MS, uniq_key="k")).id.value
    near = (await house.enqueue(b"near", run_after_time=in_an_hour() - FAR_MS // 2)).id.value
    waiting = (await house.enqueue(b"db", worker="db")).id.value
    for job_id in (far, near, waiting):
        assert await house.delete(job_id)
        assert [each.data.status for each in await house.results(job_id)] == [STATUS["CANCELLED"]]
        assert await house.status(job_id) is None
    assert (await house.client.call("JobService.Count")).total == 1
    await house.enqueue(b"far", run_after_time=in_an_hour() + FAR_MS, uniq_key="k")
    house.strings.release.set()


@pytest.mark.parametrize("queue_type", [0, 1, 2])
async def test_a_running_job_is_cancelled_and_not_retried(house: House, queue_type: int) -> None:
    await house.worker(
        queue_type=queue_type,
        broadcast_results=True,
        retry_policy={"type": 3, "interval": 1, "max_retry": 5, "basis": 2},
    )
    job_id = (await house.enqueue(b"wait")).id.value
    await house.strings.until(lambda: house.strings.running == 1)
    assert await house.delete(job_id)
    result = await house.listen(job_id)
    assert result.data.status == STATUS["CANCELLED"]
    assert (house.strings.cancelled, len(house.strings.ran)) == (1, 1)
    assert (await house.client.call("JobService.Count")).total == 0


async def test_a_job_whose_runner_is_still_loading_is_cancelled(house: House) -> None:
    await house.worker(runner_settings=b"slow", broadcast_results=True)
    job_id = (await house.enqueue(b"x")).id.value
    await house.strings.until(lambda: house.strings.loads == [b"slow"])
    assert await house.delete(job_id)
    assert (await house.listen(job_id)).data.status == STATUS["CANCELLED"]
    assert house.strings.ran == []


async def test_a_running_stream_is_cancelled_for_its_caller(house: House) -> None:
    await house.worker(response_type=1)
    async with house.client.open("JobService.EnqueueForStream") as stream:
        request = build("jobworkerp.service.JobRequest", worker_name="w", args=b"one wait")
        await stream.send_message(request.SerializeToString(), end=True)
        await stream.recv_message()
        (live,) = house.daemon.engine.live.all()
        assert await house.delete(live.job.id)
        async with refused(Status.CANCELLED, f"job_id={live.job.id}"):
            assert await stream.recv_message() is None
            await stream.recv_trailing_metadata()


async def test_deleting_a_periodic_job_during_a_run_ends_the_schedule(house: House) -> None:
    await house.worker(periodic_interval=1001, broadcast_results=True)
    job_id = (await house.enqueue(b"wait", uniq_key="k")).id.value
    await house.strings.until(lambda: house.strings.running == 1)
    assert await house.delete(job_id)
    assert (await house.listen(job_id)).data.status == STATUS["CANCELLED"]
    assert (await house.client.call("JobService.Count")).total == 0
    assert await house.status(job_id) is None
    await house.enqueue(b"wait", uniq_key="k")


async def test_a_cancelled_command_takes_its_whole_process_tree_along(house: House, tmp_path: object) -> None:
    await house.worker("sh", runner=COMMAND, broadcast_results=True)
    script = "sh -c 'echo $$; trap : INT; sleep 600 & echo $!; wait' & wait"
    args = build("jobworkerp.runner.CommandArgs", command="sh", args=["-c", f"({script}) > {tmp_path}/pids; wait"])
    job_id = (await house.enqueue(args.SerializeToString(), worker="sh")).id.value
    pids: list[int] = []

    def started() -> bool:
        try:
            with open(f"{tmp_path}/pids", encoding="ascii") as file:
                pids[:] = [int(line) for line in file]
        except FileNotFoundError:
            return False
        return len(pids) == 2

    await eventually(started)
    assert await house.delete(job_id)
    assert (await house.listen(job_id, "sh")).data.status == STATUS["CANCELLED"]
    await eventually(lambda: not any(is_alive(pid) for pid in pids))


def is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
