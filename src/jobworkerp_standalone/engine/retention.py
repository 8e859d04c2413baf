"""How much is kept of workflow runs where it is in memory alone: what nobody goes on with goes, the oldest first.

The jobs that went on with one another are one run here, whichever of them somebody goes on with next: it goes as a
whole, so that nothing is left with which work could be done twice. A run stays while one of its jobs has not ended,
and so does the latest that has ended. Of a run that waits, what the waiting job wrote down stays: that is all it needs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from anyio.lowlevel import cancel_shielded_checkpoint

from jobworkerp_standalone.engine.live import LiveJobs
from jobworkerp_standalone.jobs.runs import run_of_job
from jobworkerp_standalone.ports import JobStore
from jobworkerp_standalone.ports.notes import NoteStore
from jobworkerp_standalone.runners.journal import WAITS

_log = logging.getLogger(__name__)
_SETTING: Final = "WORKFLOW_CHECKPOINT_MAX_COUNT"


@dataclass(slots=True, eq=False)
class _Run:
    """The jobs that went on with one another, as far as they wrote something down."""

    jobs: dict[int, dict[str, list[int]]] = field(default_factory=dict[int, dict[str, list[int]]])
    """With the notes, by the names that they are kept under, that lead to a job."""
    rested: int = 0
    """An id above those of all its notes, from the last time that one of its jobs ended."""


@dataclass(frozen=True, slots=True)
class RetentionParts:
    """What is looked at."""

    store: NoteStore
    rows: JobStore
    live: LiveJobs
    new_id: Callable[[], int]
    gone_on_with: Callable[[int], bool]
    """Whether a job goes on with another one, or is about to."""


class RunRetention:
    """Does nothing where the store is on disk.

    Args:
        parts: what is looked at.
        most: notes that are kept, where that is possible.
    """

    def __init__(self, parts: RetentionParts, most: int) -> None:
        self._parts = parts
        self._most = most
        self._in_memory = parts.store.notes_in_memory is not None
        self._runs: dict[int, _Run] = {}
        """By their jobs."""
        self._resting: dict[_Run, None] = {}
        """Those that may go, the one that has rested for longest first."""
        self._looked_at: dict[_Run, None] = {}
        """Those of which nothing may go until another of their jobs has ended."""
        self._latest: _Run | None = None
        """The one that may go as soon as another one rests."""
        self._dropped: dict[str, int] = {}
        """Names under which nothing is kept any more, with the job that went on and waits, or 0; as many as notes."""
        self._warned = False

    def __contains__(self, job_id: int) -> bool:
        """Whether something may be kept of a job."""
        return job_id in self._runs

    @property
    def exceeded(self) -> bool:
        """Whether more is kept than should be."""
        return (self._parts.store.notes_in_memory or 0) > self._most

    def wrote(self, job_id: int, before: int | None, run: str, note_ids: Sequence[int]) -> None:
        """Take note that a job wrote something down under the name of a run.

        Args:
            job_id: the job.
            before: the one that it goes on with.
            run: its own run, or another name that leads to it.
            note_ids: of what was added.
        """
        if not self._in_memory:
            return
        known = self._known(job_id) if before is None else self._known(before, job_id)
        self._dropped.pop(run, None)
        if note_ids and run != run_of_job(job_id):
            known.jobs[job_id].setdefault(run, []).extend(note_ids)

    def rests(self, *jobs: int) -> None:
        """Take note that a job has ended; behind the ones that it went on with."""
        if not self._in_memory:
            return
        run = self._known(*jobs)
        self._leave(run)
        if self._latest is not None:
            self._resting[self._latest], self._latest = None, None
        run.rested = self._parts.new_id()
        self._resting[run] = None

    def over(self, job_id: int) -> None:
        """Take note that nothing is kept of a job any more, but what leads to it."""
        run = self._runs.get(job_id)
        if run is None:
            return
        if any(run.jobs.values()):
            self.rests(job_id)
        else:
            self._leave(run)
            self._forget(run, list(run.jobs))

    def expired(self, before_id: int) -> None:
        """Take note that notes with an id below this one are gone."""
        for runs in (self._looked_at, self._resting):
            while runs and (run := next(iter(runs))).rested < before_id:
                del runs[run]
                self._forget(run, list(run.jobs))
        if self._latest is not None and self._latest.rested < before_id:
            self._forget(self._latest, list(self._latest.jobs))
            self._latest = None

    def why_dropped(self, run: str) -> str:
        """Return why what was kept under a name is gone before its time; empty where it is not."""
        if run not in self._dropped:
            return ""
        return f"what it wrote down was dropped, because memory held more than {self._most:,} records ({_SETTING})"

    def waited(self, run: str) -> int:
        """Return the job that had gone on with a run, and waited, when the earlier part of it was dropped; 0: none."""
        return self._dropped.get(run, 0)

    async def trim(self) -> None:
        """Drop what may go, as long as there is too much."""
        while self.exceeded and self._resting:
            run = next(iter(self._resting))
            del self._resting[run]
            await self._shrink(run)
            await cancel_shielded_checkpoint()
        if self.exceeded and not self._warned:
            self._warned = True
            _log.warning(
                "memory holds %d records of workflow runs, more than %s (%d): all are of runs that have not ended, "
                "that wait, or of the latest that ended, which are kept; resume or end some, or raise the setting",
                self._parts.store.notes_in_memory,
                _SETTING,
                self._most,
            )

    async def _shrink(self, run: _Run) -> None:
        """Drop a run, or what it does not need."""
        parts, jobs, kept = self._parts, sorted(run.jobs), 0
        for job_id in jobs:
            if await parts.rows.find(job_id) is not None:
                self._looked_at[run] = None
                return
            notes = await parts.store.notes(run_of_job(job_id))
            if any(note.key == WAITS for note in notes):
                break
            kept += 1
        waits = kept < len(jobs)
        # A store in memory has answered at once, so nothing has changed meanwhile.
        if any(parts.live.get(job_id) is not None or parts.gone_on_with(job_id) for job_id in jobs) or kept == 0:
            self._looked_at[run] = None
        elif not (waits or self._resting):
            self._latest = run
        else:
            if waits:
                self._looked_at[run] = None
            await self._drop(run, jobs[:kept], jobs[kept] if waits else 0)

    async def _drop(self, run: _Run, jobs: Sequence[int], later: int) -> None:
        """Drop some jobs of a run, with which a later one has gone on that stays; 0: none."""
        store, names = self._parts.store, [run.jobs[job_id] for job_id in jobs]
        self._forget(run, jobs)
        self._dropped.update((run_of_job(job_id), later) for job_id in jobs)
        await store.forget_notes(*map(run_of_job, jobs))
        for name, note_ids in (each for of_job in names for each in of_job.items()):
            if any(note.id in note_ids for note in await store.notes(name)):
                self._dropped[name] = later
                await store.change_notes(name, (), note_ids)
        while len(self._dropped) > self._most:
            del self._dropped[next(iter(self._dropped))]

    def _known(self, *jobs: int) -> _Run:
        run = next((self._runs[job_id] for job_id in jobs if job_id in self._runs), None) or _Run()
        for job_id in jobs:
            run.jobs.setdefault(job_id, {})
            self._runs[job_id] = run
        return run

    def _leave(self, run: _Run) -> None:
        self._resting.pop(run, None)
        self._looked_at.pop(run, None)
        if self._latest is run:
            self._latest = None

    def _forget(self, run: _Run, jobs: Sequence[int]) -> None:
        for job_id in jobs:
            del run.jobs[job_id]
            del self._runs[job_id]
