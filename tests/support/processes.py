"""The real daemon as a child process of a test."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.support.patience import PATIENCE_SEC

_LISTENING = re.compile(r"gRPC +(127\.0\.0\.1):(\d+)")
_GUARD = re.compile(r"ends what \d+ leaves behind")


class DaemonProcess:
    """A running ``jobworkerp all-in-one``; its log is collected line by line."""

    def __init__(self, folder: Path, **environment: str) -> None:
        defaults = {"GRPC_ADDR": "127.0.0.1:0", "SQLITE_URL": f"sqlite://{folder}/jobs.sqlite3"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "jobworkerp_standalone", "all-in-one"],
            cwd=folder,
            env={**_plain_environment(), **defaults, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self.host, self.port = "", 0
        self._listening = threading.Event()
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()
        if not self._listening.wait(PATIENCE_SEC) or not self.port:
            self.kill()
            raise AssertionError("the daemon did not start:\n" + "".join(self.lines))

    @property
    def pid(self) -> int:
        """Process id of the daemon."""
        return self._process.pid

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the daemon alone."""
        self._process.send_signal(number)

    def wait(self, seconds: float = PATIENCE_SEC) -> int:
        """Wait for its end and return the exit code."""
        code = self._process.wait(seconds)
        self._reading.join(seconds)
        return code

    def stop(self) -> int:
        """Ask for a graceful stop and wait for it."""
        if self._process.poll() is None:
            self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """End it without a chance to tidy up."""
        if self._process.poll() is None:
            self.signal(signal.SIGKILL)
        self.wait()

    def _read(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            for line in lines:
                self.lines.append(line)
                if (found := _LISTENING.search(line)) is not None:
                    self.host, self.port = found[1], int(found[2])
                if line.lstrip().startswith("try "):
                    self._listening.set()
        self._listening.set()


@contextmanager
def daemon_process(folder: Path, **environment: str) -> Iterator[DaemonProcess]:
    """Start a daemon with its database in ``folder``; killed at the end if it still runs."""
    process = DaemonProcess(folder, **environment)
    try:
        yield process
    finally:
        process.kill()


def _plain_environment() -> dict[str, str]:
    """Return this process's environment without settings of a daemon."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV")
    return {name: os.environ[name] for name in kept if name in os.environ}


def guards(pid: int) -> list[psutil.Process]:
    """Return the guards of a process that are there."""
    return [each for each in psutil.Process(pid).children() if is_guard(each)]


def is_guard(process: psutil.Process) -> bool:
    """Whether a process is the guard of one: it is there from its first program on."""
    with suppress(psutil.Error):
        return any(map(_GUARD.fullmatch, process.cmdline())) and process.status() != psutil.STATUS_ZOMBIE
    return False


def descriptors() -> int:
    """Return how many this process has, without the database's: it opens a second connection when it is busy.

    Nor those of the guard, which comes with the first program.
    """
    found = 0
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            found += "sqlite3" not in os.readlink(f"/proc/self/fd/{number}")
    return found - len(("pipe", "pidfd")) * len(guards(os.getpid()))
