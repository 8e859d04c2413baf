"""Which events a filter means."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, cast

from jobworkerp_standalone.runners.bus import Event
from jobworkerp_standalone.workflow.expressions.template import Template, compile_template
from jobworkerp_standalone.workflow.expressions.values import JSON, is_true
from jobworkerp_standalone.workflow.model.events import REGULAR, EventFilter
from jobworkerp_standalone.workflow.run import Run
from jobworkerp_standalone.workflow.state import Spot, TaskState

_PLACE: Final = "/listen/to"
_TEST: Final = compile_template("${ .text | test($pattern) }")


@dataclass(slots=True)
class Matcher:
    """Looks at events for one listener; remembers the values that events are correlated by."""

    run: Run
    state: TaskState
    spot: Spot
    _expected: dict[str, JSON] = field(default_factory=dict[str, "JSON"])

    async def matches(self, meant: EventFilter, event: Event) -> bool:
        """Tell whether an event is meant.

        Raises:
            WorkflowError: an expression of the filter fails.
        """
        for name, template in meant.with_:
            if not await self._attribute_fits(template, cast("JSON", event.get(name))):
                return False
        return await self._correlates(meant, event)

    async def _attribute_fits(self, template: Template, actual: JSON) -> bool:
        if template.constant:
            return await self._fits(template.raw, template.raw, actual)
        expected = await self.run.value(template, self.state, self.spot, actual, _PLACE)
        return await self._fits(template.raw, expected, actual)

    async def _fits(self, raw: JSON, expected: JSON, actual: JSON) -> bool:
        """Compare a value: an expression that gives true or false is a condition, a text may be a pattern."""
        if isinstance(expected, bool) and isinstance(raw, str):
            return expected
        if isinstance(expected, dict) and isinstance(actual, dict):
            raws = raw if isinstance(raw, dict) else expected
            for key, value in expected.items():
                if not await self._fits(raws.get(key), value, actual.get(key)):
                    return False
            return True
        if expected == actual and isinstance(expected, bool) == isinstance(actual, bool):
            return True
        if isinstance(expected, str) and isinstance(actual, str) and raw == expected and REGULAR.search(expected):
            return await self._is_like(expected, actual)
        return False

    async def _is_like(self, pattern: str, text: str) -> bool:
        here = Spot(self.spot.branch, locals={"pattern": f"^(?:{pattern})$"})
        return is_true(await self.run.value(_TEST, self.state, here, {"text": text}, _PLACE))

    async def _correlates(self, meant: EventFilter, event: Event) -> bool:
        found: dict[str, JSON] = {}
        for each in meant.correlate:
            value = await self.run.value(each.from_, self.state, self.spot, cast("JSON", dict(event)), _PLACE)
            if value is None:
                return False
            if each.expect is not None:
                expected = await self.run.value(each.expect, self.state, self.spot, self.state.input, _PLACE)
            else:
                expected = self._expected.get(each.name, value)
                found[each.name] = expected
            if value != expected:
                return False
        self._expected.update(found)
        return True
