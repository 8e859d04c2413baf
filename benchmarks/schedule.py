"""Jobs with a time: how late they start, and whether a backlog of them holds up the others."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from grpclib.client import Channel, UnaryUnaryMethod
from grpclib.encoding.base import CodecBase

from benchmarks.figures import Figure, Spread, Target
from benchmarks.load import percentile
from benchmarks.processes import Load, Server
from benchmarks.requests import ENQUEUE, at, noop_job
from jobworkerp_standalone.jobs.model import QueueType, ResponseType

_LEAD_MS: Final = 3000
_ROUNDS: Final = 3
_LATE_P50: Final = Target(2)
_LATE_P99: Final = Target(20)
_EARLY: Final = Target(0)
_SLOWER: Final = Target(5)
_BUCKETS_MS: Final = (1, 2, 3, 5, 10, 20, 50, 100)


def measure_schedule(folder: Path, jobs: int, backlog: int, say: Callable[[str], None]) -> list[Figure]:
    """Fire ``jobs`` single jobs, one each 10 ms; then drain ``backlog`` rows that came due while no daemon ran."""
    late = _lateness(folder, jobs)
    say("lateness in ms: " + ", ".join(f"{name} {count}" for name, count in _histogram(late)))
    figures = [
        Figure("lateness of single jobs, p50", "ms", Spread.of([percentile(late, 0.5)]), _LATE_P50),
        Figure("lateness of single jobs, p99", "ms", Spread.of([percentile(late, 0.99)]), _LATE_P99),
        Figure("single jobs that started early", "jobs", Spread.of([sum(each < 0 for each in late)]), _EARLY),
    ]
    return figures + _drain(folder, backlog, say)


def _lateness(folder: Path, jobs: int) -> list[float]:
    with Server(folder) as server:
        port = server.ports["daemon"]
        request = noop_job(port, "single", ResponseType.NO_RESULT, QueueType.NORMAL, store=True)
        first_ms = _now_ms() + _LEAD_MS
        asyncio.run(_enqueue(port, [at(request, first_ms + 10 * number) for number in range(jobs)]))
        server.expected = jobs
        server.drained()
    query = "SELECT start_time_ms - run_after_ms FROM job_result WHERE run_after_ms > 0"
    with sqlite3.connect(server.database) as database:
        return sorted(float(late) for (late,) in database.execute(query))


def _drain(folder: Path, backlog: int, say: Callable[[str], None]) -> list[Figure]:
    """Drain the same backlog several times, and compare with the same process once it has nothing else to do."""
    late = folder / "late.sqlite3"
    _pile_up(folder, late, backlog)
    rounds = [_round(folder, late, backlog, say) for _ in range(_ROUNDS)]
    beside, alone = [each.beside_ms for each in rounds], [each.alone_ms for each in rounds]
    ratios = [each.beside_ms / each.alone_ms for each in rounds]
    return [
        Figure("due rows drained after a downtime", "rows/s", Spread.of([each.rate for each in rounds])),
        Figure("p99 of immediate jobs, nothing else to do", "ms", Spread.of(alone)),
        Figure("p99 of immediate jobs beside the backlog", "ms", Spread.of(beside)),
        Figure("p99 of immediate jobs beside the backlog / alone", "x", Spread.of(ratios), _SLOWER),
    ]


@dataclass(frozen=True, slots=True)
class _Round:
    rate: float
    beside_ms: float
    alone_ms: float


def _pile_up(folder: Path, late: Path, backlog: int) -> None:
    """Leave a database with rows that came due while no daemon ran."""
    with Server(folder, late.name) as server, Load() as load:
        port = server.ports["daemon"]
        job = noop_job(port, "late", ResponseType.NO_RESULT, QueueType.NORMAL, store=False)
        due_ms = _now_ms() + _LEAD_MS + backlog
        load.run(port, ENQUEUE, at(job, due_ms), 32, calls=backlog)
    time.sleep(max(0.0, (due_ms - _now_ms()) / 1000))


def _round(folder: Path, late: Path, backlog: int, say: Callable[[str], None]) -> _Round:
    again = folder / "again.sqlite3"
    shutil.copyfile(late, again)
    with Server(folder, again.name) as server, Load() as load:
        direct = noop_job(server.ports["daemon"], "direct", ResponseType.DIRECT, QueueType.NORMAL, store=False)
        began = time.monotonic()
        beside = load.run(server.ports["daemon"], ENQUEUE, direct, 1, seconds=1.0)
        server.expected = backlog + int(beside["calls"])
        seconds = server.drained() - began
        alone = load.run(server.ports["daemon"], ENQUEUE, direct, 1, seconds=1.0)
    again.unlink()
    say(f"{backlog} due rows ran in {seconds:.1f} s beside {beside['calls']:.0f} immediate jobs")
    return _Round(backlog / seconds, beside["p99"] * 1000, alone["p99"] * 1000)


def _histogram(late: Sequence[float]) -> list[tuple[str, int]]:
    counts = Counter(next((limit for limit in _BUCKETS_MS if each < limit), _BUCKETS_MS[-1] + 1) for each in late)
    names = {limit: f"<{limit}:" for limit in _BUCKETS_MS} | {_BUCKETS_MS[-1] + 1: "more:"}
    return [(names[limit], counts[limit]) for limit in sorted(counts)]


async def _enqueue(port: int, requests: Sequence[bytes]) -> None:
    channel = Channel("127.0.0.1", port, codec=_Bytes())
    enqueue = UnaryUnaryMethod(channel, ENQUEUE, bytes, bytes)
    try:
        for request in requests:
            await enqueue(request)
    finally:
        channel.close()


class _Bytes(CodecBase):
    """Messages that are encoded already."""

    @property
    def __content_subtype__(self) -> str:
        return "proto"

    def encode(self, message: bytes, message_type: object) -> bytes:  # noqa: ARG002 - the interface
        return message

    def decode(self, data: bytes, message_type: object) -> bytes:  # noqa: ARG002
        return data


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
