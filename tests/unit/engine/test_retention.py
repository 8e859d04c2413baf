"""What is kept of runs in memory, and that looking for what may go costs next to nothing."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from jobworkerp_standalone.backends.memory.store import MemoryStore
from jobworkerp_standalone.engine.clock import SystemClock
from jobworkerp_standalone.engine.live import LiveJobs
from jobworkerp_standalone.engine.retention import RetentionParts, RunRetention
from jobworkerp_standalone.jobs.ids import IdGenerator
from jobworkerp_standalone.jobs.model import Job, Rules
from jobworkerp_standalone.jobs.runs import run_of_job
from jobworkerp_standalone.ports.notes import Note
from jobworkerp_standalone.runners.journal import WAITS

MOST = 100


class CountingStore(MemoryStore):
    """Counts how often the notes of a run are read."""

    reads = 0

    async def notes(self, run: str) -> Sequence[Note]:
        self.reads += 1
        return await super().notes(run)


class Kept:
    """A store in memory and what bounds it."""

    def __init__(self) -> None:
        self.store = CountingStore(SystemClock())
        self.new_id = IdGenerator(0)
        self.gone_on_with: set[int] = set()
        self.live = LiveJobs()
        parts = RetentionParts(self.store, self.store, self.live, self.new_id, self.gone_on_with.__contains__)
        self.retention = RunRetention(parts, MOST)

    async def write(self, job_id: int, *keys: str, before: int | None = None, name: str | None = None) -> None:
        """Write something down for a run as jobs do."""
        run, notes = name or run_of_job(job_id), [Note(self.new_id(), key, b"{}") for key in keys]
        await self.store.change_notes(run, notes, ())
        self.retention.wrote(job_id, before, run, [note.id for note in notes])
        await self.retention.trim()

    async def end(self, *jobs: int) -> None:
        """Let a job end that went on with others."""
        self.retention.rests(*jobs)
        await self.retention.trim()


@pytest.fixture
def kept() -> Kept:
    return Kept()


async def test_a_write_looks_at_no_run_twice_while_all_wait(kept: Kept) -> None:
    for job_id in range(1, 2 * MOST):
        await kept.write(job_id, "run", WAITS)
        await kept.end(job_id)
    assert kept.store.reads < 2 * MOST
    before = kept.store.reads
    for number in range(MOST):
        await kept.write(1000, f"/{number}")
    assert kept.store.reads == before


async def test_as_much_is_looked_at_as_is_dropped(kept: Kept) -> None:
    for job_id in range(1, 1000):
        await kept.write(job_id, "run", "/0")
        await kept.end(job_id)
    assert kept.store.notes_in_memory == MOST
    assert kept.store.reads <= 1000
    assert [job_id for job_id in range(1, 1000) if job_id in kept.retention] == list(range(950, 1000))


async def test_what_was_dropped_is_remembered_as_often_as_records_are_kept(kept: Kept) -> None:
    for job_id in range(1, 1000):
        await kept.write(job_id, "run", "/0")
        await kept.end(job_id)
    told = [job_id for job_id in range(1, 1000) if kept.retention.why_dropped(run_of_job(job_id))]
    assert told == list(range(950 - MOST, 950))


async def test_nothing_is_remembered_of_runs_that_are_over_or_too_old(kept: Kept) -> None:
    await kept.write(1, "run")
    kept.retention.over(1)
    await kept.write(2, "run")
    await kept.end(2)
    await kept.write(3, "run", before=2)
    await kept.end(2, 3)
    before_id = kept.new_id()
    await kept.write(4, "run")
    await kept.end(4)
    kept.retention.expired(before_id)
    assert [job_id for job_id in range(1, 5) if job_id in kept.retention] == [4]


class TestARunStays:
    """Though the oldest, and not the latest, that has ended."""

    @staticmethod
    async def of_job_1(kept: Kept, other: int = 2) -> bool:
        await kept.write(other, *map(str, range(MOST)))
        await kept.end(other)
        return bool(await kept.store.notes(run_of_job(1)))

    async def test_while_somebody_goes_on_with_it(self, kept: Kept) -> None:
        await kept.write(1, "run")
        await kept.end(1)
        kept.gone_on_with.add(1)
        assert await self.of_job_1(kept)
        kept.gone_on_with.clear()
        await kept.end(1)
        assert not await self.of_job_1(kept, 3)

    async def test_while_a_job_of_it_runs(self, kept: Kept) -> None:
        await kept.write(1, "run")
        await kept.end(1)
        await kept.write(3, "run", before=1)
        kept.live.add(Job(3, 1, b"", Rules(), 0), 0)
        assert await self.of_job_1(kept)

    async def test_while_a_job_of_it_has_a_row(self, kept: Kept) -> None:
        await kept.write(1, "run")
        await kept.end(1)
        await kept.store.add([Job(1, 1, b"", Rules(), 0)], held=False)
        assert await self.of_job_1(kept)

    async def test_but_not_without_any_of_that(self, kept: Kept) -> None:
        await kept.write(1, "run")
        await kept.end(1)
        assert not await self.of_job_1(kept)


async def test_a_name_leads_to_the_last_job_that_had_it_and_goes_with_that(kept: Kept) -> None:
    await kept.write(1, "run")
    await kept.write(1, "job", name="flow:a")
    await kept.end(1)
    await kept.write(2, "run", before=1)
    await kept.write(2, "job", name="flow:a", before=1)
    await kept.end(1, 2)
    await kept.write(3, *map(str, range(MOST)))
    await kept.end(3)
    assert kept.retention.why_dropped("flow:a")
    await kept.write(4, "job", name="flow:a")
    assert not kept.retention.why_dropped("flow:a")


async def test_a_name_goes_with_the_run_that_it_leads_to(kept: Kept) -> None:
    await kept.write(1, "run")
    await kept.write(1, "job", name="flow:a")
    await kept.write(1, "job", name="flow:b")
    await kept.end(1)
    await kept.store.change_notes(
        "flow:b", [Note(kept.new_id(), "job", b"2")], [note.id for note in await kept.store.notes("flow:b")]
    )
    await kept.write(2, *map(str, range(MOST)))
    await kept.end(2)
    assert [bool(kept.retention.why_dropped(name)) for name in ("flow:a", "flow:b")] == [True, False]
    assert [len(await kept.store.notes(name)) for name in ("flow:a", "flow:b")] == [0, 1]
