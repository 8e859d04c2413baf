"""Workers that a client makes for one job, with the metadata ``jobworkerp-for-one-job``."""

from __future__ import annotations

from typing import Any

from grpclib.const import Status

from tests.support.house import PUPPET, STATUS, House, refused

FOR_ONE_JOB = {"jobworkerp-for-one-job": "true"}
WORKER: dict[str, Any] = {"name": "w", "runner_id": {"value": PUPPET}, "broadcast_results": True}


async def made(house: House, **fields: Any) -> Any:
    """Return the id of a new one."""
    return (await house.client.call("WorkerService.Create", **{**WORKER, **fields}, metadata=FOR_ONE_JOB)).id


async def is_there(house: House, worker_id: Any) -> bool:
    return bool((await house.client.call("WorkerService.Find", worker_id)).HasField("data"))


async def test_it_is_in_no_list_and_goes_with_its_job(house: House) -> None:
    worker_id = await made(house)
    by_id = {"value": worker_id.value}
    assert await is_there(house, worker_id)
    assert (await house.client.items("WorkerService.FindList")).items == []
    reply = await house.client.call("JobService.Enqueue", worker_id=by_id, args=b"x", using="plain")
    job_id = {"value": reply.id.value}
    ways: list[dict[str, Any]] = [{"worker_id": by_id}, {}]
    for which in ways:
        result = await house.client.call("JobResultService.Listen", job_id=job_id, timeout=30_000, **which)
        assert (result.data.status, result.data.worker_name) == (STATUS["SUCCESS"], "w")
    assert not await is_there(house, worker_id)


async def test_it_can_be_deleted_before_it_has_a_job(house: House) -> None:
    worker_id = await made(house)
    assert (await house.client.call("WorkerService.Delete", worker_id)).is_success
    assert not await is_there(house, worker_id)


async def test_it_is_checked_like_others_and_has_no_schedule(house: House) -> None:
    async with refused(Status.INVALID_ARGUMENT, "'w'", "has a schedule"):
        await made(house, periodic_interval=60_000)
    async with refused(Status.INVALID_ARGUMENT, "name is empty"):
        await made(house, name="")


async def test_a_job_that_nobody_knows_is_not_heard_without_a_worker(house: House) -> None:
    async with refused(Status.INVALID_ARGUMENT, "worker is missing"):
        await house.client.call("JobResultService.Listen", job_id={"value": 1})
