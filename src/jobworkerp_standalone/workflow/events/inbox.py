"""What a run has heard and no listener of it has taken yet, so that nothing is lost between two of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jobworkerp_standalone.runners.bus import LIFECYCLE, Ear, Event, EventBus, Interest

_log = logging.getLogger(__name__)


class Inbox:
    """Hears events from the beginning of a run on, but not how the run itself is doing.

    Listeners that run side by side hear the same events. One that begins later hears those that nobody took.

    Args:
        run_id: of the run.
        interest: what its listeners want.
        limit: so many are kept; the oldest go first.
    """

    def __init__(self, run_id: str, interest: Interest, limit: int) -> None:
        self._run_id = run_id
        self._interest = interest
        self._limit = limit
        self._kept: dict[int, Event] = {}
        """By identity: an event is kept until it is taken."""
        self._ears: list[tuple[Interest, Ear[Event]]] = []
        self._change: Callable[[Interest], None] | None = None
        self._warned = False

    @contextmanager
    def hearing(self, bus: EventBus) -> Iterator[None]:
        """Hear what is published while entered."""
        with bus.heard_by(self.hear, self._interest) as self._change:
            yield

    def hear(self, event: Event) -> None:
        """Take an event from the bus."""
        if event["type"].startswith(LIFECYCLE) and event.get("subject") == self._run_id:
            return
        self._kept[id(event)] = event
        for interest, ear in self._ears:
            if interest.means(event["type"]):
                ear.put(event)
        if len(self._kept) > self._limit:
            del self._kept[next(iter(self._kept))]
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
        for event in list(self._kept.values()):
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
        self._kept.pop(id(event), None)
