"""What a run has heard and no listener of it has taken yet, so that nothing is lost between two of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jobworkerp_standalone.runners.bus import LIFECYCLE, Ear, Event, EventBus, Interest
from jobworkerp_standalone.workflow.progress import HEARD, Progress

_log = logging.getLogger(__name__)


class Inbox:
    """Hears events from the beginning of a run on, but not how the run itself is doing.

    Listeners that run side by side hear the same events. One that begins later hears those that nobody took.

    Args:
        run_id: of the run.
        interest: what its listeners want.
        limit: so many are kept; the oldest go first.
        progress: where they are written down until they are taken.
    """

    def __init__(self, run_id: str, interest: Interest, limit: int, progress: Progress) -> None:
        self._run_id = run_id
        self._interest = interest
        self._limit = limit
        self._progress = progress
        self._kept: dict[int, tuple[str, Event]] = {id(event): (key, event) for key, event in progress.heard()}
        """By identity, with their keys: an event is kept until it is taken."""
        self._number = max((int(key.rpartition("/")[2]) for key, _ in self._kept.values()), default=0)
        self._ears: list[tuple[Interest, Ear[Event]]] = []
        self._change: Callable[[Interest], None] | None = None
        self._warned = False

    @contextmanager
    def hearing(self, bus: EventBus) -> Iterator[None]:
        """Hear what is published while entered."""
        with bus.heard_by(self.hear, self._interest, self._progress.keep_heard) as self._change:
            yield

    def hear(self, event: Event) -> None:
        """Take an event from the bus."""
        if event["type"].startswith(LIFECYCLE) and event.get("subject") == self._run_id:
            return
        self._number += 1
        key = f"{HEARD}{self._number}"
        self._kept[id(event)] = (key, event)
        self._progress.hear(key, event)
        for interest, ear in self._ears:
            if interest.means(event["type"]):
                ear.put(event)
        if len(self._kept) > self._limit:
            self._forget(next(iter(self._kept)))
            if not self._warned:
                self._warned = True
                _log.warning(
                    "a workflow listens for none of the %d latest events that it may want; older ones are forgotten",
                    self._limit,
                )

    @contextmanager
    def listening(self, interest: Interest) -> Iterator[Ear[Event]]:
        """Give an ear that hears what was kept, then what comes."""
        if self._interest | interest != self._interest:  # the part of a document that was read later
            self._interest |= interest
            if self._change is not None:
                self._change(self._interest)
        ear = Ear[Event](self._limit)
        for _, event in list(self._kept.values()):
            if interest.means(event["type"]):
                ear.put(event)
        place = (interest, ear)
        self._ears.append(place)
        try:
            yield ear
        finally:
            self._ears = [each for each in self._ears if each is not place]

    def taken(self, event: Event) -> None:
        """A listener took an event: those that begin later do not hear it."""
        self._forget(id(event))

    def _forget(self, which: int) -> None:
        if (kept := self._kept.pop(which, None)) is not None:
            self._progress.forget(kept[0])
