"""Everything besides jobs in memory: results, definitions, notes, and this process as an owner of rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from heapq import nlargest
from operator import attrgetter
from typing import Final

from anyio.lowlevel import cancel_shielded_checkpoint

from jobworkerp_standalone.backends import refusals
from jobworkerp_standalone.backends.memory.contents import Contents, Part
from jobworkerp_standalone.jobs.model import Job, JobResult, Worker
from jobworkerp_standalone.jobs.runs import run_of_job
from jobworkerp_standalone.ports import Instance, KnownRunner, ResultFilter
from jobworkerp_standalone.ports.notes import HELD, Note, NotedRow

_SORT_KEYS: Final = {
    "id": attrgetter("id"),
    "job_id": attrgetter("job.id", "id"),
    "start_time": attrgetter("start_time_ms", "id"),
    "end_time": attrgetter("end_time_ms", "id"),
    "status": attrgetter("status", "id"),
}
_TURN: Final = 1000
"""Results that are looked at before others have their turn."""


class MemoryResultStore(Part):
    """``ports.ResultStore``."""

    async def add_result(self, result: JobResult) -> None:
        """Store one result of a job that has no row."""
        if result.id in self._contents.results:
            raise refusals.result_exists(result.id)
        self._contents.results.add(result)
        await cancel_shielded_checkpoint()

    async def find_result(self, result_id: int) -> JobResult | None:
        """Return a result by its id."""
        return self._contents.results.get(result_id)

    async def results_of_job(self, job_id: int, limit: int) -> Sequence[JobResult]:
        """Return the results of one job, newest end time (then id) first."""
        return nlargest(limit, self._contents.results.of_job(job_id), key=_SORT_KEYS["end_time"])

    async def find_results(
        self, wanted: ResultFilter, *, sort_by: str, ascending: bool, limit: int | None, offset: int
    ) -> Sequence[JobResult]:
        """Return results; ``sort_by`` is id, job_id, start_time, end_time or status; ties by id, same direction."""
        found = sorted(await self._matching(wanted), key=_SORT_KEYS[sort_by], reverse=not ascending)
        return found[offset:][:limit]

    async def count_results(self, wanted: ResultFilter) -> int:
        """Return how many results match."""
        return len(await self._matching(wanted))

    async def delete_result(self, result_id: int) -> bool:
        """Remove one result; whether it was there."""
        return self._contents.results.remove(result_id)

    async def delete_results(self, wanted: ResultFilter) -> int:
        """Remove all that match; how many."""
        found = await self._matching(wanted)
        return sum(self._contents.results.remove(each.id) for each in found)

    async def _matching(self, wanted: ResultFilter) -> list[JobResult]:
        found: list[JobResult] = []
        for number, each in enumerate(list(self._contents.results), 1):
            if _matches(each, wanted):
                found.append(each)
            if number % _TURN == 0:
                await cancel_shielded_checkpoint()
        return found


class MemoryWorkerStore(Part):
    """``ports.WorkerStore``. Nobody else changes a definition."""

    def __init__(self, contents: Contents) -> None:
        super().__init__(contents)
        self._last_worker_id = self._worker_changes = 0
        self._worker_names: dict[str, int] = {}

    async def all_workers(self) -> Sequence[Worker]:
        """Return every definition, oldest first."""
        return list(self._contents.workers.values())

    async def worker_changes(self) -> int:
        """Return how often any definition was written."""
        return self._worker_changes

    async def add_worker(self, worker: Worker) -> Worker:
        """Insert; the returned value carries the new id: one more than any id ever given.

        Raises:
            AlreadyExists: the name is taken.
        """
        added = replace(worker, id=self._last_worker_id + 1)
        self._refuse_taken_name(added)
        self._last_worker_id = added.id
        self._write(added)
        return added

    async def replace_worker(self, worker: Worker) -> bool:
        """Write every field of an existing definition but its creation time; whether it was there.

        Raises:
            AlreadyExists: the name is taken by another worker.
        """
        before = self._contents.workers.get(worker.id)
        if before is None:
            return False
        self._refuse_taken_name(worker)
        del self._worker_names[before.name]
        self._write(replace(worker, created_at_ms=before.created_at_ms))
        return True

    async def remove_worker(self, worker_id: int) -> bool:
        """Delete; whether it was there."""
        gone = self._contents.workers.pop(worker_id, None)
        if gone is None:
            return False
        del self._worker_names[gone.name]
        self._worker_changes += 1
        return True

    def _refuse_taken_name(self, worker: Worker) -> None:
        if self._worker_names.get(worker.name, worker.id) != worker.id:
            raise refusals.name_taken(worker.name)

    def _write(self, worker: Worker) -> None:
        self._contents.workers[worker.id] = worker
        self._worker_names[worker.name] = worker.id
        self._worker_changes += 1


class MemoryRunnerStore(Part):
    """``ports.RunnerStore``."""

    async def all_runners(self) -> Sequence[KnownRunner]:
        """Return every remembered runner, oldest first."""
        return sorted(self._contents.runners.values(), key=attrgetter("id"))

    async def put_runner(self, runner: KnownRunner) -> None:
        """Remember a runner; one with the same name is replaced.

        Raises:
            AlreadyExists: the id is taken by a runner of another name.
        """
        runners = self._contents.runners
        there = runners.get(runner.id)
        if there is not None and there.name != runner.name:
            raise refusals.runner_id_taken(runner.id)
        for each in [each.id for each in runners.values() if each.name == runner.name]:
            del runners[each]
        runners[runner.id] = runner

    async def remove_runner(self, runner_id: int) -> bool:
        """Forget a runner; whether it was there."""
        return self._contents.runners.pop(runner_id, None) is not None


class MemoryNoteStore(Part):
    """``ports.NoteStore``."""

    @property
    def notes_in_memory(self) -> int | None:
        """How many notes there are."""
        return len(self._contents.notes)

    async def notes(self, run: str) -> Sequence[Note]:
        """Return the notes of a run, oldest first."""
        return self._contents.notes.of(run)

    async def latest_notes(self, key: str, limit: int) -> Sequence[tuple[str, Note]]:
        """Return the latest notes of a key with the runs that they are of, the latest first."""
        found = (each for each in self._contents.notes if each[1].key == key)
        return nlargest(limit, found, key=lambda each: each[1].id)

    async def notes_of_free_rows(self, key: str, channels: Collection[str]) -> Sequence[NotedRow]:
        """Return the notes of a key of jobs in these channels whose rows nobody holds."""
        return [
            NotedRow(row.job.id, row.job.run_after_ms, row.job.retried, note)
            for row in self._contents.rows
            if row.owner_id is None and row.job.channel in channels
            for note in self._contents.notes.of(run_of_job(row.job.id))
            if note.key == key
        ]

    async def change_notes_of_row(self, job_id: int, added: Sequence[Note], removed: Sequence[int]) -> None:
        """Do so for the run of a job's own name.

        Raises:
            LeaseLost: its row is gone; nothing was written.
        """
        if job_id not in self._contents.rows:
            raise refusals.no_row_to_note(job_id)
        await self.change_notes(run_of_job(job_id), added, removed)

    async def change_notes(
        self, run: str, added: Sequence[Note], removed: Sequence[int], got_on: Job | None = None
    ) -> None:
        """Add and remove notes of a run, all or nothing.

        ``got_on``: a job that this process runs, whose deliveries count anew by that.
        """
        self._contents.notes.change(run, added, removed)
        if got_on is not None and (row := self._contents.rows.get(got_on.id)) is not None:
            row.job = replace(row.job, deliveries=0)
        await cancel_shielded_checkpoint()

    async def forget_notes(self, *runs: str) -> None:
        """Remove all notes of some runs."""
        self._contents.notes.forget(runs)

    async def hold_run(self, run: str, note_id: int) -> bool:
        """Hold a run for this process by a note with this id: there is no other process."""
        if self._contents.instance is None:
            raise refusals.not_registered()
        old = [note.id for note in await self.notes(run) if note.key == HELD]
        await self.change_notes(run, [Note(note_id, HELD, str(self._contents.instance.id).encode())], old)
        return True

    async def held_runs(self, among: Collection[str]) -> Collection[str]:
        """Return those of some runs that other living processes hold: there are none."""
        del among
        return ()

    async def expire_notes(self, before_id: int) -> None:
        """Remove notes with an id below this one, but those of jobs that have a row."""
        self._contents.notes.expire(before_id, {run_of_job(row.job.id) for row in self._contents.rows})


class MemoryInstanceStore(Part):
    """``ports.InstanceStore``. This process is the only one."""

    async def register(self, instance: Instance) -> None:
        """Announce this process; from now on it can hold rows.

        A second call replaces the first instance; under the same id it goes on holding its rows.
        """
        for row in self._contents.rows:
            if row.owner_id not in (None, instance.id):
                row.job = replace(row.job, deliveries=row.job.deliveries + row.running)
                row.running = False
                self._contents.rows.hand(row, None)
        self._contents.instance = instance

    async def heartbeat(self, instance_id: int, now_ms: int, lease_ms: int) -> bool:
        """Note that this owner lives; False where it is not registered."""
        del lease_ms  # nobody else could take its rows
        mine = self._contents.instance
        if mine is None or mine.id != instance_id:
            return False
        self._contents.instance = replace(mine, last_heartbeat_ms=now_ms)
        return True

    async def unregister(self, instance_id: int) -> None:
        """Take this process off the list; its rows become free, no delivery counted."""
        for row in self._contents.rows:
            if row.owner_id == instance_id:
                row.running = False
                self._contents.rows.hand(row, None)
        if self._contents.instance is not None and self._contents.instance.id == instance_id:
            self._contents.instance = None

    async def reclaim_dead_owners(self) -> int:
        """Free the rows of owners that are gone: there are none."""
        return 0

    async def note_channel(self, name: str) -> None:
        """Remember a channel that was opened at run time."""
        self._contents.channels.add(name)

    async def noted_channels(self) -> Collection[str]:
        """Return the channels that were ever opened at run time."""
        return set(self._contents.channels)

    async def instances(self) -> Sequence[Instance]:
        """Return the registered processes."""
        return [self._contents.instance] if self._contents.instance is not None else []


def _matches(result: JobResult, wanted: ResultFilter) -> bool:
    return (
        _within(result.start_time_ms, wanted.start_time_from, wanted.start_time_to)
        and _within(result.end_time_ms, wanted.end_time_from, wanted.end_time_to)
        and (not wanted.worker_ids or result.job.worker_id in wanted.worker_ids)
        and (not wanted.statuses or result.status in wanted.statuses)
        and (not wanted.priorities or result.job.priority in wanted.priorities)
        and (wanted.uniq_key is None or result.job.uniq_key == wanted.uniq_key)
    )


def _within(value: int, low: int | None, high: int | None) -> bool:
    return (low is None or value >= low) and (high is None or value <= high)
