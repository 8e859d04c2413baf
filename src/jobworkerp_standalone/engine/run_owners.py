"""To which job a run belongs that others went on with: the latest of which anything is kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
"""Key of the note of the job that was made last to go on with a run."""


@dataclass(frozen=True, slots=True)
class RunOwners:
    """Tells to which job a run belongs."""

    store: NoteStore
    rows: JobStore
    live: LiveJobs

    async def check_free(self, job_id: int, notes: Mapping[str, Note], *, anew: bool) -> Sequence[int]:
        """Refuse a run that belongs to a later job by now.

        Args:
            job_id: the job with which somebody wants to go on.
            notes: of its run, by key.
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
            if WENT_ON in noted:
                raise NotFound(_completed(job_id, noted[WENT_ON].data.decode()))
            after = noted_successor(noted)
            if after <= latest:  # none: ids grow
                break
            if self.live.get(after) is not None or await self.rows.find(after) is not None:
                raise taken(f"job {after}", job_id)
            noted_after = by_key(await self.store.notes(run_of_job(after)))
            if not noted_after.keys() & {JOB, WENT_ON}:
                break  # it left nothing: the run is as it was before
            later.append(after)
            latest, noted = after, noted_after
        if later and (WAITS in noted or not anew):
            raise FailedPrecondition(_belongs(job_id, latest, waits=WAITS in noted))
        return later


def by_key(notes: Iterable[Note]) -> dict[str, Note]:
    """Return notes, oldest first, by their keys; the latest of each."""
    return {note.key: note for note in notes}


def noted_successor(notes: Mapping[str, Note]) -> int:
    """Return the job that was made last to go on with a run; 0 where none was."""
    data = notes[GOES_ON].data if GOES_ON in notes else b""
    return int(data) if data.isdigit() else 0


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
