"""What jobs write down while they run, and what they tell those who watch them."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from anyio.abc import TaskGroup

from jobworkerp_standalone.engine.catalog import Catalog, Entry
from jobworkerp_standalone.engine.chain import GOES_ON_KEY, sent_by_client
from jobworkerp_standalone.engine.events import EventLogs
from jobworkerp_standalone.engine.intake import Intake, Manner
from jobworkerp_standalone.engine.live import LiveJob, LiveJobs
from jobworkerp_standalone.engine.note_taker import NoteTakers, attempt_name
from jobworkerp_standalone.engine.owned import OwnedTasks
from jobworkerp_standalone.engine.run_owners import GOES_ON, JOB, WENT_ON, RunOwners, by_key, taken
from jobworkerp_standalone.engine.temporary import DEFINITION_KEY, definition_text, worker_of
from jobworkerp_standalone.jobs.errors import FailedPrecondition, InvalidRequest, NotFound, StorageError
from jobworkerp_standalone.jobs.ids import id_at
from jobworkerp_standalone.jobs.model import Job, NewJob, Overrides, ResponseType, Rules
from jobworkerp_standalone.jobs.runs import job_of_run, run_of_job
from jobworkerp_standalone.ports import Clock, JobStore
from jobworkerp_standalone.ports.notes import Note, NoteStore, RunOver
from jobworkerp_standalone.runners.journal import STEP, WAITS, WISH, Relieved

_log = logging.getLogger(__name__)
_EXPIRY_SEC: Final = 3600.0


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


class Journals:
    """The journals of all jobs."""

    def __init__(self, parts: JournalParts) -> None:
        self._parts = parts
        self._owners = RunOwners(parts.store, parts.rows, parts.live)
        self._held: dict[int, int] = {}
        """Notes by which this process holds runs that it goes on with, by the jobs that those are of."""
        self._starting: set[int] = set()
        """Jobs with which another one is about to go on."""
        self._next_expiry = 0.0

    @property
    def events(self) -> EventLogs:
        """What jobs told lately."""
        return self._parts.events

    @property
    def takers(self) -> NoteTakers:
        """Those who hear for jobs that have not gone on yet."""
        return self._parts.takers

    def of(self, live: LiveJob) -> JobJournal:
        """Return the journal of the attempt that now begins."""
        return JobJournal(self._parts, live)

    def left(self, job: Job, over: bool, runs: Sequence[RunOver]) -> None:
        """A job is not held here any more: forget what was made for it, and what nobody will go on with."""
        if over:
            self._parts.takers.left(job.id)
        self._parts.catalog.take_back(job.worker_id)
        self._parts.events.end(job.id)
        if not over:
            return
        if (before := _goes_on_with(job)) is not None:
            self._parts.tasks.start_soon(self._give_up, job.id, before, self._held.pop(before, None))
        elif runs and not job.stored:  # else they have gone with its row
            self._parts.tasks.start_soon(self._forget, job.id, runs)

    async def go_on(self, intake: Intake, job_id: int, wish: bytes, *, anew: bool = False) -> int:
        """Start a job that goes on with one that ended, and return its id.

        ``anew``: the wish says where to begin again, which is possible beside a later job that failed.

        Raises:
            NotFound: nothing was written down that could be gone on with.
            FailedPrecondition: the job has not ended, or the run belongs to a later one, maybe in another process.
            RequestError: the new job is not accepted.
        """
        await self._check_ended(job_id)
        other = self._successors().get(job_id)
        if other is not None or job_id in self._starting:
            raise taken(f"job {other}" if other is not None else "another one", job_id)
        self._starting.add(job_id)
        return await self._parts.owned.run(self._go_on, intake, job_id, wish, anew)

    async def _check_ended(self, job_id: int) -> None:
        """Refuse a job that is held here, or whose row waits, or is run by another process. A schedule has no end."""
        if self._parts.live.get(job_id) is None:
            row = await self._parts.rows.find(job_id)
            if row is None or row.recurring:
                return
        raise FailedPrecondition(
            f"job {job_id} has not ended, and goes on by itself: wait until it ends, or delete it first"
        )

    async def waiting(self, limit: int) -> list[tuple[int, bytes]]:
        """Return the jobs whose runs wait and that nobody goes on with by now, the latest first, with their notes."""
        taken = self._successors()
        store, held = self._parts.store, set[str]()
        while True:
            notes = await store.latest_notes(WAITS, wanted := limit + len(taken) + len(held))
            known, held = held, set(await store.held_runs([run for run, _ in notes]))
            if len(notes) < wanted or len(held) <= len(known):
                break
        found = [(job_of_run(run), note.data) for run, note in notes if run not in held]
        return [each for each in found if each[0] not in taken][:limit]

    def _successors(self) -> dict[int, int]:
        """Return the jobs that now go on with others, by those."""
        jobs = (each.job for each in self._parts.live.all())
        return {before: job.id for job in jobs if (before := _goes_on_with(job)) is not None}

    async def _go_on(self, intake: Intake, job_id: int, wish: bytes, anew: bool) -> int:
        try:
            return await self._hold_and_start(intake, job_id, wish, anew)
        finally:
            self._starting.discard(job_id)

    async def _hold_and_start(self, intake: Intake, job_id: int, wish: bytes, anew: bool) -> int:
        self._held[job_id] = await self._hold(job_id)
        try:
            notes = await self._parts.store.notes(run_of_job(job_id))  # as whoever held it left them
            later = await self._owners.check_free(job_id, notes, anew=anew)
            if not later:
                return await self._submit_again(intake, job_id, by_key(notes), wish, later)
            async with self._holding(later):
                later = await self._owners.check_free(job_id, notes, anew=anew)  # as whoever held them left them
                return await self._submit_again(intake, job_id, by_key(notes), wish, later)
        except Exception:  # a cancellation is the end of this process, which then holds nothing
            given = self._held.pop(job_id, None)  # None: the job that was refused has let go of it
            await self._remove(job_id, [] if given is None else [given])
            raise

    async def _hold(self, job_id: int) -> int:
        """Hold the run of a job for this process, and return the note by which it does.

        Raises:
            FailedPrecondition: another process holds it.
        """
        held = self._parts.new_id()
        if not await self._parts.store.hold_run(run_of_job(job_id), held):
            raise FailedPrecondition(
                f"another process goes on with job {job_id} already; wait until it ends, or end it there"
            )
        return held

    @asynccontextmanager
    async def _holding(self, jobs: Sequence[int]) -> AsyncIterator[None]:
        """Let nobody go on with these jobs meanwhile, here or in another process.

        Raises:
            FailedPrecondition: somebody is about to.
        """
        for job_id in jobs:
            if job_id in self._starting:
                raise taken("another one", job_id)
        self._starting.update(jobs)
        held: dict[int, int] = {}
        try:
            for job_id in jobs:
                held[job_id] = await self._hold(job_id)
            yield
        finally:
            self._starting.difference_update(jobs)
            for job_id, note_id in held.items():
                await self._remove(job_id, [note_id])

    def _goes_on_note(self, new_id: int) -> Note:
        return Note(self._parts.new_id(), GOES_ON, str(new_id).encode())

    async def _submit_again(
        self, intake: Intake, job_id: int, notes: Mapping[str, Note], wish: bytes, later: Sequence[int]
    ) -> int:
        if JOB not in notes:
            raise NotFound(
                f"nothing is kept of job {job_id} to go on with: runs that wait keep it, and durable ones that faulted"
            )
        parts = self._parts
        entry, new = self._again(notes[JOB].data, job_id)
        try:
            if entry.spec is not None and entry.spec.check_wish is not None:
                await entry.spec.check_wish(job_id, list(notes.values()), wish)
            old = [note.id for key, note in notes.items() if key == WISH]
            new_id = parts.new_id()
            # Before there is such a job: whoever dies or hears nothing of the store in between leaves none unknown.
            for each in later:
                await parts.store.change_notes(run_of_job(each), [self._goes_on_note(new_id)], ())
            added = [Note(parts.new_id(), WISH, wish), self._goes_on_note(new_id)]
            await parts.store.change_notes(run_of_job(job_id), added, old)
            return (await intake.submit_child(entry, new, Manner(), job_id=new_id)).job.id
        except Exception:
            parts.catalog.take_back(entry.worker.id)
            raise

    def _again(self, description: bytes, job_id: int) -> tuple[Entry, NewJob]:
        try:
            return self._described(json.loads(description), job_id)
        except (ValueError, KeyError, TypeError) as error:
            raise FailedPrecondition(
                f"what was kept of job {job_id} to run it again is damaged ({error!r}): start a new job"
            ) from error

    def _described(self, known: dict[str, Any], job_id: int) -> tuple[Entry, NewJob]:
        parts = self._parts
        metadata = {**known["metadata"], GOES_ON_KEY: str(job_id)}
        entry = parts.catalog.find(known["worker_id"])
        if entry is None:
            metadata[DEFINITION_KEY] = known["worker"]
            made = worker_of(Job(0, parts.new_id(), b"", Rules(), 0, known["channel"], metadata=metadata))
            assert made is not None, "its definition was kept"
            entry = parts.catalog.lend(made)
        if entry.worker.recurring:
            raise InvalidRequest(f"worker {entry.worker.name!r} runs on a schedule; its next run begins anew")
        # No stream, whatever the first one was: nobody has asked for its items, and its result is to be whole.
        return entry, NewJob(
            entry.worker.id,
            base64.b64decode(known["args"]),
            timeout_ms=known["timeout_ms"],
            using=known["using"],
            overrides=Overrides(response_type=ResponseType.NO_RESULT, broadcast_results=True),
            metadata=metadata,
        )

    async def expire(self) -> None:
        """Remove, once an hour, what was written down too long ago to be gone on with."""
        now = self._parts.clock.monotonic()
        if now < self._next_expiry:
            return
        self._next_expiry = now + _EXPIRY_SEC
        await self._parts.store.expire_notes(id_at(self._parts.clock.now_ms() - self._parts.keep_sec * 1000))

    async def _forget(self, job_id: int, over: Sequence[RunOver]) -> None:
        try:
            for each in over:
                await self._parts.store.forget_notes(each.run)
        except StorageError as error:
            _log.warning("the notes of job %d stay until they expire: %s", job_id, error)

    async def _give_up(self, job_id: int, before: int, held: int | None) -> None:
        """Hold the run of an earlier job no longer. It waits no longer either, if a later one has kept what it did."""
        store = self._parts.store
        removed = [] if held is None else [held]
        try:
            if JOB in by_key(await store.notes(run_of_job(job_id))):
                removed += [note.id for note in await store.notes(run_of_job(before)) if note.key == WAITS]
        except StorageError as error:
            _log.warning("job %d is told of as one that waits until its notes expire: %s", before, error)
        await self._remove(before, removed)

    async def _remove(self, job_id: int, notes: Sequence[int]) -> None:
        if not notes:
            return
        try:
            await self._parts.store.change_notes(run_of_job(job_id), (), notes)
        except StorageError as error:
            _log.warning("that nobody goes on with job %d any more is known to this process only: %s", job_id, error)


class JobJournal:
    """The journal of one job. See ``runners.journal.Journal``."""

    def __init__(self, parts: JournalParts, live: LiveJob) -> None:
        self._parts = parts
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
        return _goes_on_with(self._job)

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
        got_on = self._dead_runs > 0 and any(note.key.startswith(STEP) for note in notes)
        await self._parts.store.change_notes(run, [*extra, *notes], removed, self._job if got_on else None)
        self._described = self._described or bool(extra)
        if got_on:
            self._dead_runs = 0
        return [note.id for note in notes]

    async def forget(self, run: str) -> None:
        """Remove all notes of a run."""
        await self._parts.store.forget_notes(run)
        self._described = False

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


def _goes_on_with(job: Job) -> int | None:
    """Return the job that this one was made to go on with."""
    before = job.metadata.get(GOES_ON_KEY)
    return int(before) if before is not None else None
