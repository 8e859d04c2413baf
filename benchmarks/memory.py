"""Whether the daemon grows: its resident memory after some jobs and after many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from benchmarks.figures import Figure, Spread, Target
from benchmarks.processes import Load, Server, rss_mb
from benchmarks.requests import ENQUEUE, noop_job
from jobworkerp_standalone.jobs.model import QueueType, ResponseType

JOBS: Final = 120_000
_EARLY_SHARE: Final = 6
_IN_FLIGHT: Final = 32
_BATCH: Final = 5_000
_GROWTH: Final = Target(5)


def measure_memory(folder: Path, jobs: int, say: Callable[[str], None]) -> list[Figure]:
    """Run so many jobs, DIRECT and NO_RESULT in turn, on a daemon of its own; look after a sixth and at the end."""
    with Server(folder) as server, Load() as load:
        port = server.ports["daemon"]
        requests = [
            noop_job(port, f"memory-{kind.name}", kind, QueueType.NORMAL, store=False)
            for kind in (ResponseType.DIRECT, ResponseType.NO_RESULT)
        ]
        sizes = [rss_mb(server.pid)]
        for upto in (jobs // _EARLY_SHARE, jobs):
            _run_until(upto, server, load, requests)
            sizes.append(rss_mb(server.pid))
            say(f"{upto} jobs")
    idle, early, late = (Spread.of([size]) for size in sizes)
    growth = Spread.of([sizes[2] - sizes[1]])
    some, many = f"{jobs // _EARLY_SHARE:,}", f"{jobs:,}"
    return [
        Figure("resident memory of the measured process before its first job", "MB", idle),
        Figure(f"resident memory after {some} jobs", "MB", early),
        Figure(f"resident memory after {many} jobs", "MB", late),
        Figure(f"growth from {some} to {many} jobs", "MB", growth, _GROWTH),
    ]


def _run_until(upto: int, server: Server, load: Load, requests: Sequence[bytes]) -> None:
    turn = 0
    while server.expected < upto:
        calls = min(_BATCH, upto - server.expected)
        load.run(server.ports["daemon"], ENQUEUE, requests[turn % len(requests)], _IN_FLIGHT, calls=calls)
        server.expected += calls
        server.drained()
        turn += 1
