"""The promises of ``ports.Store`` about what jobs write down."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from jobworkerp_standalone.jobs.errors import LeaseLost
from jobworkerp_standalone.ports import Settlement, Store
from jobworkerp_standalone.ports.notes import HELD, Note, NotedRow, RunOver
from tests.contract.scene import job, lease, opened


def note(number: int, key: str = "k") -> Note:
    return Note(number, key, b"\0%d" % number)


async def test_notes_come_back_oldest_first_under_the_name_of_their_run(store: Store) -> None:
    await store.change_notes("job:1", [note(5), note(2, "ü")], [])
    await store.change_notes("job:2", [note(3)], [])
    assert await store.notes("job:1") == [note(2, "ü"), note(5)]
    assert await store.notes("job:2") == [note(3)]
    assert await store.notes("job:3") == []


async def test_notes_are_added_and_removed_together(store: Store) -> None:
    await store.change_notes("job:1", [note(1), note(2), note(3)], [])
    await store.change_notes("job:1", [note(4)], [1, 3, 99])
    assert await store.notes("job:1") == [note(2), note(4)]
    await store.change_notes("job:1", [], [2, 4])
    assert await store.notes("job:1") == []


async def test_notes_of_runs_that_are_over_go_with_the_job_that_ended_them(store: Store) -> None:
    await store.add([job(1)], held=True)
    for run in ("job:1", "job:2", "job:3"):
        await store.change_notes(run, [note(int(run[-1]))], [])
    left = note(7)
    over = Settlement(job(1), over=(RunOver("job:1"), RunOver("job:2", left)))
    with pytest.raises(LeaseLost):
        await store.settle(replace(over, job=job(1, fence=9)))
    assert await store.notes("job:1") == [note(1)], "whoever has the job goes on with it"
    await store.settle(over)
    assert [await store.notes(run) for run in ("job:1", "job:2", "job:3")] == [[], [left], [note(3)]]


async def test_the_latest_notes_of_a_key_name_their_runs(store: Store) -> None:
    waits = ":waits"
    await store.change_notes("job:1", [note(1, waits), note(4, waits), note(9, ":hears")], [])
    await store.change_notes("job:2", [note(3, waits)], [])
    assert await store.latest_notes(waits, 2) == [("job:1", note(4, waits)), ("job:2", note(3, waits))]
    await store.change_notes("job:1", [], [9])
    assert await store.latest_notes(":hears", 2) == []


async def test_notes_of_a_key_are_found_by_the_free_rows_of_their_jobs(store: Store) -> None:
    hears = ":hears"
    await store.add([job(1, run_after_ms=7, retried=2), job(2, channel="other"), job(3)], held=False)
    await store.add([job(4)], held=True)
    for number in (1, 2, 4, 5):
        await store.change_notes(f"job:{number}", [note(number, hears), note(10 + number)], [])
    await store.change_notes("flow:1", [note(6, hears)], [])
    assert await store.notes_of_free_rows(hears, ["c", "d"]) == [NotedRow(1, 7, 2, note(1, hears))]
    assert await store.notes_of_free_rows(":waits", ["c"]) == []


async def test_notes_are_taken_for_a_row_as_long_as_it_is_there(store: Store) -> None:
    await store.add([job(1)], held=False)
    await store.change_notes_of_row(1, [note(1), note(2)], [])
    await lease(store)
    await store.change_notes_of_row(1, [note(3)], [1])
    assert await store.notes("job:1") == [note(2), note(3)]
    with pytest.raises(LeaseLost):
        await store.change_notes_of_row(2, [note(4)], [])
    assert await store.notes("job:2") == []


async def test_no_notes_are_taken_for_a_row_that_another_process_holds(path: Path) -> None:
    async with opened(path) as one, opened(path, 2) as other:
        await one.add([job(1)], held=False)
        await one.change_notes_of_row(1, [note(1)], [])
        await lease(other)
        with pytest.raises(LeaseLost):
            await one.change_notes_of_row(1, [note(2)], [1])
        await other.change_notes_of_row(1, [note(3)], [])
        assert await one.notes("job:1") == [note(1), note(3)]


async def test_the_deliveries_of_a_job_that_got_on_count_anew(store: Store) -> None:
    await store.add([job(1, deliveries=3), job(2, deliveries=3)], held=False)
    first, _ = await lease(store)
    await store.change_notes("job:1", [note(1)], [], first)
    assert await store.notes("job:1") == [note(1)]
    assert {each.id: each.deliveries for each in await store.listing(None, 0)} == {1: 0, 2: 3}


async def test_nothing_is_counted_anew_for_who_lost_the_job(path: Path) -> None:
    async with opened(path) as one, opened(path, 2) as other:
        await one.add([job(1, deliveries=3)], held=False)
        (mine,) = await lease(one)
        await one.release([mine])
        await lease(other)
        await one.change_notes("job:1", [note(1)], [], mine)
        found = await one.find(1)
        assert found is not None
        assert found.deliveries == 3


async def test_some_runs_are_forgotten_together(store: Store) -> None:
    for number in range(1, 4):
        await store.change_notes(f"job:{number}", [note(number)], [])
    await store.forget_notes("job:1", "job:3", "job:7")
    assert [await store.notes(f"job:{number}") for number in range(1, 4)] == [[], [note(2)], []]


async def test_a_store_tells_how_many_notes_it_holds_in_memory_alone(
    store: Store, request: pytest.FixtureRequest
) -> None:
    in_memory = "memory" in request.node.name.partition("[")[2]
    await store.add([job(1)], held=True)
    assert store.notes_in_memory == (0 if in_memory else None)
    await store.change_notes("job:1", [note(1), note(2), note(3)], [])
    await store.change_notes("job:1", [note(4)], [1, 99])
    await store.change_notes("job:2", [note(5), note(9)], [])
    await store.change_notes("job:3", [note(6)], [])
    assert store.notes_in_memory == (6 if in_memory else None)
    await store.expire_notes(6)
    await store.forget_notes("job:3", "job:7")
    assert store.notes_in_memory == (4 if in_memory else None)
    await store.settle(Settlement(job(1), over=(RunOver("job:1", note(10)), RunOver("job:2"))))
    assert store.notes_in_memory == (1 if in_memory else None)


async def test_a_run_is_forgotten_alone(store: Store) -> None:
    await store.change_notes("job:1", [note(1)], [])
    await store.change_notes("job:2", [note(2)], [])
    await store.forget_notes("job:1")
    await store.forget_notes("job:7")
    assert await store.notes("job:1") == []
    assert await store.notes("job:2") == [note(2)]


async def test_old_notes_expire_but_those_of_jobs_that_are_still_there(store: Store) -> None:
    await store.add([job(1)], held=False)
    await store.change_notes("job:1", [note(1)], [])
    await store.change_notes("job:2", [note(2), note(7)], [])
    await store.expire_notes(7)
    assert await store.notes("job:1") == [note(1)]
    assert await store.notes("job:2") == [note(7)]


async def test_a_process_that_holds_a_run_holds_it_anew(store: Store) -> None:
    assert await store.hold_run("job:1", 1)
    assert await store.hold_run("job:1", 2)
    assert await store.notes("job:1") == [Note(2, HELD, b"1")], "its text is the owner"
    assert not await store.held_runs(["job:1"]), "by others"


async def test_a_run_is_held_by_one_process_until_that_is_gone(path: Path) -> None:
    async with opened(path, owner=1) as mine:
        async with opened(path, owner=2) as other:
            assert await other.hold_run("job:1", 1)
            assert not await mine.hold_run("job:1", 2)
            assert await mine.hold_run("job:2", 3)
            runs = ["job:1", "job:2", "job:3"]
            assert (set(await mine.held_runs(runs)), set(await other.held_runs(runs))) == ({"job:1"}, {"job:2"})
            assert not await mine.held_runs(["job:2", "job:3"])
            await other.change_notes("job:1", [], [1])
            assert await mine.hold_run("job:1", 4)
            await mine.change_notes("job:1", [], [4])
            assert await other.hold_run("job:1", 5)
        assert not await mine.held_runs(runs)
        assert await mine.hold_run("job:1", 6)
