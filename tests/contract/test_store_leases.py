"""The promises of ``ports.Store`` about who may run a row: leases, their order, owners that live and that died."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from jobworkerp_standalone.backends.sql.store import SqlStore
from jobworkerp_standalone.jobs.errors import LeaseLost, StorageError
from jobworkerp_standalone.jobs.model import Job, Priority
from jobworkerp_standalone.ports import Settlement, Store
from tests.contract.scene import (
    EVER,
    LEASE_MS,
    NOW,
    HandClock,
    instance,
    job,
    lease,
    lease_one,
    opened,
    result,
)

HIGH, MEDIUM, LOW = Priority.HIGH, Priority.MEDIUM, Priority.LOW


@pytest.fixture
async def other(path: Path, clock: HandClock) -> AsyncGenerator[SqlStore, None]:
    """Another process on the same file."""
    async with opened(path, 2, clock) as other:
        yield other


def ids(jobs: list[Job]) -> list[int]:
    return [each.id for each in jobs]


# ---------------------------------------------------------------- which rows, in which order


async def test_due_rows_come_by_priority_and_then_all_by_their_time(store: Store) -> None:
    await store.add(
        [
            job(1, priority=LOW, run_after_ms=NOW - 9),
            job(2, priority=MEDIUM, run_after_ms=NOW - 1),
            job(3, priority=HIGH, run_after_ms=NOW),
            job(4, priority=HIGH, run_after_ms=NOW - 2),
            job(5, priority=MEDIUM),
            job(6, priority=HIGH, run_after_ms=NOW + 30),
            job(7, priority=LOW, run_after_ms=NOW + 10),
            job(8, priority=HIGH, run_after_ms=NOW + 10),
        ],
        held=False,
    )
    order = [4, 3, 2, 5, 1, 7, 8, 6]
    assert ids(await lease(store, limit=3)) == order[:3]
    assert ids(await lease(store, limit=3)) == order[3:6]
    assert ids(await lease(store, limit=3)) == order[6:]
    assert await lease(store) == []


async def test_rows_of_one_time_come_oldest_first(store: Store) -> None:
    await store.add([job(number) for number in (5, 3, 9, 1)], held=False)
    assert ids(await lease(store)) == [1, 3, 5, 9]


async def test_the_horizon_is_inclusive(store: Store) -> None:
    await store.add([job(1, run_after_ms=NOW + 100), job(2, run_after_ms=NOW + 101)], held=False)
    assert ids(await lease(store, until_ms=NOW + 99)) == []
    assert ids(await lease(store, until_ms=NOW + 100)) == [1]


async def test_limits_are_by_channel(store: Store) -> None:
    await store.add(
        [
            job(number, channel=name)
            for name, base in (("c", 0), ("d", 10), ("e", 20))
            for number in (base + 1, base + 2, base + 3)
        ],
        held=False,
    )
    leases = await store.lease_due(EVER, {"c": 1, "d": 2, "unknown": 5})
    assert sorted(each.job.id for each in leases) == [1, 11, 12]
    assert await store.lease_due(EVER, {}) == []
    assert await store.lease_due(EVER, {"c": 0}) == []


async def test_each_channel_has_its_order(store: Store) -> None:
    await store.add(
        [
            *(job(number, channel="c", priority=HIGH) for number in (3, 1)),
            *(job(number, channel="d", run_after_ms=NOW - number) for number in (4, 2)),
        ],
        held=False,
    )
    leases = [each.job for each in await store.lease_due(EVER, {"c": 9, "d": 9})]
    assert ids([each for each in leases if each.channel == "c"]) == [1, 3]
    assert ids([each for each in leases if each.channel == "d"]) == [4, 2]


async def test_jobs_may_be_left_out(store: Store) -> None:
    await store.add([job(number) for number in range(1, 7)], held=False)
    leases = await store.lease_due(EVER, {"c": 2}, besides=[1, 2, 4])
    assert [each.job.id for each in leases] == [3, 5]


async def test_many_rows_at_once(store: Store) -> None:
    await store.add([job(number) for number in range(1, 2001)], held=False)
    assert ids(await lease(store, limit=1500)) == list(range(1, 1501))
    assert ids(await lease(store, limit=1500)) == list(range(1501, 2001))


async def test_a_row_is_given_to_one_caller_only(store: Store) -> None:
    await store.add([job(number) for number in range(1, 201)], held=False)
    given: list[int] = []

    async def take() -> None:
        given.extend(ids(await lease(store, limit=30)))

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(take)
    assert sorted(given) == list(range(1, 201))


async def test_processes_share_the_rows_between_them(path: Path, clock: HandClock) -> None:
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(opened(path, owner, clock)) for owner in (1, 2, 3)]
        await stores[0].add([job(number) for number in range(1, 201)], held=False)
        given: list[int] = []

        async def take(store: Store) -> None:
            while found := ids(await lease(store, limit=7)):
                given.extend(found)

        async with anyio.create_task_group() as tasks:
            for store in stores:
                tasks.start_soon(take, store)
        assert sorted(given) == list(range(1, 201))
        assert len({store.node for store in stores}) == 3
        assert all(0 <= store.node < 1024 for store in stores)


async def test_held_rows_are_not_leased(store: Store) -> None:
    await store.add([job(1)], held=True)
    assert await store.next_due_ms(["c"]) is None
    assert await lease(store) == []
    assert await store.find(1) == job(1)


async def test_the_next_due_time(store: Store) -> None:
    assert await store.next_due_ms(["c"]) is None
    await store.add(
        [job(1, run_after_ms=NOW + 5, priority=LOW), job(2, run_after_ms=NOW + 9, priority=HIGH)], held=False
    )
    await store.add([job(3, run_after_ms=NOW + 1, channel="d")], held=False)
    assert await store.next_due_ms(["c"]) == NOW + 5
    assert await store.next_due_ms(["d", "c", "e"]) == NOW + 1
    assert await store.next_due_ms([]) is None
    await lease(store, until_ms=NOW + 5)
    assert await store.next_due_ms(["c"]) == NOW + 9


# ---------------------------------------------------------------- fencing and giving back


async def test_every_lease_has_a_larger_number(store: Store) -> None:
    await store.add([job(1)], held=False)
    fences: list[int] = []
    for _ in range(3):
        held = await lease_one(store)
        fences.append(held.fence)
        await store.release([held])
    assert fences == sorted(set(fences))
    assert fences[0] > job(1).fence


async def test_rows_given_back_are_free_and_unchanged(store: Store) -> None:
    await store.add([job(1, run_after_ms=NOW - 3, retried=2, deliveries=1), job(2)], held=False)
    held = await lease(store)
    await store.mark_running(held[1])
    await store.release(held)
    again = await store.lease_due(EVER, {"c": 9})
    assert [replace(each.job, fence=0) for each in again] == [replace(each, fence=0) for each in held]


async def test_giving_back_skips_what_is_no_longer_ours(path: Path, clock: HandClock, other: SqlStore) -> None:
    async with opened(path, clock=clock) as store:
        await store.add([job(1), job(2)], held=False)
        late = await lease(store)
        await store.release(late)
        now_held = await lease(other)
        await store.release([*late, job(3)])
        await store.release(now_held)
        assert await lease(store) == []
        for held in now_held:
            await other.settle(Settlement(held))


async def test_a_lost_row_must_not_run(store: Store) -> None:
    await store.add([job(1)], held=False)
    late = await lease_one(store)
    await store.release([late])
    with pytest.raises(LeaseLost, match="job 1 "):
        await store.mark_running(late)
    assert await store.delete(1) is not None, "the note changed something"
    with pytest.raises(LeaseLost):
        await store.mark_running(late)


async def test_only_rows_that_wait_where_they_were_seen_are_moved(store: Store) -> None:
    await store.add([job(1, run_after_ms=NOW + 5), job(2, run_after_ms=NOW + 5), job(3, run_after_ms=NOW)], held=False)
    seen = {each.id: each for each in await store.listing(None, 0)}
    await store.retime([(replace(seen[2], run_after_ms=NOW + 4), NOW + 9)])
    assert [each.job.id for each in await store.lease_due(NOW, {"c": 9})] == [3]
    await store.retime([(seen[1], NOW + 2), (seen[3], NOW + 2), (job(99), NOW)])
    assert {each.id: each.run_after_ms for each in await store.listing(None, 0)} == {1: NOW + 2, 2: NOW + 5, 3: NOW}
    assert [each.job.id for each in await store.lease_due(NOW + 2, {"c": 9})] == [1]


# ---------------------------------------------------------------- deleting


async def test_a_waiting_row_can_be_deleted_once(store: Store) -> None:
    await store.add([job(1, uniq_key="k")], held=False)
    await store.add([job(2)], held=True)
    assert await store.delete(1) == job(1, uniq_key="k")
    assert await store.delete(1) is None
    assert await store.delete(2) == job(2)
    assert await store.count() == 0
    assert await store.keys() == {}


async def test_a_running_row_is_not_deleted(store: Store) -> None:
    await store.add([job(1)], held=False)
    held = await lease_one(store)
    await store.mark_running(held)
    assert await store.delete(1) is None
    await store.settle(Settlement(held, result(10, held)))


async def test_one_of_many_deletes_gets_the_row(store: Store) -> None:
    await store.add([job(1)], held=False)
    got: list[Job | None] = []

    async def delete() -> None:
        got.append(await store.delete(1))

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(delete)
    assert [each for each in got if each is not None] == [job(1)]


# ---------------------------------------------------------------- owners


async def test_nothing_is_held_before_registering(path: Path) -> None:
    async with opened(path, owner=None) as store:
        with pytest.raises(StorageError, match="registered"):
            await store.add([job(1)], held=True)
        with pytest.raises(StorageError, match="registered"):
            await lease(store)
        await store.add([job(1)], held=False)
        assert await store.count() == 1


async def test_rows_of_a_process_that_is_gone_are_rescued(path: Path, clock: HandClock, other: SqlStore) -> None:
    async with opened(path, clock=clock) as dead:
        await dead.add([job(1), job(2, deliveries=2), job(4, run_after_ms=NOW + 9)], held=True)
        await dead.add([job(3)], held=False)
        await dead.mark_running(job(2))
    leases = {each.job.id: each for each in await other.lease_due(NOW, {"c": 9})}
    assert {number: each.job.deliveries for number, each in leases.items()} == {1: 0, 2: 3, 3: 0}
    assert ids(await lease(other)) == [4]
    with pytest.raises(LeaseLost):
        await other.settle(Settlement(job(2)))


async def test_a_rescue_is_told_once(path: Path, clock: HandClock, other: SqlStore) -> None:
    async with opened(path, clock=clock) as dead:
        await dead.add([job(1)], held=True)
    assert await other.reclaim_dead_owners() == 1
    assert await other.reclaim_dead_owners() == 0
    (rescued,) = await other.lease_due(EVER, {"c": 9})
    assert rescued.job.id == 1


async def test_the_next_process_in_the_place_of_a_dead_one_frees_its_rows(path: Path, clock: HandClock) -> None:
    async with opened(path, 1, clock) as dead:
        await dead.add([job(1)], held=True)
        await dead.mark_running(job(1))
    async with opened(path, 2, clock) as heir:
        assert heir.node == dead.node
        assert await heir.next_due_ms(["c"]) == NOW
        (rescued,) = await heir.lease_due(EVER, {"c": 9})
        assert rescued.job.deliveries == 1
        assert [each.id for each in await heir.instances()] == [2]


async def test_a_lease_that_ran_out_is_rescued_and_the_late_owner_hears_it(
    path: Path, clock: HandClock, other: SqlStore
) -> None:
    async with opened(path, clock=clock) as late:
        await late.add([job(1), job(2)], held=True)
        await late.mark_running(job(1))
        clock.ms += LEASE_MS
        assert await lease(other) == []
        clock.ms += 1
        await other.heartbeat(2, clock.ms, LEASE_MS)
        (first, second) = await other.lease_due(EVER, {"c": 9})
        assert [(each.job.id, each.job.deliveries) for each in (first, second)] == [(1, 1), (2, 0)]
        with pytest.raises(LeaseLost):
            await late.settle(Settlement(job(1), result(10, job(1))))
        await late.release([job(2)])
        assert await late.heartbeat(1, clock.ms, LEASE_MS) is False
        assert await late.heartbeat(1, clock.ms, LEASE_MS) is True
        await late.add([job(3)], held=True)
        assert await lease(other) == []
        assert await other.reclaim_dead_owners() == 0


async def test_a_renewed_lease_lives_on(path: Path, clock: HandClock, other: SqlStore) -> None:
    async with opened(path, clock=clock) as store:
        await store.add([job(1)], held=True)
        for _ in range(4):
            clock.ms += LEASE_MS // 2
            assert await store.heartbeat(1, clock.ms, LEASE_MS)
            assert await other.heartbeat(2, clock.ms, LEASE_MS)
        assert await other.reclaim_dead_owners() == 0
        assert await lease(other) == []


async def test_a_process_never_takes_itself_for_dead(store: Store, clock: HandClock) -> None:
    await store.add([job(1)], held=True)
    clock.ms += 10 * LEASE_MS
    assert await store.reclaim_dead_owners() == 0
    assert await lease(store) == []
    assert await store.delete(1) == job(1)


async def test_a_late_process_frees_the_rows_of_the_dead_and_not_its_own(
    path: Path, clock: HandClock, other: SqlStore
) -> None:
    async with opened(path, clock=clock) as dead:
        await dead.add([job(1)], held=True)
    await other.add([job(2)], held=True)
    clock.ms += 10 * LEASE_MS
    assert ids(await lease(other)) == [1]
    await other.settle(Settlement(job(2)))


async def test_leaving_gives_rows_back_without_a_delivery(path: Path, clock: HandClock, other: SqlStore) -> None:
    async with opened(path, clock=clock) as store:
        await store.add([job(1)], held=True)
        await store.mark_running(job(1))
        await store.unregister(1)
        assert [each.id for each in await other.instances()] == [2]
        (free,) = await other.lease_due(EVER, {"c": 9})
        assert free.job.deliveries == 0


async def test_a_run_of_a_dead_process_does_not_keep_its_row(path: Path, clock: HandClock, other: SqlStore) -> None:
    async with opened(path, clock=clock) as dead:
        await dead.add([job(1), job(2)], held=True)
        await dead.mark_running(job(1))
    assert await other.delete(1) == job(1, deliveries=1)
    assert ids(list(await other.recoverable(None, include_held=False))) == [2]


async def test_instances_are_listed_with_their_heartbeat(store: Store) -> None:
    assert await store.instances() == [instance(1)]
    assert await store.heartbeat(1, NOW + 7, LEASE_MS)
    assert await store.instances() == [instance(1, NOW + 7)]
    await store.unregister(1)
    assert await store.instances() == []


@pytest.mark.parametrize("number", [1, 5], ids=["again", "another"])
async def test_registering_again_replaces_the_first_instance(store: Store, number: int) -> None:
    await store.add([job(1)], held=True)
    await store.register(instance(number, NOW + 1))
    assert await store.instances() == [instance(number, NOW + 1)]
    await store.add([job(2)], held=True)
    assert await store.heartbeat(number, NOW + 2, LEASE_MS)


async def test_the_rows_of_an_instance_that_was_replaced_are_rescued(store: Store) -> None:
    await store.add([job(1), job(2)], held=True)
    await store.mark_running(job(1))
    await store.register(instance(5))
    leases = await store.lease_due(EVER, {"c": 9})
    assert [(each.job.id, each.job.deliveries) for each in leases] == [(1, 1), (2, 0)]


async def test_leaving_frees_the_rows_for_whoever_comes_next(store: Store) -> None:
    await store.add([job(1)], held=True)
    await store.mark_running(job(1))
    await store.unregister(1)
    assert await store.next_due_ms(["c"]) == NOW
    await store.register(instance(2))
    (free,) = await store.lease_due(EVER, {"c": 9})
    assert free.job.deliveries == 0


async def test_others_have_their_turn_between_changes(store: Store) -> None:
    turns = 0

    async def wait_for_turns() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait_for_turns)
        for number in range(1, 11):
            await store.add([job(number)], held=False)
            (held,) = await lease(store)
            await store.mark_running(held)
            await store.settle(Settlement(held))
        tasks.cancel_scope.cancel()
    assert turns > 30, "nearly one for each of forty changes"
