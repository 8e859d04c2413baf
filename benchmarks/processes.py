"""The child processes of a run, as the parent sees them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

_KEPT: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV")
_TYPICAL: Final = {f"BENCHMARK_VARIABLE_{number}": "x" * 40 for number in range(32)}
"""A login session has some forty variables; commands inherit them, whatever the benchmark was started from."""
_PATIENCE_SEC: Final = 30.0
SLOTS: Final = 8


class ChildFailed(Exception):
    """A child process ended early."""


class LineChild:
    """A child that answers each JSON line with one."""

    def __init__(self, module: str, environment: Mapping[str, str] | None = None) -> None:
        self._name = module
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=Path(__file__).parent.parent,
            env={**plain_environment(), **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def ask(self, order: Mapping[str, object]) -> dict[str, Any]:
        """Send an order and wait for what it is answered with."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self.read()

    def read(self) -> dict[str, Any]:
        """Wait for the next line."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise ChildFailed(f"{self._name} ended with exit code {self._process.wait()}; see its messages above")
        return json.loads(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Let it end, or end it."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(_PATIENCE_SEC)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


class Server(LineChild):
    """The daemon under measurement, with its floors."""

    def __init__(
        self,
        folder: Path,
        database: str = "jobs.sqlite3",
        mcp_config: Path | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.database = folder / database
        tools = {"MCP_CONFIG": str(mcp_config or folder / "no-servers")}
        super().__init__("benchmarks.server", daemon_environment(self.database) | tools | dict(settings or {}))
        told = self.read()
        self.ports: dict[str, int] = told["ports"]
        self.loop: str = told["loop"]
        self.expected = 0
        """Jobs that the no-op runner was given so far."""

    def drained(self) -> float:
        """Wait until every job is done; return when the last one ran."""
        return self.ask({"wait": self.expected})["last"]


class Load(LineChild):
    """The load generator."""

    def __init__(self) -> None:
        super().__init__("benchmarks.load")

    def run(
        self, port: int, path: str, message: bytes, in_flight: int, *, calls: int | None = None, seconds: float = 0.0
    ) -> dict[str, float]:
        """Make calls: so many, or for so long."""
        limit = {"calls": calls} if calls is not None else {"seconds": seconds}
        text = b64encode(message).decode()
        return self.ask({"port": port, "path": path, "message": text, "in_flight": in_flight, **limit})


class Spawner(LineChild):
    """Starts programs without any server."""

    def __init__(self) -> None:
        super().__init__("benchmarks.spawns")

    def run(self, program: Sequence[str], parallel: int, seconds: float) -> dict[str, float]:
        """Start ``program`` again and again for so long."""
        return self.ask({"program": program, "parallel": parallel, "seconds": seconds})


def plain_environment() -> dict[str, str]:
    """Return an environment of ordinary size, without a daemon's settings."""
    return {**_TYPICAL, **{name: os.environ[name] for name in _KEPT if name in os.environ}}


def daemon_environment(database: Path, port: int = 0) -> dict[str, str]:
    """Return the settings of a measured daemon."""
    return {
        "GRPC_ADDR": f"127.0.0.1:{port}",
        "SQLITE_URL": f"sqlite://{database}",
        "WORKER_DEFAULT_CONCURRENCY": str(SLOTS),
        "LOG_LEVEL": "warn",
        "PYTHON_CACHE_DIR": f"{database.parent}/python",
    }


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used, all its threads together."""
    return time.clock_gettime((~pid << 3) | 2)  # as pthread_getcpuclockid(3) makes it, for a whole process


def rss_mb(pid: int) -> float:
    """Return the resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
