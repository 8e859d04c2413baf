"""Results: kept as the rules say, found again, listened to."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from grpclib.const import Status

from tests.support.house import STATUS, House, open_house, refused
from tests.support.wire_client import build

DAY_MS = 86_400_000
STORED: dict[str, Any] = {"store_success": True, "store_failure": True, "broadcast_results": True, "response_type": 1}


async def found(house: House, **filters: Any) -> list[bytes]:
    answer = await house.client.items("JobResultService.FindListBy", **filters)
    return [each.data.args for each in answer.items]


@pytest.mark.parametrize(
    ("flags", "kept"),
    [({"store_success": True}, [b"good"]), ({"store_failure": True}, [b"fail bad"]), ({}, [])],
)
async def test_what_is_stored_follows_the_flags(house: House, flags: dict[str, Any], kept: list[bytes]) -> None:
    await house.worker(response_type=1, **flags)
    for args in (b"good", b"fail bad"):
        await house.enqueue(args)
    assert await found(house) == kept


async def test_a_stored_result_is_the_one_that_was_answered(house: House) -> None:
    await house.worker(**STORED, retry_policy={"type": 3, "max_retry": 1, "basis": 2})
    reply = await house.client.call(
        "JobService.Enqueue", worker_name="w", args=b"x", uniq_key="k", using="plain", metadata={"x-mine": "v"}
    )
    stored = await house.client.call("JobResultService.Find", reply.result.id)
    assert stored.data == reply.result
    assert not (await house.client.call("JobResultService.Find", value=1)).HasField("data")


async def test_a_stored_result_outlives_changes_of_its_worker(house: House) -> None:
    worker_id = await house.worker(**STORED)
    reply = await house.enqueue(b"x")
    await house.client.call("WorkerService.Delete", value=worker_id)
    stored = await house.client.call("JobResultService.Find", reply.result.id)
    assert stored.data == reply.result


async def test_lists_filter_sort_and_page(house: House) -> None:
    first = await house.worker("a", **STORED)
    await house.worker("b", **STORED)
    for worker, args, priority in (("a", b"1", 1), ("b", b"2", 0), ("a", b"fail bad", -1)):
        last = await house.enqueue(args, worker=worker, priority=priority, uniq_key=args.decode())
    assert await found(house) == [b"fail bad", b"2", b"1"]
    assert await found(house, ascending=True) == [b"1", b"2", b"fail bad"]
    assert await found(house, worker_ids=[{"value": first}]) == [b"fail bad", b"1"]
    assert await found(house, statuses=[STATUS["OTHER_ERROR"]]) == [b"fail bad"]
    assert await found(house, priorities=[0, 1]) == [b"2", b"1"]
    assert await found(house, uniq_key="2") == [b"2"]
    assert await found(house, limit=1, offset=1) == [b"2"]
    end = last.result.data.end_time
    assert await found(house, end_time_from=end, end_time_to=end, statuses=[5]) == [b"fail bad"]
    assert await found(house, start_time_from=end + 1) == []
    assert (await house.client.call("JobResultService.Count")).total == 3
    assert (await house.client.call("JobResultService.CountBy", statuses=[0])).total == 2
    listed = await house.client.items("JobResultService.FindList", limit=2)
    assert [each.data.args for each in listed.items] == [b"fail bad", b"2"]
    assert [each.data.args for each in await house.results(last.id.value)] == [b"fail bad"]


@pytest.mark.parametrize(
    ("filters", "words"),
    [
        ({"limit": 1001}, ["limit", "1000"]),
        ({"limit": -1}, ["limit"]),
        ({"offset": 10_001}, ["offset", "10000"]),
        ({"worker_ids": [{"value": 1}] * 101}, ["worker_ids", "100"]),
        ({"statuses": [0] * 11}, ["statuses", "10"]),
        ({"priorities": [0] * 11}, ["priorities", "10"]),
        ({"statuses": [42]}, ["statuses", "42"]),
        ({"start_time_from": -5}, ["start_time_from", "-5"]),
        ({"start_time_from": 10, "start_time_to": 5}, ["start_time"]),
        ({"end_time_from": 1, "end_time_to": 366 * DAY_MS}, ["end_time", "365"]),
    ],
)
async def test_list_limits_are_checked(house: House, filters: dict[str, Any], words: list[str]) -> None:
    async with refused(Status.INVALID_ARGUMENT, *words):
        await house.client.items("JobResultService.FindListBy", **filters)


async def test_results_are_deleted_one_by_one_and_in_bulk_only_when_old(house: House) -> None:
    await house.worker(**STORED)
    reply = await house.enqueue(b"x")
    await house.enqueue(b"y")
    assert (await house.client.call("JobResultService.Delete", reply.result.id)).is_success
    assert not (await house.client.call("JobResultService.Delete", reply.result.id)).is_success
    deleted = await house.client.call("JobResultService.DeleteBulk", statuses=[0])
    assert deleted.deleted_count == 0
    assert await found(house) == [b"y"]
    async with refused(Status.INVALID_ARGUMENT, "end_time_before"):
        await house.client.call("JobResultService.DeleteBulk")
    async with refused(Status.INVALID_ARGUMENT, "end_time_before", "24"):
        await house.client.call("JobResultService.DeleteBulk", end_time_before=int(time.time() * 1000))


async def test_a_listener_hears_at_once_what_is_over_and_later_what_is_not(house: House) -> None:
    await house.worker(broadcast_results=True)
    first = (await house.enqueue(b"quick")).id.value
    assert (await house.listen(first)).data.output.items == b"did quick"
    assert (await house.listen(first)).data.output.items == b"did quick"
    second = (await house.enqueue(b"wait")).id.value
    async with asyncio.TaskGroup() as tasks:
        listeners = [tasks.create_task(house.listen(second)) for _ in range(5)]
        await house.strings.until(lambda: house.strings.running == 1)
        house.strings.release.set()
    assert {each.result().data.output.items for each in listeners} == {b"did wait"}


async def test_a_stored_result_is_heard_after_a_restart(tmp_path: Any) -> None:
    async with open_house(tmp_path) as house:
        await house.worker(**STORED)
        job_id = (await house.enqueue(b"x")).id.value
    async with open_house(tmp_path) as house:
        assert (await house.listen(job_id)).data.output.items == b"did x"


async def test_kept_results_are_bounded_in_memory(tmp_path: Any) -> None:
    async with open_house(tmp_path, RESULT_RETENTION_MAX_BYTES="4096") as house:
        await house.worker(broadcast_results=True, response_type=1)
        ids = [(await house.enqueue(b"%d" % n)).id.value for n in range(20)]
        assert (await house.listen(ids[-1])).data.args == b"19"
        async with refused(Status.DEADLINE_EXCEEDED, "30 ms"):
            await house.listen(ids[0], timeout=30)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"worker_name": "w"}, ["job_id"]),
        ({"job_id": {"value": 1}}, ["worker"]),
        ({"job_id": {"value": 1}, "worker_name": "nobody"}, ["nobody"]),
        ({"job_id": {"value": 1}, "worker_name": "silent"}, ["silent", "broadcast_results"]),
    ],
)
async def test_listening_needs_a_job_and_a_worker_that_broadcasts(
    house: House, fields: dict[str, Any], words: list[str]
) -> None:
    await house.worker(broadcast_results=True)
    await house.worker("silent")
    request = build("jobworkerp.service.ListenRequest", **fields)
    for method in ("Listen", "ListenStream"):
        async with refused(Status.INVALID_ARGUMENT, *words):
            await house.client.items(f"JobResultService.{method}", request)


async def test_listening_for_a_job_that_never_was_times_out_in_time(house: House) -> None:
    await house.worker(broadcast_results=True)
    async with refused(Status.DEADLINE_EXCEEDED, "40 ms"):
        await house.listen(77, timeout=40)


async def test_a_listener_by_worker_gets_every_final_result_in_order(house: House) -> None:
    await house.worker(response_type=1, retry_policy={"type": 3, "interval": 1, "max_retry": 1, "basis": 2})
    await house.worker("other", response_type=1)
    async with house.client.open("JobResultService.ListenByWorker") as stream:
        request = build("jobworkerp.service.ListenByWorkerRequest", worker_name="w")
        await stream.send_message(request.SerializeToString(), end=True)
        await stream.recv_initial_metadata()
        for args in (b"1", b"flaky 1", b"3"):
            await house.enqueue(args)
            await house.enqueue(b"not this", worker="other")
        heard = [
            house.client.reply("JobResultService.ListenByWorker", await stream.recv_message()).data for _ in range(3)
        ]
        await stream.cancel()
    assert [(each.args, each.retried) for each in heard] == [(b"1", 0), (b"flaky 1", 1), (b"3", 0)]
