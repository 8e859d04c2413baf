"""The real program: how long until it answers its first call, and what it takes while nobody uses it."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.figures import Figure, Spread, Target
from benchmarks.http2 import Caller
from benchmarks.processes import ChildFailed, cpu_seconds, daemon_environment, plain_environment, rss_mb
from benchmarks.requests import COUNT

PROGRAM: Final = (sys.executable, "-m", "jobworkerp_standalone")
_TRY_AGAIN_SEC = 0.002
_PATIENCE_SEC = 60.0
_SETTLING_SEC = 2.0
_START, _IDLE = Target(0.6), Target(90)


@dataclass(frozen=True, slots=True)
class Answering:
    """A daemon that has answered its first call."""

    pid: int
    port: int
    seconds: float
    """Since it was started."""
    spent_seconds: float
    """Processor time until then."""


def measure_starts(folder: Path, times: int, say: Callable[[str], None]) -> list[Figure]:
    """Start the daemon so many times on a new database and on one that exists; look at its size once it is idle."""
    fresh: list[float] = []
    again: list[float] = []
    sizes: list[float] = []
    for number in range(times + 1):
        database = folder / f"start{number}.sqlite3"
        for taken in (fresh, again):
            with answering(database) as daemon:
                if number:  # the first start finds cold caches
                    taken.append(daemon.seconds)
                if number and taken is again and len(sizes) < 2:
                    time.sleep(_SETTLING_SEC)
                    sizes.append(rss_mb(daemon.pid))
        say(f"start {number} of {times}" if number else "warmed up")
    return [
        Figure("start to first answer, new database", "s", Spread.of(fresh), _START),
        Figure("start to first answer, existing database", "s", Spread.of(again), _START),
        Figure("resident memory, idle", "MB", Spread.of([median(sizes)]), _IDLE),
    ]


@contextmanager
def answering(database: Path) -> Iterator[Answering]:
    """Start a daemon; hand it out once it has answered."""
    port = _free_port()
    began = time.monotonic()
    log = database.with_suffix(".log")
    messages = log.open("wb")
    process = subprocess.Popen(
        (*PROGRAM, "all-in-one"),
        env={**plain_environment(), **daemon_environment(database, port)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=messages,
    )
    try:
        _first_answer(port, process, log)
        yield Answering(process.pid, port, time.monotonic() - began, cpu_seconds(process.pid))
    finally:
        process.terminate()
        process.wait(_PATIENCE_SEC)
        messages.close()


def _first_answer(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _PATIENCE_SEC
    while True:
        try:
            caller = Caller(port, COUNT, b"")
        except ConnectionRefusedError:
            if process.poll() is not None:
                raise ChildFailed(f"the daemon ended with exit code {process.returncode}: {_last_words(log)}") from None
            if time.monotonic() > until:
                raise
            time.sleep(_TRY_AGAIN_SEC)
            continue
        try:
            caller.call()
        finally:
            caller.close()
        return


def _last_words(log: Path) -> str:
    return log.read_text(errors="replace").strip().rpartition("\n")[2]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
