"""Which event stands for which filter, where each filter of several must have an event of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from jobworkerp_standalone.workflow.expressions.values import JSON, same

Fits: TypeAlias = Sequence[tuple[int, Mapping[str, JSON]]]
"""The filters that mean an event, by number, each with the values by which it correlates the event."""


class Assignment:
    """Gives events to filters. An event moves on to another filter that means it where a later one needs its place.

    Args:
        count: of the filters.
        correlated: the values by which events belong together; grows with the events that are taken.
    """

    def __init__(self, count: int, correlated: dict[str, JSON]) -> None:
        self._count = count
        self._correlated = correlated
        self._events: list[Fits] = []
        self._holder: dict[int, int] = {}
        """Filter to event."""

    @property
    def complete(self) -> bool:
        """Whether every filter has its event."""
        return len(self._holder) == self._count

    def is_free(self, number: int) -> bool:
        """Tell whether a filter has no event yet."""
        return number not in self._holder

    def take(self, fits: Fits) -> bool:
        """Take an event if there is a place for it beside those that were taken; tell whether it was.

        The shortest way to a free filter is gone: the first filter that means the event and is free, else one whose
        event can move on. All but the last filter of the way had an event before, so that its values are known.
        """
        event = len(self._events)
        events = [*self._events, fits]
        reached: dict[int, int] = {}
        """Filter to the event that would come to it."""
        following = deque([event])
        while following:
            current = following.popleft()
            for number, values in events[current]:
                if number in reached or not self._agrees(values):
                    continue
                reached[number] = current
                if self.is_free(number):
                    self._events = events
                    self._correlated.update(values)
                    self._move(number, reached)
                    return True
                following.append(self._holder[number])
        return False

    def _agrees(self, values: Mapping[str, JSON]) -> bool:
        return all(same(self._correlated.get(name, value), value) for name, value in values.items())

    def _move(self, number: int, reached: Mapping[int, int]) -> None:
        """Give a filter the event that came to it, and the one that this event leaves its own, back to the start."""
        place: int | None = number
        while place is not None:
            event = reached[place]
            left = next((held for held, by in self._holder.items() if by == event), None)
            self._holder[place] = event
            place = left
