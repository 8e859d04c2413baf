"""Notes of jobs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from jobworkerp_standalone.jobs.model import Job

HELD: Final = ":held"
"""Key of the note by which a process holds a run; its text is the id of that owner."""


@dataclass(frozen=True, slots=True)
class Note:
    """One thing that a job wrote down."""

    id: int
    """Unique; grows with time."""
    key: str
    data: bytes


@dataclass(frozen=True, slots=True)
class RunOver:
    """A run that nobody goes on with: its notes are removed."""

    run: str
    left: Note | None = None
    """All that stays, for those who would go on with it."""


@dataclass(frozen=True, slots=True)
class NotedRow:
    """A note of a job whose row nobody holds."""

    job_id: int
    run_after_ms: int
    retried: int
    note: Note


class NoteStore(Protocol):
    """What jobs write down of how far they are, under the names of runs."""

    @property
    def notes_in_memory(self) -> int | None:
        """How many notes there are, where this process holds them in memory alone; None where they are on disk."""
        ...

    async def notes(self, run: str) -> Sequence[Note]:
        """Return the notes of a run, oldest first."""
        ...

    async def latest_notes(self, key: str, limit: int) -> Sequence[tuple[str, Note]]:
        """Return the latest notes of a key, ``:hears`` or ``:waits``, with their runs, the latest first."""
        ...

    async def notes_of_free_rows(self, key: str, channels: Collection[str]) -> Sequence[NotedRow]:
        """Return the notes of a key, ``:hears`` or ``:waits``, of jobs in these channels whose rows nobody holds."""
        ...

    async def change_notes(
        self, run: str, added: Sequence[Note], removed: Sequence[int], got_on: Job | None = None
    ) -> None:
        """Add and remove notes of a run, all or nothing; on disk when this returns.

        ``got_on``: a job that this process runs, whose deliveries count anew by that.
        """
        ...

    async def change_notes_of_row(self, job_id: int, added: Sequence[Note], removed: Sequence[int]) -> None:
        """Do so for the run of a job's own name, if its row is there and no other process holds it.

        Raises:
            LeaseLost: that is not so; nothing was written.
        """
        ...

    async def forget_notes(self, *runs: str) -> None:
        """Remove all notes of some runs, all or nothing. May be lost in a power cut."""
        ...

    async def hold_run(self, run: str, note_id: int) -> bool:
        """Hold a run for this process by a note with this id; False where another living process holds it.

        One transaction. What a process that is gone held is free, and whoever holds a run already holds it anew.
        """
        ...

    async def held_runs(self, among: Collection[str]) -> Collection[str]:
        """Return those of some runs that other living processes hold."""
        ...

    async def expire_notes(self, before_id: int) -> None:
        """Remove notes with an id below this one, but those of jobs that have a row. May be lost in a power cut."""
        ...
