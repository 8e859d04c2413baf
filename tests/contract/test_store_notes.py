"""The promises of ``ports.Store`` about what jobs write down."""

from __future__ import annotations

from jobworkerp_standalone.ports import Note, Store
from tests.contract.scene import job


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


async def test_the_latest_notes_of_a_key_name_their_runs(store: Store) -> None:
    await store.change_notes("job:1", [note(1), note(4), note(9, "other")], [])
    await store.change_notes("job:2", [note(3)], [])
    assert await store.latest_notes("k", 2) == [("job:1", note(4)), ("job:2", note(3))]
    assert await store.latest_notes("nothing", 2) == []


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
