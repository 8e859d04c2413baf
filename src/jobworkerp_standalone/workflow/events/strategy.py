"""Which events one listener takes, and when it has heard enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from jobworkerp_standalone.jobs.errors import JobworkerpError
from jobworkerp_standalone.runners.bus import Event
from jobworkerp_standalone.workflow.events.assignment import Assignment, Fits
from jobworkerp_standalone.workflow.events.matching import Matcher
from jobworkerp_standalone.workflow.expressions.template import Template
from jobworkerp_standalone.workflow.expressions.values import JSON, is_true
from jobworkerp_standalone.workflow.model.events import Consumption

_EVERY: Final = 0


class Taken(NamedTuple):
    """By what an event was taken."""

    number: int
    """Of the first filter that means it."""
    until: bool
    """It is one of those that end the listening, and no part of the output."""
    fits: Fits = ()
    """Where each filter must have an event of its own: all filters that mean this one."""


class Hearing:
    """Takes the events that a consumption means.

    Args:
        consumption: what is waited for.
        matcher: looks at events.
    """

    def __init__(self, consumption: Consumption, matcher: Matcher) -> None:
        until = consumption.until
        self._matcher = matcher
        self._to = _filters(consumption, matcher)
        self._until = _filters(until, matcher) if isinstance(until, Consumption) else None
        self._condition = until if isinstance(until, Template) else None
        self._forever = consumption.forever
        self._place = consumption.place

    @property
    def looks_back(self) -> bool:
        """Whether what was read decides when it is enough."""
        return self._condition is not None

    async def takes(self, event: Event) -> Taken | None:
        """Return by what an event is taken; None where it is not meant. What expressions raise comes through."""
        if self._until is not None and (taken := await self._until.takes(event, until=True)) is not None:
            return taken
        return await self._to.takes(event, until=False)

    def took(self, taken: Taken) -> None:
        """Go on as if an event had just been taken, as one was in an earlier life."""
        filters = self._until if taken.until else self._to
        if filters is not None:
            filters.took(taken)

    async def is_over(self, read: Sequence[JSON]) -> bool:
        """Tell whether enough came.

        Args:
            read: what was taken so far, without what ends the listening.
        """
        if self._forever:
            return False
        if self._condition is not None:
            look, place = self._matcher.observations.look, f"{self._place}/until"
            return bool(read) and is_true(await look(self._condition, list(read), place))
        return (self._until or self._to).fulfilled


def _filters(consumption: Consumption, matcher: Matcher) -> _Filters | _Each:
    return (_Each if consumption.mode == "all" else _Filters)(consumption, matcher)


class _Filters:
    """One filter, or any of several."""

    def __init__(self, consumption: Consumption, matcher: Matcher) -> None:
        self._filters = consumption.filters
        self._every = consumption.mode == "any" and not consumption.filters
        self._matcher = matcher
        self._taken = False

    @property
    def fulfilled(self) -> bool:
        """Whether what was to come has come."""
        return self._taken

    async def takes(self, event: Event, *, until: bool) -> Taken | None:
        """Return by what an event is taken, and count it; None where it is not meant."""
        if self._every:
            return self.took(Taken(_EVERY, until))
        for number, each in enumerate(self._filters):
            values = await self._matcher.fit(each, event)
            if values is not None:
                self._matcher.correlated.update(values)
                return self.took(Taken(number, until))
        return None

    def took(self, taken: Taken) -> Taken:
        """Count an event."""
        self._taken = True
        return taken


class _Each:
    """Each of several filters once."""

    def __init__(self, consumption: Consumption, matcher: Matcher) -> None:
        self._filters = consumption.filters
        self._matcher = matcher
        self._assignment = Assignment(len(consumption.filters), matcher.correlated)

    @property
    def fulfilled(self) -> bool:
        """Whether what was to come has come."""
        return self._assignment.complete

    async def takes(self, event: Event, *, until: bool) -> Taken | None:
        """Return by what an event is taken, and count it; None where there is no place for it."""
        fits: list[tuple[int, Mapping[str, JSON]]] = []
        placed = False
        for number, each in enumerate(self._filters):
            free = self._assignment.is_free(number)
            try:
                values = await self._matcher.fit(each, event)
            except JobworkerpError:
                if free and not placed:
                    raise
                continue  # nothing depends on this filter: that it might mean the event as well is all it could say
            if values is not None:
                fits.append((number, values))
                placed = placed or free
        return Taken(fits[0][0], until, fits) if self._assignment.take(fits) else None

    def took(self, taken: Taken) -> Taken:
        """Count an event."""
        self._assignment.take(taken.fits or [(taken.number, {})])
        return taken
