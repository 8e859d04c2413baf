"""What jobs take while an expression that never ends, eats memory or recurses for ever runs beside them.

Each round measures the same jobs alone and beside each kind, which is evaluated again as soon as it has failed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.figures import Figure, Spread, Target
from benchmarks.processes import Load, Server
from benchmarks.requests import ENQUEUE, check, delete_job, noop_job, start_job, workflow_job
from jobworkerp_standalone.jobs.model import QueueType, ResponseType

HOSTILE: Final = {
    "endless": "${ last(range(1e15)) }",
    "4 GB": '${ [range(4) | "\\(.)" * 1000000000] }',
    "endless recursion": "${ def f: [f]; f }",
}
_ALL_HELPERS: Final = 4
_TIMEOUT_MS: Final = 1_000
_CHANNEL: Final = "hostile"
_TARGET: Final = Target(2)


@dataclass(slots=True)
class _Rounds:
    """Ratios to the same jobs alone."""

    p50: list[float] = field(default_factory=list[float])
    p99: list[float] = field(default_factory=list[float])


def measure_hostile(folder: Path, rounds: int, seconds: float, say: Callable[[str], None]) -> list[Figure]:
    """Measure so many rounds of so many seconds for each kind."""
    kinds = [*((name, 1) for name in HOSTILE), ("endless", _ALL_HELPERS)]
    found = {kind: _Rounds() for kind in kinds}
    alone: list[float] = []
    settings = {
        "WORKFLOW_EXPRESSION_TIMEOUT_MS": str(_TIMEOUT_MS),
        "WORKFLOW_EXPRESSION_HELPERS": str(_ALL_HELPERS),
        "WORKER_CHANNELS": _CHANNEL,
        "WORKER_CHANNEL_CONCURRENCIES": str(_ALL_HELPERS),
    }
    with Server(folder, "hostile.sqlite3", settings=settings) as server, Load() as load:
        port = server.ports["daemon"]
        job = noop_job(port, "beside", ResponseType.DIRECT, QueueType.NORMAL, store=False)
        check(port, job, direct=True)
        loops = {name: workflow_job(port, name, _loop(text), _CHANNEL) for name, text in HOSTILE.items()}
        load.run(port, ENQUEUE, job, 1, seconds=seconds / 2)
        for number in range(1, rounds + 1):
            quiet = load.run(port, ENQUEUE, job, 1, seconds=seconds)
            alone.append(quiet["p99"] * 1e3)
            for name, count in kinds:
                with _running(port, loops[name], count):
                    beside = load.run(port, ENQUEUE, job, 1, seconds=seconds)
                found[name, count].p50.append(beside["p50"] / quiet["p50"])
                found[name, count].p99.append(beside["p99"] / quiet["p99"])
            say(f"hostile: round {number} of {rounds}")
    figures = [Figure("p99 of a job alone, 1 in flight", "ms", Spread.of(alone))]
    for (name, count), ratios in found.items():
        what = f"a job beside {count} {name} expression{'s' * (count > 1)} / alone"
        figures.append(Figure(f"{what}, p50", "x", Spread.of(ratios.p50)))
        figures.append(Figure(f"{what}, p99", "x", Spread.of(ratios.p99), _TARGET))
    return figures


def _loop(text: str) -> dict[str, Any]:
    """Return tasks that evaluate an expression again and again."""
    evaluate: dict[str, Any] = {"again": {"try": [{"once": {"set": {"v": text}}}], "catch": {}}}
    return {"do": [evaluate, {"on": {"set": {"v": 0}, "then": "again"}}]}


@contextmanager
def _running(port: int, request: bytes, count: int) -> Iterator[None]:
    jobs = [start_job(port, request) for _ in range(count)]
    try:
        yield
    finally:
        for job in jobs:
            delete_job(port, job)
