"""Going on with what jobs wrote down, and forgetting it when nobody will."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from jobworkerp_standalone.engine.catalog import Entry
from jobworkerp_standalone.engine.chain import GOES_ON_KEY
from jobworkerp_standalone.engine.events import EventLogs
from jobworkerp_standalone.engine.intake import Intake, Manner
from jobworkerp_standalone.engine.job_journal import JobJournal, JournalParts, goes_on_with
from jobworkerp_standalone.engine.live import LiveJob
from jobworkerp_standalone.engine.note_taker import NoteTakers
from jobworkerp_standalone.engine.retention import RetentionParts, RunRetention
from jobworkerp_standalone.engine.run_owners import GOES_ON, JOB, RunOwners, by_key, taken
from jobworkerp_standalone.engine.temporary import DEFINITION_KEY, worker_of
from jobworkerp_standalone.jobs.errors import FailedPrecondition, InvalidRequest, NotFound, StorageError
from jobworkerp_standalone.jobs.ids import id_at
from jobworkerp_standalone.jobs.model import Job, NewJob, Overrides, ResponseType, Rules
from jobworkerp_standalone.jobs.runs import job_of_run, run_of_job
from jobworkerp_standalone.ports.notes import Note, RunOver
from jobworkerp_standalone.runners.journal import WAITS, WISH

_log = logging.getLogger(__name__)
_EXPIRY_SEC: Final = 3600.0


class Journals:
    """The journals of all jobs."""

    def __init__(self, parts: JournalParts) -> None:
        self._parts = parts
        self._owners = RunOwners(parts.store, parts.rows, parts.live)
        self._held: dict[int, int] = {}
        """Notes by which this process holds runs that it goes on with, by the jobs that those are of."""
        self._running: dict[int, int] = {}
        """Notes by which it holds the runs of its own jobs without a row, which no other process sees, by these."""
        self._starting: set[int] = set()
        """Jobs with which another one is about to go on."""
        self._next_expiry = 0.0
        looked_at = RetentionParts(parts.store, parts.rows, parts.live, parts.new_id, self._is_gone_on_with)
        self._retention = RunRetention(looked_at, parts.keep_most)

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
        return JobJournal(self._parts, self._retention, live, self._hold_while_it_runs)

    def left(self, job: Job, over: bool, runs: Sequence[RunOver]) -> None:
        """A job is not held here any more: forget what was made for it, and what nobody will go on with."""
        if over:
            self._parts.takers.left(job.id)
        self._parts.catalog.take_back(job.worker_id)
        self._parts.events.end(job.id)
        running = self._running.pop(job.id, None)
        if running is not None and not runs:  # else it goes with all that the run wrote down
            self._parts.tasks.start_soon(self._remove, job.id, [running])
        if not over:
            return
        if (before := goes_on_with(job)) is not None:
            self._parts.tasks.start_soon(self._give_up, job.id, before, self._held.pop(before, None))
        elif runs and not job.stored:
            self._parts.tasks.start_soon(self._forget, job.id, runs)
        elif runs:  # they have gone with its row
            self._retention.over(job.id)
        elif job.id in self._retention:
            self._retention.rests(job.id)
            if self._retention.exceeded:
                self._parts.tasks.start_soon(self._retention.trim)

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

    def _is_gone_on_with(self, job_id: int) -> bool:
        return job_id in self._starting or job_id in self._held

    async def waiting(self, limit: int) -> list[tuple[int, bytes]]:
        """Return the jobs whose runs wait and that nobody goes on with by now, the latest first, with their notes."""
        successors = self._successors()
        store, held = self._parts.store, set[str]()
        while True:
            notes = await store.latest_notes(WAITS, wanted := limit + len(successors) + len(held))
            known, held = held, set(await store.held_runs([run for run, _ in notes]))
            if len(notes) < wanted or len(held) <= len(known):
                break
        found = [(job_of_run(run), note.data) for run, note in notes if run not in held]
        return [(job_id, told) for job_id, told in found if job_id is not None and job_id not in successors][:limit]

    def _successors(self) -> dict[int, int]:
        """Return the jobs that now go on with others, by those."""
        jobs = (each.job for each in self._parts.live.all())
        return {before: job.id for job in jobs if (before := goes_on_with(job)) is not None}

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
            if job_id in self._retention:
                self._retention.rests(job_id)
            raise

    async def _hold(self, job_id: int) -> int:
        """Hold the run of a job for this process, and return the note by which it does.

        Raises:
            FailedPrecondition: another process holds it.
        """
        held = self._parts.new_id()
        if not await self._parts.store.hold_run(run_of_job(job_id), held):
            raise FailedPrecondition(
                f"another process goes on with job {job_id} already, or runs it; wait until it ends, or end it there"
            )
        return held

    async def _hold_while_it_runs(self, job_id: int) -> None:
        """Let no other process go on with a job that has no row until it has ended; who is about to finds nothing."""
        held = self._parts.new_id()
        if self._parts.store.notes_in_memory is None and await self._parts.store.hold_run(run_of_job(job_id), held):
            self._running[job_id] = held

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
            raise self._nothing_kept(job_id)
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

    def _nothing_kept(self, job_id: int) -> NotFound:
        run = run_of_job(job_id)
        if why := self._retention.why_dropped(run):
            later = self._retention.waited(run)
            remedy = f"job {later} went on with it: go on with that one" if later else "start the workflow anew"
            return NotFound(f"nothing is kept of job {job_id} any more: {why}; {remedy}")
        return NotFound(
            f"nothing is kept of job {job_id} to go on with: runs that wait keep it, and durable ones that faulted"
        )

    def _again(self, description: bytes, job_id: int) -> tuple[Entry, NewJob]:
        try:
            return self._described(json.loads(description), job_id)
        except (ValueError, KeyError, TypeError) as error:
            raise FailedPrecondition(
                f"what was kept of job {job_id} to run it again is damaged ({error!r}): start a new job"
            ) from error

    def _described(self, known: dict[str, Any], job_id: int) -> tuple[Entry, NewJob]:
        parts, args = self._parts, base64.b64decode(known["args"])
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
            args,
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
        before_id = id_at(self._parts.clock.now_ms() - self._parts.keep_sec * 1000)
        await self._parts.store.expire_notes(before_id)
        self._retention.expired(before_id)

    async def _forget(self, job_id: int, over: Sequence[RunOver]) -> None:
        try:
            for each in over:
                await self._parts.store.forget_notes(each.run)
        except StorageError as error:
            _log.warning("the notes of job %d stay until they expire: %s", job_id, error)
        self._retention.over(job_id)

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
        self._retention.rests(before, job_id)
        await self._retention.trim()

    async def _remove(self, job_id: int, notes: Sequence[int]) -> None:
        if not notes:
            return
        try:
            await self._parts.store.change_notes(run_of_job(job_id), (), notes)
        except StorageError as error:
            _log.warning("that nobody goes on with job %d any more is known to this process only: %s", job_id, error)
