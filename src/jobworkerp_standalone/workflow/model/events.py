"""What ``emit`` and ``listen`` carry, and the events that start a workflow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jobworkerp_standalone.workflow.expressions.template import Template


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
