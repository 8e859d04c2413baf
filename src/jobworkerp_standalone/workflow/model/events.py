"""What ``emit`` and ``listen`` carry, and the events that start a workflow."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from jobworkerp_standalone.workflow.expressions.template import Template

REGULAR: Final = re.compile(r"[*+?^$|()\[\]{}\\]")
"""What makes a text in a filter a regular expression."""
EventTypes = frozenset[str] | None
"""Types of events; None is all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Correlation:
    """A value of the event that must be the same as expected, or as in the first event."""

    name: str
    from_: Template
    expect: Template | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Which events are meant."""

    with_: tuple[tuple[str, Template], ...]
    """Attributes and what they must be: a value, or a condition over the event."""
    correlate: tuple[Correlation, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumption:
    """Which events are waited for."""

    mode: Literal["one", "any", "all"]
    filters: tuple[EventFilter, ...]
    """Exactly one under ``one``; under ``any``, none means every event."""
    until: Template | Consumption | None = None
    """Under ``any``: go on until this condition holds, or these events came."""
    forever: bool = False
    """``until: false``: go on for as long as the workflow runs."""


def types_of(consumption: Consumption) -> EventTypes:
    """Return the types of events that may be waited for."""
    found = frozenset[str]()
    if consumption.mode == "any" and not consumption.filters:
        return None
    for each in consumption.filters:
        type_ = dict(each.with_).get("type")
        if type_ is None or not type_.constant or not isinstance(type_.raw, str) or REGULAR.search(type_.raw):
            return None
        found |= {type_.raw}
    more = types_of(consumption.until) if isinstance(consumption.until, Consumption) else frozenset[str]()
    return None if more is None else found | more
