"""What a run has heard and no listener of it has taken yet, so that nothing is lost between two of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from jobworkerp_standalone.jobs.json_size import size_of
from jobworkerp_standalone.runners.bus import Ear, Event, EventBus, Published, Room
from jobworkerp_standalone.runners.interest import LIFECYCLE, Interest
from jobworkerp_standalone.runners.journal import HEARD
from jobworkerp_standalone.workflow.progress import Progress

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Kept:
    """An event that some listener may still want."""

    key: str
    event: Event
    size: int
    taken: bool = False
    """Listeners that begin later do not hear it."""
    left: set[str] = field(default_factory=set[str])
    """Keys of the listeners that have it before them."""

    @classmethod
    def of(cls, key: str, record: Mapping[str, Any]) -> _Kept:
        """Read what an earlier life wrote down."""
        left = record.get("left")
        return cls(key, record["event"], size_of(record["event"]), left is not None, set(left or ()))

    @property
    def record(self) -> dict[str, Any]:
        return {"event": self.event, "left": sorted(self.left)} if self.taken else {"event": self.event}


class Inbox:
    """Hears events from the beginning of a run on, but not how the run itself is doing.

    Listeners that run side by side hear the same events. One that begins later hears those that nobody took.

    Args:
        run_id: of the run.
        interest: what its listeners want.
        room: how much is kept; the oldest events go first.
        progress: where they are written down until they are taken.
    """

    def __init__(self, run_id: str, interest: Interest, room: Room, progress: Progress) -> None:
        self._run_id = run_id
        self._interest = interest | progress.wanted
        self._room = room
        self._progress = progress
        self._kept: dict[int, _Kept] = {}
        """By identity of the event: each is kept until it is taken, and nobody has it before himself any more."""
        self._size = 0
        self._enter(_Kept.of(*heard) for heard in progress.heard())
        self._number = progress.number()
        self._ears: dict[str, tuple[Interest, Ear[Event]]] = {}
        self._change: Callable[[Interest], None] | None = None
        self._unwritten = False
        """What the run wants to hear is not written down yet."""
        self._forgotten = 0

    @contextmanager
    def hearing(self, bus: EventBus) -> Iterator[None]:
        """Hear what is published while entered."""
        self._wants(self._interest)
        self._progress.relieve()
        with bus.heard_by(self.hear, self._interest, self._progress.keep_heard) as self._change:
            yield
        if self._forgotten > 1:
            _log.warning("run %s of a workflow has forgotten %d events in all", self._run_id, self._forgotten)

    async def catch_up(self) -> None:
        """Take what was noted for the run while it could not hear. Called once, before anybody listens.

        Raises:
            Retryable: the store does not answer.
        """
        self._enter([_Kept.of(*heard) for heard in await self._progress.heard_meanwhile()])
        self._forget_oldest()
        await self.settled()

    async def settled(self) -> None:
        """Return when what the run wants to hear is written down: a later life is to miss nothing of it."""
        if self._unwritten and (keep := self._progress.keep_heard) is not None:
            await keep()
        self._unwritten = False

    def hear(self, published: Published) -> None:
        """Take an event from the bus."""
        event, size = published.event, published.size
        if event["type"].startswith(LIFECYCLE) and event.get("subject") == self._run_id:
            return
        self._number += 1
        kept = self._kept[id(event)] = _Kept(f"{HEARD}{self._number}", event, size)
        self._size += size
        self._progress.hear(kept.key, kept.record)
        for listener, (interest, ear) in self._ears.items():
            if interest.means(event["type"]):
                kept.left.add(listener)
                ear.put(event, size)
        self._forget_oldest()

    @contextmanager
    def listening(self, listener: str, interest: Interest) -> Iterator[Ear[Event]]:
        """Give an ear that hears what was kept, then what comes. ``listener`` is the key of its progress."""
        if self._interest | interest != self._interest:  # the part of a document that was read later
            self._wants(self._interest | interest)
            if self._change is not None:
                self._change(self._interest)
        ear = Ear[Event](self._room)
        for kept in self._kept.values():
            if interest.means(kept.event["type"]) and (not kept.taken or listener in kept.left):
                kept.left.add(listener)
                ear.put(kept.event, kept.size)
        self._ears[listener] = (interest, ear)
        try:
            yield ear
        finally:
            del self._ears[listener]
        for kept in [kept for kept in self._kept.values() if listener in kept.left]:  # one broken off may go on later
            self._looked(kept, listener)

    def looked(self, event: Event, listener: str, *, took: bool) -> None:
        """A listener looked at an event. Those that begin after one that took it do not hear it."""
        if (kept := self._kept.get(id(event))) is not None:
            kept.taken = kept.taken or took
            self._looked(kept, listener)

    def _looked(self, kept: _Kept, listener: str) -> None:
        kept.left.discard(listener)
        if not kept.taken:
            return
        if kept.left:
            self._progress.hear(kept.key, kept.record)
        else:
            self._forget(id(kept.event))

    def _wants(self, interest: Interest) -> None:
        self._unwritten = self._unwritten or interest != self._progress.wanted
        self._interest = interest
        self._progress.hears(interest)

    def _enter(self, earlier: Iterable[_Kept]) -> None:
        """Take what was heard before anything that is kept, or beside it."""
        ordered = sorted([*earlier, *self._kept.values()], key=lambda each: int(each.key.removeprefix(HEARD)))
        self._kept = {id(each.event): each for each in ordered}
        self._size = sum(each.size for each in ordered)

    def _forget_oldest(self) -> None:
        while problem := self._room.problem(len(self._kept), self._size):
            unclaimed = (which for which, kept in self._kept.items() if not kept.left)
            self._forget(next(unclaimed, next(iter(self._kept))))
            self._forgotten += 1
            if self._forgotten == 1:
                _log.warning(
                    "run %s of a workflow forgets the oldest of the events that none of its listeners took: %s",
                    self._run_id,
                    problem,
                )

    def _forget(self, which: int) -> None:
        if (kept := self._kept.pop(which, None)) is not None:
            self._size -= kept.size
            self._progress.forget(kept.key)
