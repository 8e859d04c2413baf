"""What a job writes down while it runs, and tells those who watch it."""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from anyio.abc import TaskGroup

from jobworkerp_standalone.engine.catalog import Catalog
from jobworkerp_standalone.engine.chain import GOES_ON_KEY, sent_by_client
from jobworkerp_standalone.engine.events import EventLogs
from jobworkerp_standalone.engine.live import LiveJob, LiveJobs
from jobworkerp_standalone.engine.note_taker import NoteTakers, attempt_name
from jobworkerp_standalone.engine.owned import OwnedTasks
from jobworkerp_standalone.engine.retention import RunRetention
from jobworkerp_standalone.engine.run_owners import JOB, WENT_ON
from jobworkerp_standalone.engine.temporary import definition_text
from jobworkerp_standalone.jobs.model import Job
from jobworkerp_standalone.jobs.runs import run_of_job
from jobworkerp_standalone.ports import Clock, JobStore
from jobworkerp_standalone.ports.notes import Note, NoteStore, RunOver
from jobworkerp_standalone.runners.journal import STEP, WAITS, Relieved


@dataclass(frozen=True, slots=True)
class JournalParts:
    """What journals are kept with."""

    store: NoteStore
    rows: JobStore
    catalog: Catalog
    live: LiveJobs
    events: EventLogs
    tasks: TaskGroup
    owned: OwnedTasks
    new_id: Callable[[], int]
    clock: Clock
    takers: NoteTakers
    keep_sec: int
    """How long what was written down is kept."""
    keep_most: int
    """How many notes are kept in memory, where that is possible."""


class JobJournal:
    """The journal of one job. See ``runners.journal.Journal``.

    Args:
        parts: what it is kept with.
        retention: hears what is written.
        live: the job.
        hold: lets no other process go on with a job until it has ended.
    """

    def __init__(
        self, parts: JournalParts, retention: RunRetention, live: LiveJob, hold: Callable[[int], Awaitable[None]]
    ) -> None:
        self._parts = parts
        self._retention = retention
        self._hold = hold
        self._live = live
        self._job = job = live.job
        self._described = False
        self._dead_runs = job.deliveries if job.stored else 0
        """Runs that ended with the death of their process, since one of them got on."""

    @property
    def durable(self) -> bool:
        """Whether the job has a row."""
        return self._job.stored

    @property
    def attempt(self) -> str:
        """Which attempt of which run of the job this is."""
        return attempt_name(self._job.run_after_ms, self._job.retried)

    @property
    def goes_on(self) -> int | None:
        """The job that this one was made to go on with."""
        return goes_on_with(self._job)

    @property
    def watched(self) -> bool:
        """Whether events are of use."""
        return True

    async def read(self, run: str) -> Sequence[Note]:
        """Return what was written down for a run, oldest first."""
        notes = await self._parts.store.notes(run)
        self._described = self._described or (run == run_of_job(self._job.id) and bool(notes))
        return notes

    async def write(self, run: str, added: Sequence[tuple[str, bytes]], removed: Sequence[int]) -> Sequence[int]:
        """Add notes by key and remove others by id, in one step. Return the new ids."""
        notes = [Note(self._parts.new_id(), key, data) for key, data in added]
        extra: list[Note] = []
        if not self._described and run == run_of_job(self._job.id):
            extra.append(Note(self._parts.new_id(), JOB, self._description()))
            if not (self._job.stored or any(key == WAITS for key, _ in added)):  # what has a row is seen by all
                await self._hold(self._job.id)
        got_on = self._dead_runs > 0 and any(note.key.startswith(STEP) for note in notes)
        await self._parts.store.change_notes(run, [*extra, *notes], removed, self._job if got_on else None)
        self._described = self._described or bool(extra)
        if got_on:
            self._dead_runs = 0
        note_ids = [note.id for note in notes]
        self._retention.wrote(self._job.id, self.goes_on, run, note_ids)
        if self._retention.exceeded:
            await self._retention.trim()
        return note_ids

    async def forget(self, run: str) -> None:
        """Remove all notes of a run."""
        await self._parts.store.forget_notes(run)
        self._described = False

    def why_dropped(self, run: str) -> str:
        """Return why nothing is kept of a run any more."""
        return self._retention.why_dropped(run)

    def number(self) -> int:
        """Return a number above all that were given before."""
        return self._parts.new_id()

    def relieve(self) -> Relieved | None:
        """Let the run hear by itself from this moment on."""
        return self._parts.takers.relieve(self._job.id)

    def ended(self) -> None:
        """The run is over and nothing goes on with it: its notes go with the job."""
        own, before = self._job.id, self.goes_on
        if before is None:
            self._live.over = (RunOver(run_of_job(own)),)
        else:  # others may know the run under either job
            self._live.over = tuple(
                RunOver(run_of_job(each), Note(self._parts.new_id(), WENT_ON, str(own).encode()))
                for each in (before, own)
            )

    def tell(self, event: bytes) -> None:
        """Hand an event to those who watch this job."""
        self._parts.events.add(self._job.id, event)

    def _description(self) -> bytes:
        job = self._job
        entry = self._parts.catalog.find(job.worker_id)
        known = {
            "worker_id": job.worker_id,
            "worker": definition_text(entry.worker) if entry is not None else "",
            "channel": job.channel,
            "args": base64.b64encode(job.args).decode(),
            "using": job.using,
            "timeout_ms": job.timeout_ms,
            "metadata": sent_by_client(job),
        }
        return json.dumps(known).encode()


def goes_on_with(job: Job) -> int | None:
    """Return the job that this one was made to go on with."""
    before = job.metadata.get(GOES_ON_KEY)
    return int(before) if before is not None else None
