"""Hears for jobs that cannot: those that listened when their process ended and have not gone on yet.

What comes meanwhile is written down as if the job had heard it itself, before whoever publishes it gets his answer.
"""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import anyio

from jobworkerp_standalone.jobs.errors import LeaseLost, StorageError
from jobworkerp_standalone.jobs.runs import run_of_job
from jobworkerp_standalone.ports.notes import Note, NoteStore
from jobworkerp_standalone.runners.bus import EventBus, Published, Room
from jobworkerp_standalone.runners.interest import Interest
from jobworkerp_standalone.runners.journal import HEARD, HEARS, Relieved

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NoteTakerParts:
    """What notes are taken with."""

    bus: EventBus
    store: NoteStore
    new_id: Callable[[], int]
    room: Room
    """How much is kept for one job; the oldest events go first."""


class NoteTakers:
    """One for each job that is absent; there are none but those of the start of this process."""

    def __init__(self, parts: NoteTakerParts) -> None:
        self._parts = parts
        self._taking: dict[int, _NoteTaker] = {}

    async def begin(self, channels: Collection[str]) -> None:
        """Hear for the jobs of these channels that listened and that nobody runs. Before anybody can publish.

        Raises:
            StorageError: which these are could not be read.
        """
        for row in await self._parts.store.notes_of_free_rows(HEARS, channels):
            try:
                wanted = json.loads(row.note.data)
                interest, attempt = Interest.of(wanted), wanted["attempt"]
            except (ValueError, KeyError, TypeError) as error:
                _log.warning("nothing is heard for job %d: what it wants to hear is damaged (%r)", row.job_id, error)
                continue
            if attempt != attempt_name(row.run_after_ms, row.retried):
                continue  # it begins anew, and with that to listen
            taker = _NoteTaker(self._parts, row.job_id, partial(self.left, row.job_id))
            taker.begin(interest)
            self._taking[row.job_id] = taker

    def relieve(self, job_id: int) -> Relieved | None:
        """Hear no more for a job that does so itself from this moment on. None: nobody did."""
        taker = self._taking.pop(job_id, None)
        return taker.end() if taker is not None else None

    def left(self, job_id: int) -> None:
        """Hear no more for a job that is over."""
        self.relieve(job_id)


class _NoteTaker:
    """Hears for one job.

    Args:
        parts: what it works with.
        job_id: the job.
        lost: called when the row is gone, or another process has taken it.
    """

    def __init__(self, parts: NoteTakerParts, job_id: int, lost: Callable[[], None]) -> None:
        self._parts = parts
        self._job_id = job_id
        self._lost = lost
        self._kept: deque[tuple[int, int]] = deque()
        """Ids of all notes and the sizes of their events, oldest first."""
        self._size = 0
        self._waiting: dict[int, Published] = {}
        self._removed: list[int] = []
        self._writing = anyio.Lock()
        self._hearing = ExitStack()
        self._warned = False

    def begin(self, interest: Interest) -> None:
        """Hear from now on."""
        self._hearing.enter_context(self._parts.bus.heard_by(self._hear, interest, self._keep))

    def end(self) -> Relieved:
        """Hear no more; for the rest see ``Journal.relieve``."""
        self._hearing.close()
        return self._written

    def _hear(self, published: Published) -> None:
        number = self._parts.new_id()
        self._waiting[number] = published
        self._kept.append((number, published.size))
        self._size += published.size
        while problem := self._parts.room.problem(len(self._kept), self._size):
            self._forget_oldest(problem)

    def _forget_oldest(self, problem: str) -> None:
        number, size = self._kept.popleft()
        self._size -= size
        if self._waiting.pop(number, None) is None:
            self._removed.append(number)
        if not self._warned:
            self._warned = True
            _log.warning(
                "the oldest of the events that job %d may want when it goes on are forgotten: %s", self._job_id, problem
            )

    async def _keep(self) -> None:
        try:
            await self._flush()
        except StorageError as error:
            _log.warning("an event that job %d is to hear is kept in memory only: %s", self._job_id, error)

    async def _written(self) -> Sequence[Note]:
        await self._flush()
        notes = await self._parts.store.notes(run_of_job(self._job_id))
        return [note for note in notes if note.key.startswith(HEARD)]

    async def _flush(self) -> None:
        async with self._writing:
            if not self._waiting:
                return
            added, self._waiting = self._waiting, {}
            removed, self._removed = self._removed, []
            try:
                with anyio.CancelScope(shield=True):
                    notes = [note for each in added.items() if (note := await self._note(*each))]
                    await self._parts.store.change_notes_of_row(self._job_id, notes, removed)
            except LeaseLost:
                self._lost()
            except StorageError:
                again = {number: event for number, event in added.items() if number not in self._removed}
                self._waiting, self._removed = {**again, **self._waiting}, [*removed, *self._removed]
                raise

    async def _note(self, number: int, published: Published) -> Note | None:
        try:
            text = await published.text()
        except RecursionError:
            type_ = published.event["type"]
            _log.warning("job %d misses an event of type %s, which is nested too deeply", self._job_id, type_)
            return None
        return Note(number, f"{HEARD}{number}", f'{{"event":{text}}}'.encode())


def attempt_name(run_after_ms: int, retried: int) -> str:
    """Return which attempt of which run of a job this is, for ``Journal.attempt``."""
    return f"{run_after_ms}/{retried}"
