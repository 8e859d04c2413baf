"""Which events one listener takes, and when it has heard enough."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from jobworkerp_standalone.runners.bus import Event
from jobworkerp_standalone.workflow.events.matching import Matcher
from jobworkerp_standalone.workflow.expressions.template import Template
from jobworkerp_standalone.workflow.expressions.values import JSON, is_true
from jobworkerp_standalone.workflow.model.events import Consumption, EventFilter

_EVERY: Final = 0


class Taken(NamedTuple):
    """By what an event was taken."""

    number: int
    """Of the filter."""
    until: bool
    """It is one of those that end the listening, and no part of the output."""


class Hearing:
    """Takes the events that a consumption means.

    Args:
        consumption: what is waited for.
        matcher: looks at events.
    """

    def __init__(self, consumption: Consumption, matcher: Matcher) -> None:
        until = consumption.until
        self._matcher = matcher
        self._to = _Filters(consumption, matcher)
        self._until = _Filters(until, matcher) if isinstance(until, Consumption) else None
        self._condition = until if isinstance(until, Template) else None
        self._forever = consumption.forever

    @property
    def looks_back(self) -> bool:
        """Whether what was read decides when it is enough."""
        return self._condition is not None

    async def takes(self, event: Event) -> Taken | None:
        """Return by what an event is taken; None where it is not meant. What expressions raise comes through."""
        if self._until is not None and (number := await self._until.takes(event)) is not None:
            return Taken(number, until=True)
        number = await self._to.takes(event)
        return None if number is None else Taken(number, until=False)

    def took(self, taken: Taken) -> None:
        """Go on as if an event had just been taken, as one was in an earlier life."""
        filters = self._until if taken.until else self._to
        if filters is not None:
            filters.took(taken.number)

    async def is_over(self, read: Sequence[JSON]) -> bool:
        """Tell whether enough came.

        Args:
            read: what was taken so far, without what ends the listening.
        """
        if self._forever:
            return False
        if self._condition is not None:
            return bool(read) and is_true(await self._matcher.look(self._condition, list(read)))
        return (self._until or self._to).fulfilled


class _Filters:
    """One filter, any of several, or each of several once."""

    def __init__(self, consumption: Consumption, matcher: Matcher) -> None:
        self._filters: dict[int, EventFilter] = dict(enumerate(consumption.filters))
        self._every = consumption.mode == "any" and not consumption.filters
        self._all = consumption.mode == "all"
        self._matcher = matcher
        self._taken = False

    @property
    def fulfilled(self) -> bool:
        """Whether what was to come has come."""
        return self._taken and not (self._all and self._filters)

    async def takes(self, event: Event) -> int | None:
        """Return the number of the filter that means an event, and count it."""
        if self._every:
            self._taken = True
            return _EVERY
        for number, each in list(self._filters.items()):
            if await self._matcher.matches(each, event):
                self.took(number)
                return number
        return None

    def took(self, number: int) -> None:
        """Count an event for a filter."""
        self._taken = True
        if self._all:
            self._filters.pop(number, None)
