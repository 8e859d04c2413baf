"""What live jobs are doing: look-ups, searches, counts; the older service name beside the new one."""

from __future__ import annotations

import time
from typing import Any

import pytest
from grpclib.const import Status

from tests.support.house import House, open_house, refused

PENDING, RUNNING = 1, 2


@pytest.fixture
async def busy(house: House) -> tuple[House, dict[str, int]]:
    """One job running and one of each kind waiting behind it."""
    await house.worker(channel="narrow")
    await house.worker("db", channel="narrow", queue_type=2)
    ids = {"running": (await house.enqueue(b"wait", priority=1)).id.value}
    await house.strings.until(lambda: house.strings.running == 1)
    ids["queued"] = (await house.enqueue(b"queued", priority=-1)).id.value
    ids["db"] = (await house.enqueue(b"db", worker="db")).id.value
    ids["scheduled"] = (await house.enqueue(b"far", run_after_time=int(time.time() * 1000) + 3_600_000)).id.value
    return house, ids


async def search(house: House, **filters: Any) -> list[int]:
    answer = await house.client.items("JobProcessingStatusService.FindByCondition", **filters)
    return [each.id.value for each in answer.items]


async def test_every_live_job_has_a_state_and_an_ended_one_has_none(busy: tuple[House, dict[str, int]]) -> None:
    house, ids = busy
    assert {name: await house.status(job_id) for name, job_id in ids.items()} == {
        "running": RUNNING,
        "queued": PENDING,
        "db": PENDING,
        "scheduled": PENDING,
    }
    listed = await house.client.items("JobProcessingStatusService.FindAll")
    assert {each.id.value: each.status for each in listed.items}.keys() == set(ids.values())
    house.strings.release.set()
    await house.strings.until(lambda: house.strings.ran[-1] in (b"db", b"queued") and len(house.strings.ran) == 3)
    assert await house.status(123) is None


async def test_the_older_service_numbers_states_from_zero(busy: tuple[House, dict[str, int]]) -> None:
    house, ids = busy
    for name, number in (("running", 1), ("queued", 0), ("scheduled", 0)):
        reply = await house.client.call("JobStatusService.Find", value=ids[name])
        assert (reply.HasField("status"), reply.status) == (True, number)
    house.strings.release.set()


async def test_searches_filter_and_page_over_every_live_job(busy: tuple[House, dict[str, int]]) -> None:
    house, ids = busy
    assert await search(house, status=RUNNING) == [ids["running"]]
    assert set(await search(house, status=PENDING)) == {ids["queued"], ids["db"], ids["scheduled"]}
    assert set(await search(house, worker_id=2)) == {ids["db"]}
    assert set(await search(house, channel="narrow")) == set(ids.values())
    assert await search(house, channel="[default]") == []
    assert await search(house, min_elapsed_time_ms=3_600_000) == []
    assert await search(house, min_elapsed_time_ms=0) == [ids["running"]]
    in_order = await search(house)
    assert in_order[0] == ids["running"]
    assert await search(house, descending=True) == in_order[::-1]
    assert await search(house, limit=2, offset=1) == in_order[1:3]
    details = await house.client.items("JobProcessingStatusService.FindByCondition", status=RUNNING)
    (detail,) = details.items
    assert (detail.worker_id, detail.channel, detail.priority) == (1, "narrow", 1)
    assert detail.start_time >= detail.enqueue_time > 0
    house.strings.release.set()


async def test_counts_by_state(busy: tuple[House, dict[str, int]]) -> None:
    house, _ = busy
    total = await house.client.call("JobProcessingStatusService.CountByCondition")
    assert total.total == 4
    grouped = await house.client.call("JobProcessingStatusService.CountByCondition", mode=1)
    assert {each.status: each.count for each in grouped.counts} == {PENDING: 3, RUNNING: 1}
    house.strings.release.set()


@pytest.mark.parametrize("filters", [{"limit": 0}, {"limit": 1001}, {"offset": -1}, {"status": 17}])
async def test_search_limits_are_checked(house: House, filters: dict[str, int]) -> None:
    async with refused(Status.INVALID_ARGUMENT, next(iter(filters))):
        await search(house, **filters)


async def test_searches_can_be_switched_off(tmp_path: Any) -> None:
    async with open_house(tmp_path, JOB_STATUS_RDB_INDEXING="false") as house:
        async with refused(Status.UNIMPLEMENTED, "JOB_STATUS_RDB_INDEXING"):
            await search(house)
        async with refused(Status.UNIMPLEMENTED, "JOB_STATUS_RDB_INDEXING"):
            await house.client.call("JobProcessingStatusService.CountByCondition")
        async with refused(Status.FAILED_PRECONDITION, "JOB_STATUS_RDB_INDEXING"):
            await house.client.call("JobProcessingStatusService.Cleanup")


async def test_cleanup_and_purge_find_nothing_because_nothing_is_left_behind(house: House) -> None:
    await house.worker(response_type=1)
    await house.enqueue(b"x")
    cleaned = await house.client.call("JobProcessingStatusService.Cleanup", retention_hours_override=0)
    assert cleaned.deleted_count == 0
    assert cleaned.cutoff_time > 0
    async with refused(Status.INVALID_ARGUMENT, "stale_threshold_hours", "8761"):
        await house.client.call("JobProcessingStatusService.PurgeStaleJobs", stale_threshold_hours=8761)
    assert (await house.client.items("JobProcessingStatusService.FindAll")).items == []


async def test_the_queue_of_a_channel_is_listed_in_its_order(busy: tuple[House, dict[str, int]]) -> None:
    house, ids = busy
    high = (await house.enqueue(b"high", priority=1)).id.value
    listed = await house.client.items("JobService.FindQueueList", channel="narrow")
    shown = [each.job.id.value for each in listed.items]
    assert shown.index(high) < shown.index(ids["queued"])
    assert ids["scheduled"] not in shown
    assert {each.status for each in listed.items} == {PENDING}
    assert (await house.client.items("JobService.FindQueueList")).items == []
    async with refused(Status.INVALID_ARGUMENT, "limit"):
        await house.client.items("JobService.FindQueueList", limit=0)
    house.strings.release.set()


async def test_jobs_are_listed_by_state(busy: tuple[House, dict[str, int]]) -> None:
    house, ids = busy
    listed = await house.client.items("JobService.FindListWithProcessingStatus", status=RUNNING)
    assert [each.job.id.value for each in listed.items] == [ids["running"]]
    waiting = await house.client.items("JobService.FindListWithProcessingStatus", status=PENDING, limit=2)
    assert len(waiting.items) == 2
    for wrong in (0, 42):
        async with refused(Status.INVALID_ARGUMENT, "status"):
            await house.client.items("JobService.FindListWithProcessingStatus", status=wrong)
    house.strings.release.set()


async def test_find_shows_live_jobs_of_every_kind(busy: tuple[House, dict[str, int]]) -> None:
    house, ids = busy
    for name, args in (("running", b"wait"), ("queued", b"queued"), ("db", b"db"), ("scheduled", b"far")):
        found = await house.client.call("JobService.Find", value=ids[name])
        assert found.data.data.args == args
    assert not (await house.client.call("JobService.Find", value=9)).HasField("data")
    house.strings.release.set()
