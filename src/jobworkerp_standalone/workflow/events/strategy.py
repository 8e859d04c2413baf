"""When a listener has heard enough."""

from __future__ import annotations

from jobworkerp_standalone.runners.bus import Event
from jobworkerp_standalone.workflow.events.matching import Matcher
from jobworkerp_standalone.workflow.model.events import Consumption, EventFilter


class Strategy:
    """Takes the events that a consumption means: one, any of several, or one for each filter."""

    def __init__(self, consumption: Consumption, matcher: Matcher) -> None:
        self._filters: list[EventFilter] = list(consumption.filters)
        self._every = consumption.mode == "any" and not consumption.filters
        self._all = consumption.mode == "all"
        self._matcher = matcher
        self._taken = False

    @property
    def fulfilled(self) -> bool:
        """Whether what was to come has come."""
        return self._taken and not (self._all and self._filters)

    async def takes(self, event: Event) -> bool:
        """Tell whether an event is one of those, and count it.

        Raises:
            WorkflowError: an expression of a filter fails.
        """
        if self._every:
            self._taken = True
            return True
        for number, each in enumerate(self._filters):
            if await self._matcher.matches(each, event):
                self._taken = True
                if self._all:
                    del self._filters[number]
                return True
        return False
