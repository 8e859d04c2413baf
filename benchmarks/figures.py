"""The values of a report: what was measured, and what was wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of all rounds with the lowest and the highest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Sum up the rounds."""
        return cls(median(values), min(values), max(values))


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure should be at most, or at least."""

    limit: float
    at_least: bool = False

    def met(self, value: float) -> bool:
        """Whether ``value`` is good enough."""
        return value >= self.limit if self.at_least else value <= self.limit

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.limit:g}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of the report."""

    name: str
    unit: str
    value: Spread
    target: Target | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        """Return ``ok`` or ``miss``; nothing where nothing was asked for."""
        if self.target is None:
            return ""
        return "ok" if self.target.met(self.value.median) else "miss"

    def told(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {**asdict(self), "verdict": self.verdict}


@dataclass(slots=True)
class Timing:
    """All rounds of one kind of call at one number in flight."""

    name: str
    in_flight: int
    per_call_us: Spread
    p50_ms: Spread
    p99_ms: Spread
    server_cpu_us: Spread
    """Processor time of the measured process for each call; children do not count."""
    load_cpu_share: Spread
    """How busy the load generator was: near 1 it would be what is measured."""
    calls: int
    to_edge: Spread | None = None
    """Time per call as a multiple of an empty call's to the edge, of each round; absent for what is no call."""
    to_bare: Spread | None = None
    """The same against an empty call to a bare grpclib server."""
    cpu_to_edge: Spread | None = None
    """Processor time per call, against the edge's."""
    done_to_edge: Spread | None = None
    """Time until all jobs had run, against the edge's empty call."""

    @property
    def per_second(self) -> float:
        """Return the rate."""
        return 1e6 / self.per_call_us.median

    def told(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {**asdict(self), "per_second": self.per_second}


@dataclass(slots=True)
class Report:
    """Everything that a run found out."""

    machine: dict[str, Any] = field(default_factory=dict[str, Any])
    timings: list[Timing] = field(default_factory=list[Timing])
    figures: list[Figure] = field(default_factory=list[Figure])
    notes: list[str] = field(default_factory=list[str])

    def told(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "machine": self.machine,
            "timings": [timing.told() for timing in self.timings],
            "figures": [figure.told() for figure in self.figures],
            "notes": self.notes,
        }
