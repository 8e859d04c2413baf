"""Which events a filter means."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol, cast

from jobworkerp_standalone.jobs.errors import JobworkerpError
from jobworkerp_standalone.runners.bus import Event
from jobworkerp_standalone.workflow.expressions.template import Template, compile_template
from jobworkerp_standalone.workflow.expressions.values import JSON, is_true, same
from jobworkerp_standalone.workflow.model.events import REGULAR, Correlation, EventFilter
from jobworkerp_standalone.workflow.pointers import escaped
from jobworkerp_standalone.workflow.state import NO_LOCALS

_TEST: Final = compile_template("${ .text | test($pattern) }")


class Look(Protocol):
    """Evaluates templates of filters, where somebody listens."""

    async def __call__(self, template: Template, dot: JSON, place: str, more: Mapping[str, JSON] = NO_LOCALS) -> JSON:
        """Return the value of a template.

        Args:
            template: what to evaluate.
            dot: what ``.`` is.
            place: where it stands, a JSON pointer of the document, for the error.
            more: further variables.
        """
        ...


class Observations:
    """What filters see in an event: found out once, however many gatherings of events it is then offered to.

    Args:
        look: what it raises comes through, each time.
        given: what the expected values are taken from.
    """

    def __init__(self, look: Look, given: JSON) -> None:
        self.look: Final = look
        self._given = given
        self._event: Event | None = None
        self._seen: dict[int, JSON | JobworkerpError] = {}
        """In that event, by identity of the filter or of the correlation."""

    async def means(self, meant: EventFilter, event: Event) -> bool:
        """Tell whether the attributes of an event are those of a filter."""
        return is_true(await self._once(event, meant, partial(self._attributes_fit, meant, event)))

    async def value(self, by: Correlation, event: Event) -> JSON:
        """Return the value by which an event is correlated; None where there is none, or not the expected one."""
        return await self._once(event, by, partial(self._value, by, event))

    async def _once(self, event: Event, of: object, find: Callable[[], Awaitable[JSON]]) -> JSON:
        if event is not self._event:
            self._event, self._seen = event, {}
        if id(of) not in self._seen:
            try:
                self._seen[id(of)] = await find()
            except JobworkerpError as error:
                self._seen[id(of)] = error
        seen = self._seen[id(of)]
        if isinstance(seen, JobworkerpError):
            raise seen
        return seen

    async def _value(self, by: Correlation, event: Event) -> JSON:
        value = await self.look(by.from_, cast("JSON", dict(event)), f"{by.place}/from")
        if value is None or by.expect is None:
            return value
        expected = await self.look(by.expect, self._given, f"{by.place}/expect")
        return value if same(value, expected) else None

    async def _attributes_fit(self, meant: EventFilter, event: Event) -> bool:
        for name, template in meant.with_:
            place = f"{meant.place}/with/{escaped(name)}"
            if not await self._attribute_fits(template, cast("JSON", event.get(name)), place):
                return False
        return True

    async def _attribute_fits(self, template: Template, actual: JSON, place: str) -> bool:
        expected = template.raw if template.constant else await self.look(template, actual, place)
        return await self._fits(template.raw, expected, actual, place)

    async def _fits(self, raw: JSON, expected: JSON, actual: JSON, place: str) -> bool:
        """Compare a value: an expression that gives true or false is a condition, a text may be a pattern."""
        if isinstance(expected, bool) and isinstance(raw, str):
            return expected
        if isinstance(expected, dict) and isinstance(actual, dict):
            raws = raw if isinstance(raw, dict) else expected
            for key, value in expected.items():
                if not await self._fits(raws.get(key), value, actual.get(key), place):
                    return False
            return True
        if same(expected, actual):
            return True
        if isinstance(expected, str) and isinstance(actual, str) and raw == expected and REGULAR.search(expected):
            return is_true(await self.look(_TEST, {"text": actual}, place, {"pattern": rf"\A(?:{expected})\z"}))
        return False


@dataclass(frozen=True, slots=True)
class Matcher:
    """Tells which events belong together, for one listener or one gathering of events."""

    observations: Observations
    correlated: dict[str, JSON] = field(default_factory=dict[str, "JSON"])
    """What the first events that were taken decided."""

    async def fit(self, meant: EventFilter, event: Event) -> Mapping[str, JSON] | None:
        """Return the values by which a filter correlates an event; None where the event is not meant."""
        if not await self.observations.means(meant, event):
            return None
        found: dict[str, JSON] = {}
        for each in meant.correlate:
            value = await self.observations.value(each, event)
            if value is None or (each.expect is None and not same(self.correlated.get(each.name, value), value)):
                return None
            found[each.name] = value
        return found
