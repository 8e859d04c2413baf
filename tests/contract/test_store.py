"""The promises of ``ports.Store``: jobs, their rows, and what is written when an attempt ends."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from jobworkerp_standalone.jobs.errors import AlreadyExists, DuplicateKey, LeaseLost, Status, StorageError
from jobworkerp_standalone.jobs.model import (
    Job,
    Overrides,
    ResponseType,
    Rules,
    Worker,
)
from jobworkerp_standalone.ports import KnownRunner, Settlement, Store
from tests.contract.scene import (
    FULL_JOB,
    FULL_POLICY,
    FULL_WORKER,
    NOW,
    HandClock,
    job,
    lease,
    lease_one,
    opened,
    result,
)

# ---------------------------------------------------------------- adding and finding


@pytest.mark.parametrize(
    "wanted", [FULL_JOB, job(1), job(1, overrides=Overrides(), metadata={})], ids=["full", "", "-"]
)
async def test_a_job_comes_back_as_it_went_in(store: Store, wanted: Job) -> None:
    await store.add([wanted], held=False)
    assert await store.find(wanted.id) == wanted
    assert await store.find(wanted.id + 1) is None


async def test_add_is_all_or_nothing(store: Store) -> None:
    await store.add([job(1, uniq_key="k")], held=False)
    with pytest.raises(DuplicateKey, match="'k' is held by job 1 ") as refusal:
        await store.add([job(2), job(3, uniq_key="k"), job(4)], held=False)
    assert (refusal.value.uniq_key, refusal.value.holder) == ("k", 1)
    assert refusal.value.code is Status.ALREADY_EXISTS
    assert [each.id for each in await store.listing(None, 0)] == [1]


async def test_jobs_added_together_may_not_share_a_key(store: Store) -> None:
    with pytest.raises(DuplicateKey, match="'k' is held by job 1 "):
        await store.add([job(1, uniq_key="k"), job(2, uniq_key="k")], held=False)
    assert await store.count() == 0


async def test_jobs_without_a_key_do_not_collide(store: Store) -> None:
    await store.add([job(1), job(2, uniq_key=""), job(3, uniq_key="")], held=False)
    assert await store.count() == 3
    assert await store.keys() == {}


async def test_an_id_is_taken_once(store: Store) -> None:
    await store.add([job(1, args=b"first")], held=False)
    with pytest.raises(StorageError, match=r"\[2, 1\].* exists"):
        await store.add([job(2), job(1, args=b"second")], held=False)
    assert [(each.id, each.args) for each in await store.listing(None, 0)] == [(1, b"first")]


async def test_a_key_is_free_once_its_row_is_gone(store: Store) -> None:
    await store.add([job(1, uniq_key="k")], held=False)
    assert await store.keys() == {"k": 1}
    await store.settle(Settlement(await lease_one(store)))
    await store.add([job(2, uniq_key="k")], held=False)
    assert await store.keys() == {"k": 2}


async def test_adding_nothing_is_no_mistake(store: Store) -> None:
    await store.add([], held=True)
    await store.release([])
    assert await store.count() == 0


async def test_listing_is_newest_first(store: Store) -> None:
    await store.add([job(number) for number in (3, 1, 5, 2, 4)], held=False)

    async def ids(limit: int | None, offset: int) -> list[int]:
        return [each.id for each in await store.listing(limit, offset)]

    assert await ids(None, 0) == [5, 4, 3, 2, 1]
    assert await ids(2, 1) == [4, 3]
    assert await ids(None, 3) == [2, 1]
    assert await ids(0, 0) == []
    assert await ids(10, 10) == []
    assert await store.count() == 5


async def test_jobs_of_one_worker(store: Store) -> None:
    await store.add([job(1), replace(job(2), worker_id=7), replace(job(3), worker_id=7)], held=True)
    assert [each.id for each in await store.of_worker(7)] == [2, 3]
    assert await store.of_worker(8) == []


async def test_the_largest_id_of_jobs_and_results(store: Store) -> None:
    assert await store.max_id() == 0
    await store.add([job(7), job(3)], held=False)
    assert await store.max_id() == 7
    await store.add_result(result(9, job(1)))
    assert await store.max_id() == 9
    await store.delete_result(9)
    assert await store.max_id() == 7


async def test_recoverable_are_those_meant_to_start_at_once(store: Store) -> None:
    await store.add([job(1), job(2), job(3, run_after_ms=NOW + 1)], held=False)
    await store.add([job(4)], held=True)
    assert [each.id for each in await store.recoverable(None, include_held=False)] == [1, 2]
    assert [each.id for each in await store.recoverable(None, include_held=True)] == [1, 2, 4]
    assert [each.id for each in await store.recoverable(1, include_held=True)] == [1]


# ---------------------------------------------------------------- settling


async def test_settling_removes_the_row_and_keeps_the_result(store: Store) -> None:
    await store.add([job(1)], held=False)
    held = await lease_one(store)
    await store.settle(Settlement(held, result(10, held), new_jobs=(job(2), job(3))))
    assert await store.find(1) is None
    assert [each.id for each in await lease(store)] == [2, 3]
    kept = await store.find_result(10)
    assert kept is not None
    assert (kept.job.id, kept.output) == (1, b"out")


async def test_a_settlement_is_true_as_a_whole_or_not_at_all(store: Store) -> None:
    await store.add([job(1), job(8, uniq_key="k", channel="other")], held=False)
    held = await lease_one(store)
    with pytest.raises(DuplicateKey, match="'k' is held by job 8 "):
        await store.settle(Settlement(held, result(10, held), new_jobs=(job(2), job(3, uniq_key="k"))))
    assert [each.id for each in await store.listing(None, 0)] == [8, 1]
    assert await store.find_result(10) is None
    await store.settle(Settlement(held, result(10, held)))
    assert await store.find_result(10) is not None


async def test_a_result_id_that_is_taken_undoes_the_settlement(store: Store) -> None:
    await store.add_result(result(10, job(5)))
    await store.add([job(1)], held=False)
    held = await lease_one(store)
    with pytest.raises(StorageError, match="end of job 1 could not be stored"):
        await store.settle(Settlement(held, result(10, held)))
    assert await store.find(1) == held


async def test_a_job_without_a_row_writes_only_the_rest(store: Store) -> None:
    volatile = job(1, stored=False)
    await store.settle(Settlement(volatile, result(10, volatile), new_jobs=(job(1, run_after_ms=NOW + 9, retried=1),)))
    assert [(each.id, each.retried) for each in await store.listing(None, 0)] == [(1, 1)]
    assert await store.find_result(10) is not None


async def test_a_moved_row_is_free_again_at_its_time(store: Store) -> None:
    await store.add([job(1, uniq_key="k", deliveries=2)], held=False)
    held = await lease_one(store)
    await store.mark_running(held)
    await store.settle(Settlement(held, next_due_ms=NOW + 500, next_retried=4))
    assert await store.keys() == {"k": 1}
    assert await store.next_due_ms(["c"]) == NOW + 500
    assert await lease(store, until_ms=NOW + 499) == []
    (moved,) = await lease(store, until_ms=NOW + 500)
    assert moved == replace(held, run_after_ms=NOW + 500, retried=4, fence=held.fence + 1)


async def test_a_moved_row_keeps_what_its_run_took_from_its_worker(store: Store) -> None:
    await store.add([job(1, recurring=True)], held=False)
    rules = Rules(ResponseType.NO_RESULT, True, True, True, FULL_POLICY)
    run = replace(await lease_one(store), rules=rules, channel="d")
    await store.settle(Settlement(run, next_due_ms=NOW, next_retried=1))
    assert await lease(store) == []
    (moved,) = await lease(store, channel="d")
    assert (moved.rules, moved.retried) == (rules, 1)


async def test_a_moved_row_may_stay_with_its_holder(store: Store) -> None:
    await store.add([job(1)], held=False)
    held = await lease_one(store)
    await store.settle(Settlement(held, next_due_ms=NOW + 500, next_retried=1, keep_lease=True))
    assert await lease(store) == []
    again = replace(held, run_after_ms=NOW + 500, retried=1)
    assert await store.find(1) == again
    await store.settle(Settlement(again))
    assert await store.count() == 0


@pytest.mark.parametrize(("recurring", "retried", "deliveries"), [(True, 0, 0), (True, 1, 3), (False, 1, 3)])
async def test_only_the_next_run_of_a_schedule_starts_with_a_clean_sheet(
    store: Store, recurring: bool, retried: int, deliveries: int
) -> None:
    await store.add([job(1, recurring=recurring, deliveries=3)], held=False)
    await store.settle(Settlement(await lease_one(store), next_due_ms=NOW + 1, next_retried=retried))
    assert (await lease_one(store)).deliveries == deliveries


@pytest.mark.parametrize("next_due_ms", [None, NOW + 1], ids=["end", "move"])
async def test_a_late_holder_cannot_finish(store: Store, next_due_ms: int | None) -> None:
    await store.add([job(1)], held=False)
    late = await lease_one(store)
    await store.release([late])
    now_held = await lease_one(store)
    assert now_held.fence > late.fence
    with pytest.raises(LeaseLost, match="job 1 "):
        await store.settle(Settlement(late, result(10, late), next_due_ms, new_jobs=(job(2),)))
    assert await store.find(1) == now_held
    assert await store.find_result(10) is None
    assert await store.find(2) is None


async def test_a_row_that_is_gone_cannot_be_settled(store: Store) -> None:
    await store.add([job(1)], held=False)
    held = await lease_one(store)
    await store.settle(Settlement(held))
    with pytest.raises(LeaseLost):
        await store.settle(Settlement(held, result(10, held)))
    assert await store.find_result(10) is None


# ---------------------------------------------------------------- workers


async def test_a_worker_comes_back_as_it_went_in(store: Store) -> None:
    added = await store.add_worker(FULL_WORKER)
    plain = await store.add_worker(Worker(0, "plain", 1))
    assert await store.all_workers() == [replace(FULL_WORKER, id=added.id), plain]
    assert 0 < added.id < plain.id < 100


async def test_every_process_can_tell_that_definitions_changed(tmp_path: Path, clock: HandClock) -> None:
    path = tmp_path / "jobs.sqlite3"
    async with opened(path, 1, clock) as store, opened(path, 2, clock) as other:
        counts = [await other.worker_changes()]
        added = await store.add_worker(Worker(0, "a", 1))
        counts.append(await other.worker_changes())
        assert await store.replace_worker(replace(added, description="new"))
        counts.append(await other.worker_changes())
        assert await store.remove_worker(added.id)
        counts.append(await other.worker_changes())
        assert counts == sorted(set(counts)), "each change is counted"
        assert not await store.remove_worker(added.id)
        assert not await store.replace_worker(added)
        assert await other.worker_changes() == await store.worker_changes() == counts[-1]


async def test_worker_ids_are_never_used_twice(store: Store) -> None:
    first = await store.add_worker(Worker(0, "a", 1))
    assert await store.remove_worker(first.id)
    assert not await store.remove_worker(first.id)
    assert (await store.add_worker(Worker(0, "b", 1))).id > first.id


async def test_worker_names_are_taken_once(store: Store) -> None:
    first, second = [await store.add_worker(Worker(0, name, 1)) for name in ("a", "A")]
    with pytest.raises(AlreadyExists, match="'a' is taken"):
        await store.add_worker(Worker(0, "a", 1))
    with pytest.raises(AlreadyExists, match="'a' is taken"):
        await store.replace_worker(replace(second, name="a"))
    assert await store.all_workers() == [first, second]


async def test_replacing_writes_all_but_the_creation_time(store: Store) -> None:
    first = await store.add_worker(Worker(0, "a", 1, created_at_ms=5))
    assert await store.replace_worker(replace(FULL_WORKER, id=first.id))
    assert await store.all_workers() == [replace(FULL_WORKER, id=first.id, created_at_ms=5)]
    assert not await store.replace_worker(replace(FULL_WORKER, id=first.id + 1, name="other"))
    assert len(await store.all_workers()) == 1


# ---------------------------------------------------------------- runners


async def test_a_runner_comes_back_as_it_went_in(store: Store) -> None:
    created = KnownRunner(2**40, "mine", 7, NOW, created=True, description="d", definition="secret")
    plain = KnownRunner(2**40 + 1, "Mine", 0, NOW)
    for runner in (plain, created):
        await store.put_runner(runner)
    assert await store.all_runners() == [created, plain]
    assert await store.max_id() == plain.id


async def test_a_runner_name_has_one_row(store: Store) -> None:
    first, second = KnownRunner(70_000, "a", 0, NOW), KnownRunner(70_001, "a", 7, NOW)
    await store.put_runner(first)
    await store.put_runner(second)
    assert await store.all_runners() == [second]
    with pytest.raises(AlreadyExists, match="70001"):
        await store.put_runner(replace(second, name="b"))
    assert await store.all_runners() == [second]
    assert await store.remove_runner(second.id)
    assert not await store.remove_runner(second.id)
    assert await store.all_runners() == []


async def test_channels_that_were_opened_are_remembered_once(store: Store) -> None:
    assert set(await store.noted_channels()) == set()
    for name in ("new", "kanal ü", "new"):
        await store.note_channel(name)
    assert sorted(await store.noted_channels()) == ["kanal ü", "new"]
