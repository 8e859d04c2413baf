"""What a run has heard and no listener of it has taken yet, so that nothing is lost between two of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from jobworkerp_standalone.runners.bus import Ear, Event
from jobworkerp_standalone.workflow.model.events import EventTypes

_log = logging.getLogger(__name__)


class Inbox:
    """Hears events from the beginning of a run on.

    Listeners that run side by side hear the same events. One that begins later hears those that nobody took.

    Args:
        types: those that are kept; None is all of them.
        limit: so many are kept; the oldest go first.
    """

    def __init__(self, types: EventTypes, limit: int) -> None:
        self._types = types
        self._limit = limit
        self._kept: dict[int, Event] = {}
        """By identity: an event is kept until it is taken."""
        self._ears: list[Ear] = []
        self._warned = False

    def hear(self, event: Event) -> None:
        """Take an event from the bus."""
        if self._types is not None and event.get("type") not in self._types:
            return
        self._kept[id(event)] = event
        for ear in self._ears:
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
    def listening(self, types: EventTypes) -> Iterator[Ear]:
        """Give an ear that hears what was kept, then what comes."""
        self._types = None if types is None or self._types is None else self._types | types
        ear = Ear(self._limit)
        for event in list(self._kept.values()):
            ear.put(event)
        self._ears.append(ear)
        try:
            yield ear
        finally:
            self._ears.remove(ear)

    def taken(self, event: Event) -> None:
        """A listener took an event: those that begin later do not hear it."""
        self._kept.pop(id(event), None)
