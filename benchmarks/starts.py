"""The real program: how long until it answers its first call, and what it takes while nobody uses it."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from statistics import median

from benchmarks.figures import Figure, Spread, Target
from benchmarks.http2 import Caller
from benchmarks.processes import ChildFailed, daemon_environment, plain_environment, rss_mb
from benchmarks.requests import COUNT

_WITHOUT_COMMAND_LINE = (
    "import os; from jobworkerp_standalone.settings import load_settings; "
    "from jobworkerp_standalone.log import set_up_logging; from jobworkerp_standalone.daemon import main; "
    "settings = load_settings(os.environ); set_up_logging(settings); main(settings)"
)
_TRY_AGAIN_SEC = 0.002
_PATIENCE_SEC = 20.0
_SETTLING_SEC = 2.0
_START, _IDLE = Target(0.6), Target(90)


def measure_starts(folder: Path, times: int, say: Callable[[str], None]) -> list[Figure]:
    """Start the daemon so many times on a new database and on one that exists; look at its size once it is idle."""
    fresh: list[float] = []
    again: list[float] = []
    sizes: list[float] = []
    for number in range(times + 1):
        database = folder / f"start{number}.sqlite3"
        for taken in (fresh, again):
            with _answering(database) as (pid, seconds):
                if number:  # the first start finds cold caches
                    taken.append(seconds)
                if number and taken is again and len(sizes) < 2:
                    time.sleep(_SETTLING_SEC)
                    sizes.append(rss_mb(pid))
        say(f"start {number} of {times}" if number else "warmed up")
    how = "python -m jobworkerp_standalone all-in-one" if _has_command_line() else "daemon.main, without command line"
    return [
        Figure("start to first answer, new database", "s", Spread.of(fresh), _START, how),
        Figure("start to first answer, existing database", "s", Spread.of(again), _START, how),
        Figure("resident memory, idle", "MB", Spread.of([median(sizes)]), _IDLE, how),
    ]


@contextmanager
def _answering(database: Path) -> Iterator[tuple[int, float]]:
    """Start a daemon; hand out its process id and how long the first answer took."""
    port = _free_port()
    began = time.monotonic()
    log = database.with_suffix(".log")
    messages = log.open("wb")
    process = subprocess.Popen(
        _command(),
        env={**plain_environment(), **daemon_environment(database, port)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=messages,
    )
    try:
        _first_answer(port, process, log)
        yield process.pid, time.monotonic() - began
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


def _command() -> list[str]:
    if _has_command_line():
        return [sys.executable, "-m", "jobworkerp_standalone", "all-in-one"]
    return [sys.executable, "-c", _WITHOUT_COMMAND_LINE]


def _has_command_line() -> bool:
    package = find_spec("jobworkerp_standalone.cli")
    return package is not None and find_spec("jobworkerp_standalone.cli.main") is not None


def _last_words(log: Path) -> str:
    return log.read_text(errors="replace").strip().rpartition("\n")[2]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
