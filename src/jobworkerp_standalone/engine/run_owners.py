"""To which job a run belongs that others went on with: the latest of which anything is kept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from jobworkerp_standalone.engine.live import LiveJobs
from jobworkerp_standalone.jobs.errors import FailedPrecondition, NotFound
from jobworkerp_standalone.jobs.runs import run_of_job
from jobworkerp_standalone.ports import JobStore
from jobworkerp_standalone.ports.notes import Note, NoteStore
from jobworkerp_standalone.runners.journal import WAITS

JOB: Final = ":job"
"""Key of the note of what is needed to run the job again."""
WENT_ON: Final = ":went-on"
"""Key of the note of the job that went on with a run to its end; all that is left of the run."""
GOES_ON: Final = ":goes-on"
"""Key of the notes of the jobs that were made to go on with a run. Each is there before its job is."""


@dataclass(frozen=True, slots=True)
class RunOwners:
    """Tells to which job a run belongs."""

    store: NoteStore
    rows: JobStore
    live: LiveJobs

    async def check_free(self, job_id: int, notes: Sequence[Note], *, anew: bool) -> Sequence[int]:
        """Refuse a run that belongs to a later job by now.

        Args:
            job_id: the job with which somebody wants to go on.
            notes: of its run, oldest first.
            anew: it is said where to begin again, which is possible beside a later job that failed.

        Returns:
            The later jobs that went on with the run and failed.

        Raises:
            NotFound: the run has completed.
            FailedPrecondition: a later job has not ended, or has kept what it did.
        """
        later: list[int] = []
        latest, noted = job_id, notes
        while True:
            by_keys = by_key(noted)
            if WENT_ON in by_keys:
                raise NotFound(_completed(job_id, by_keys[WENT_ON].data.decode()))
            found = await self._after(job_id, latest, noted)
            if found is None:
                break
            latest, noted = found
            later.append(latest)
        if later and (WAITS in by_keys or not anew):
            raise FailedPrecondition(_belongs(job_id, latest, waits=WAITS in by_keys))
        return later

    async def _after(self, job_id: int, latest: int, notes: Sequence[Note]) -> tuple[int, Sequence[Note]] | None:
        """Return the latest job that went on with one and has kept anything, with its notes.

        Those that came after it and left nothing count as if they had never been.

        Raises:
            FailedPrecondition: one of them has not ended.
        """
        for after in noted_successors(notes):
            if after <= latest:  # none of that one: ids grow
                break
            if self.live.get(after) is not None or await self.rows.find(after) is not None:
                raise taken(f"job {after}", job_id)
            noted = await self.store.notes(run_of_job(after))
            if by_key(noted).keys() & {JOB, WENT_ON}:
                return after, noted
        return None


def by_key(notes: Iterable[Note]) -> dict[str, Note]:
    """Return notes, oldest first, by their keys; the latest of each."""
    return {note.key: note for note in notes}


def noted_successors(notes: Iterable[Note]) -> Sequence[int]:
    """Return the jobs that were made to go on with a run, the latest first."""
    found = {int(note.data) for note in notes if note.key == GOES_ON and note.data.isdigit()}
    return sorted(found, reverse=True)


def taken(by: str, job_id: int) -> FailedPrecondition:
    """Return the error of a run with which another job goes on at the moment."""
    return FailedPrecondition(f"{by} goes on with job {job_id} already; wait until it ends, or delete it")


def _completed(job_id: int, by: str) -> str:
    if by == str(job_id):
        return f"the run that job {by} went on with has completed"
    return f"the run of job {job_id} has completed: job {by} went on with it"


def _belongs(job_id: int, latest: int, *, waits: bool) -> str:
    if waits:
        return f"job {latest} went on with job {job_id} and waits: go on with job {latest}"
    return (
        f"job {latest} went on with job {job_id}, ended, and has kept what it did: go on with job {latest}, "
        f"or begin again with from_position"
    )
