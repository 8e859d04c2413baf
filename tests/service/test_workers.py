"""Worker definitions: what is accepted, what is refused and why, how they are found."""

from __future__ import annotations

from typing import Any

import pytest
from grpclib.const import Status

from tests.support.house import COMMAND, PUPPET, House, refused
from tests.support.wire_client import build

HTTP_REQUEST = 2
POLICY = {"type": 1, "interval": 800, "max_interval": 60_000, "max_retry": 1, "basis": 2.0}
FULL: dict[str, Any] = {
    "name": "full",
    "description": "everything set",
    "runner_id": {"value": COMMAND},
    "runner_settings": b"ignored by COMMAND",
    "retry_policy": POLICY,
    "periodic_interval": 5000,
    "channel": "narrow",
    "queue_type": 1,
    "response_type": 0,
    "store_success": True,
    "store_failure": True,
    "use_static": True,
    "broadcast_results": True,
}


async def find(house: House, worker_id: int) -> Any:
    reply = await house.client.call("WorkerService.Find", value=worker_id)
    return reply.data.data if reply.HasField("data") else None


async def names(house: House, **filters: Any) -> list[str]:
    answer = await house.client.items("WorkerService.FindList", ascending=True, **filters)
    return [each.data.name for each in answer.items]


async def test_a_definition_is_read_back_as_it_was_written(house: House) -> None:
    created = await house.client.call("WorkerService.Create", **FULL)
    assert await find(house, created.id.value) == build("WorkerData", **FULL)
    by_name = await house.client.call("WorkerService.FindByName", name="full")
    assert by_name.data.id == created.id


async def test_ids_are_small_and_the_default_channel_reads_back_as_unset(house: House) -> None:
    first = await house.worker("a", channel="[default]")
    second = await house.worker("b", channel="__default_job_channel__")
    assert second == first + 1 < 100
    assert not (await find(house, first)).HasField("channel")
    assert not (await find(house, second)).HasField("channel")


async def test_a_worker_without_retry_policy_reads_back_with_none_and_basis_two(house: House) -> None:
    policy = (await find(house, await house.worker())).retry_policy
    assert (policy.type, policy.interval, policy.max_retry, policy.basis) == (0, 0, 0, 2.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": ""}, ["name is empty"]),
        ({"name": "n" * 256}, ["name", "256 bytes", "255"]),
        ({"name": "ä" * 128}, ["name", "256 bytes"]),
        ({"runner_id": None}, ["runner_id"]),
        ({"runner_id": {"value": 424_242}}, ["424242", "runner"]),
        ({"periodic_interval": 1000}, ["1000", "JOB_QUEUE_FETCH_INTERVAL"]),
        ({"periodic_interval": 5000, "response_type": 1}, ["periodic_interval", "DIRECT"]),
        ({"queue_type": 2, "response_type": 1, "periodic_interval": 0}, ["DB_ONLY", "DIRECT"]),
        ({"channel": ""}, ["channel is empty"]),
        ({"channel": "nowhere"}, ["nowhere", "narrow", "WORKER_CHANNELS"]),
        ({"channel": "c" * 256}, ["channel", "255"]),
        ({"retry_policy": {**POLICY, "basis": 0.5}}, ["retry_policy.basis", "0.5"]),
        ({"retry_policy": {**POLICY, "basis": float("nan")}}, ["basis", "finite"]),
        ({"runner_id": {"value": HTTP_REQUEST}, "runner_settings": b"\xff\xff"}, ["runner_settings", "HTTP_REQUEST"]),
        ({"queue_type": 9}, ["queue_type", "9"]),
        ({"response_type": 9}, ["response_type", "9"]),
        ({"retry_policy": {**POLICY, "type": 9}}, ["type", "9"]),
    ],
)
async def test_a_definition_that_cannot_work_is_refused_naming_field_and_value(
    house: House, change: dict[str, Any], words: list[str]
) -> None:
    fields = {name: value for name, value in {**FULL, **change}.items() if value is not None}
    for method in ("Create", "UpsertByName"):
        async with refused(Status.INVALID_ARGUMENT, *words):
            await house.client.call(f"WorkerService.{method}", **fields)
    known = await house.worker("known")
    async with refused(Status.INVALID_ARGUMENT, *words):
        await house.client.call("WorkerService.Update", id={"value": known}, data=fields)
    assert await names(house) == ["known"]


async def test_constant_and_linear_policies_do_not_need_a_basis(house: House) -> None:
    for number in (0, 2, 3):
        await house.worker(f"w{number}", retry_policy={"type": number, "interval": 10, "max_retry": 2})


async def test_names_are_unique(house: House) -> None:
    first, second = await house.worker("a"), await house.worker("b")
    async with refused(Status.ALREADY_EXISTS, "'a'"):
        await house.worker("a")
    async with refused(Status.ALREADY_EXISTS, "'a'"):
        await house.client.call(
            "WorkerService.Update", id={"value": second}, data={"name": "a", "runner_id": {"value": PUPPET}}
        )
    upserted = await house.client.call(
        "WorkerService.UpsertByName", name="a", runner_id={"value": PUPPET}, description="new"
    )
    assert upserted.id.value == first
    assert (await find(house, first)).description == "new"


async def test_update_replaces_everything_and_knows_unknown_ids(house: House) -> None:
    worker_id = (await house.client.call("WorkerService.Create", **FULL)).id.value
    data = {"name": "renamed", "runner_id": {"value": PUPPET}, "retry_policy": {"basis": 2.0}}
    reply = await house.client.call("WorkerService.Update", id={"value": worker_id}, data=data)
    assert reply.is_success
    assert await find(house, worker_id) == build("WorkerData", **data)
    assert not (await house.client.call("WorkerService.FindByName", name="full")).HasField("data")
    untouched = await house.client.call("WorkerService.Update", id={"value": worker_id})
    assert not untouched.is_success
    async with refused(Status.NOT_FOUND, "id"):
        await house.client.call("WorkerService.Update", data=data)
    async with refused(Status.NOT_FOUND, "999"):
        await house.client.call("WorkerService.Update", id={"value": 999}, data={**data, "name": "other"})


async def test_delete_says_whether_it_was_there_and_absence_is_no_error(house: House) -> None:
    worker_id = await house.worker()
    assert (await house.client.call("WorkerService.Delete", value=worker_id)).is_success
    assert not (await house.client.call("WorkerService.Delete", value=worker_id)).is_success
    assert await find(house, worker_id) is None
    assert not (await house.client.call("WorkerService.FindByName", name="")).HasField("data")


async def test_lists_filter_sort_and_page(house: House) -> None:
    await house.worker("b_1", channel="narrow")
    await house.worker("a%2", periodic_interval=2000)
    await house.worker("C_3", runner=COMMAND)
    assert await names(house) == ["b_1", "a%2", "C_3"]
    assert await names(house, sort_by=2) == ["C_3", "a%2", "b_1"]
    assert await names(house, name_filter="c_") == ["C_3"]
    assert await names(house, name_filter="a%") == ["a%2"]
    assert await names(house, channel="narrow") == ["b_1"]
    assert await names(house, channel="[default]") == ["a%2", "C_3"]
    assert await names(house, is_periodic=True) == ["a%2"]
    assert await names(house, is_periodic=False) == ["b_1", "C_3"]
    assert await names(house, runner_ids=[{"value": COMMAND}]) == ["C_3"]
    assert await names(house, runner_types=[COMMAND]) == ["C_3"]
    assert await names(house, limit=1, offset=1) == ["a%2"]
    newest_first = await house.client.items("WorkerService.FindList")
    assert [each.data.name for each in newest_first.items] == ["C_3", "a%2", "b_1"]
    assert (await house.client.call("WorkerService.Count")).total == 3
    assert (await house.client.call("WorkerService.CountBy", channel="narrow")).total == 1


@pytest.mark.parametrize(
    ("filters", "words"),
    [
        ({"limit": -1}, ["limit", "-1"]),
        ({"limit": 1001}, ["limit", "1001", "1000"]),
        ({"offset": -1}, ["offset"]),
        ({"offset": 10_001}, ["offset", "10000"]),
        ({"name_filter": "x" * 256}, ["name_filter", "255"]),
        ({"runner_types": [1] * 11}, ["runner_types", "10"]),
        ({"runner_ids": [{"value": 1}] * 101}, ["runner_ids", "100"]),
    ],
)
async def test_list_limits_are_checked(house: House, filters: dict[str, Any], words: list[str]) -> None:
    async with refused(Status.INVALID_ARGUMENT, *words):
        await house.client.items("WorkerService.FindList", **filters)


async def test_channels_are_listed_with_their_slots_and_workers(house: House) -> None:
    await house.worker("a")
    await house.worker("b", channel="narrow")
    reply = await house.client.call("WorkerService.FindChannelList")
    shown = [(c.name, c.concurrency, c.worker_count, c.total_concurrency, c.active_instances) for c in reply.channels]
    assert shown == [("narrow", 1, 1, 1, 1), ("[default]", 4, 1, 4, 1)]


async def test_a_static_worker_keeps_its_runner_and_others_do_not(house: House) -> None:
    await house.worker("warm", use_static=True, response_type=1)
    await house.worker("cold", response_type=1)
    for _ in range(3):
        await house.enqueue(worker="warm")
    assert (len(house.strings.loads), house.strings.closed) == (1, 0)
    for _ in range(3):
        await house.enqueue(worker="cold")
    assert (len(house.strings.loads), house.strings.closed) == (4, 3)


async def test_a_changed_worker_gets_new_runners(house: House) -> None:
    worker_id = await house.worker("warm", use_static=True, response_type=1)
    await house.enqueue(worker="warm")
    data = {"name": "warm", "runner_id": {"value": PUPPET}, "use_static": True, "response_type": 1}
    await house.client.call(
        "WorkerService.Update", id={"value": worker_id}, data={**data, "runner_settings": b"second"}
    )
    assert house.strings.closed == 1
    await house.enqueue(worker="warm")
    assert house.strings.loads == [b"", b"second"]


async def test_release_closes_warm_runners(house: House) -> None:
    worker_id = await house.worker("warm", use_static=True, response_type=1)
    await house.worker("cold")
    await house.enqueue(worker="warm")
    released = await house.client.call("WorkerService.ReleaseStaticWorker", worker_id={"value": worker_id})
    assert released.is_success
    assert house.strings.closed == 1
    await house.enqueue(worker="warm")
    assert (await house.client.call("WorkerService.ReleaseStaticWorker")).is_success
    assert house.strings.closed == 2
    async with refused(Status.FAILED_PRECONDITION, "cold", "use_static"):
        await house.client.call("WorkerService.ReleaseStaticWorker", name="cold")
    async with refused(Status.NOT_FOUND, "nobody"):
        await house.client.call("WorkerService.ReleaseStaticWorker", name="nobody")
    async with refused(Status.INVALID_ARGUMENT, "name"):
        await house.client.call("WorkerService.ReleaseStaticWorker", name="")


async def test_load_warms_a_static_worker_and_tells_why_it_failed(house: House) -> None:
    await house.worker("warm", use_static=True, response_type=1)
    await house.worker("broken", runner_settings=b"broken")
    assert (await house.client.call("WorkerService.Load", name="warm")).is_success
    await house.enqueue(worker="warm")
    assert len(house.strings.loads) == 1
    async with refused(Status.INTERNAL, "these settings are broken"):
        await house.client.call("WorkerService.Load", name="broken")
    async with refused(Status.NOT_FOUND, "nobody"):
        await house.client.call("WorkerService.Load", name="nobody")
    async with refused(Status.INVALID_ARGUMENT, "target"):
        await house.client.call("WorkerService.Load")


async def test_load_gives_up_after_its_timeout(house: House) -> None:
    await house.worker("slow", runner_settings=b"slow")
    async with refused(Status.DEADLINE_EXCEEDED, "slow", "50"):
        await house.client.call("WorkerService.Load", name="slow", timeout_ms=50)
    house.strings.release.set()
