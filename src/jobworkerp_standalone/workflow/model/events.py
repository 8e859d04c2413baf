"""What ``emit`` and ``listen`` carry, and the events that start a workflow."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from jobworkerp_standalone.runners.interest import LIFECYCLE, Interest
from jobworkerp_standalone.workflow.expressions.template import Template

REGULAR: Final = re.compile(r"[*+?^$|()\[\]{}\\]")
"""What makes a text in a filter a regular expression."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Correlation:
    """A value of the event that must be the same as expected, or as in the first event."""

    name: str
    place: str
    """JSON pointer of the document."""
    from_: Template
    expect: Template | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Which events are meant."""

    place: str
    """JSON pointer of the document."""
    with_: tuple[tuple[str, Template], ...]
    """Attributes and what they must be: a value, or a condition over the event."""
    correlate: tuple[Correlation, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumption:
    """Which events are waited for."""

    place: str
    """JSON pointer of the document."""
    mode: Literal["one", "any", "all"]
    filters: tuple[EventFilter, ...]
    """Exactly one under ``one``; under ``any``, none means every event."""
    until: Template | Consumption | None = None
    """Under ``any``: go on until this condition holds, or these events came."""
    forever: bool = False
    """``until: false``: go on for as long as the workflow runs."""


def interest_of(consumption: Consumption) -> Interest:
    """Return which events must be looked at."""
    found = Interest(everything=consumption.mode == "any" and not consumption.filters)
    for each in consumption.filters:
        found |= _interest_in(dict(each.with_).get("type"))
    if isinstance(consumption.until, Consumption):
        found |= interest_of(consumption.until)
    return found


def _interest_in(type_: Template | None) -> Interest:
    if type_ is None or not isinstance(type_.raw, str):
        return Interest(everything=True)
    if type_.constant and not REGULAR.search(type_.raw):
        return Interest(frozenset({type_.raw}))
    named = type_.raw.replace("\\.", ".").startswith(LIFECYCLE)
    return Interest(everything=True, lifecycle=named)
