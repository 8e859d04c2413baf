"""Which events a filter means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol, cast

from jobworkerp_standalone.runners.bus import Event
from jobworkerp_standalone.workflow.expressions.template import Template, compile_template
from jobworkerp_standalone.workflow.expressions.values import JSON, is_true
from jobworkerp_standalone.workflow.model.events import REGULAR, EventFilter
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


@dataclass(slots=True)
class Matcher:
    """Looks at events for one listener; remembers the values that events are correlated by."""

    look: Look
    """What it raises comes through."""
    given: JSON
    """What the expected values are taken from."""
    correlated: dict[str, JSON] = field(default_factory=dict[str, "JSON"])
    """What the first events that were taken decided."""

    async def fit(self, meant: EventFilter, event: Event) -> Mapping[str, JSON] | None:
        """Return the values by which a filter correlates an event; None where the event is not meant."""
        for name, template in meant.with_:
            place = f"{meant.place}/with/{escaped(name)}"
            if not await self._attribute_fits(template, cast("JSON", event.get(name)), place):
                return None
        return await self._values(meant, event)

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
        if expected == actual and isinstance(expected, bool) == isinstance(actual, bool):
            return True
        if isinstance(expected, str) and isinstance(actual, str) and raw == expected and REGULAR.search(expected):
            return is_true(await self.look(_TEST, {"text": actual}, place, {"pattern": rf"\A(?:{expected})\z"}))
        return False

    async def _values(self, meant: EventFilter, event: Event) -> Mapping[str, JSON] | None:
        found: dict[str, JSON] = {}
        for each in meant.correlate:
            value = await self.look(each.from_, cast("JSON", dict(event)), f"{each.place}/from")
            if value is None:
                return None
            if each.expect is not None:
                expected = await self.look(each.expect, self.given, f"{each.place}/expect")
            else:
                expected = self.correlated.get(each.name, value)
            if value != expected:
                return None
            found[each.name] = expected
        return found
