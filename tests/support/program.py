"""The program ``jobworkerp`` as a child process that needs no server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from tests.support.patience import PATIENCE_SEC

KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV")
"""Variables of this machine that are no settings."""
PROGRAM = str(Path(sys.executable).with_name("jobworkerp"))


class Program:
    """Runs commands in a folder, with nothing of this machine's settings."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.folder = folder
        plain = {name: os.environ[name] for name in KEPT if name in os.environ}
        self.variables = {**plain, "XDG_STATE_HOME": str(folder / "state"), **variables}

    def write(self, name: str, text: str) -> str:
        """Write a file and return its name."""
        (self.folder / name).write_text(text)
        return name

    def run(self, *arguments: str, stdin: str = "") -> tuple[int, str, str]:
        """Run to the end; return exit code, standard output and standard error."""
        done = subprocess.run(
            [PROGRAM, *arguments],
            cwd=self.folder,
            env=self.variables,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SEC,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout, done.stderr

    def json(self, *arguments: str, code: int = 0) -> Any:
        """Run with ``--format json`` and return the document."""
        found, out, err = self.run(*arguments, "--format", "json")
        assert found == code, err
        return json.loads(out)

    @contextmanager
    def started(
        self, *arguments: str, before: Sequence[str] = (), stdin: int = subprocess.DEVNULL
    ) -> Iterator[subprocess.Popen[str]]:
        """Start a command, maybe by way of another program; killed at the end if it still runs."""
        process = subprocess.Popen(
            [*before, PROGRAM, *arguments],
            cwd=self.folder,
            env=self.variables,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate(timeout=PATIENCE_SEC)


def until(condition: Callable[[], Any], what: str) -> None:
    """Wait for something that another process does and nobody tells."""
    end = time.monotonic() + PATIENCE_SEC
    while not condition():
        assert time.monotonic() < end, f"in vain: {what}"
        time.sleep(0.01)


def interrupt(process: subprocess.Popen[str]) -> None:
    """Press Ctrl-C."""
    process.send_signal(signal.SIGINT)


def gone(pid_file: Path) -> bool:
    """Whether the process whose id stands in a file is over."""
    return not psutil.pid_exists(int(pid_file.read_text()))


def document(tasks: str, more: Mapping[str, Any] | None = None) -> str:
    """Return a workflow with these tasks (YAML, a list that is not indented)."""
    head = 'document: {dsl: "1.0.0", namespace: test, name: flow, version: "0.1.0"}\n'
    rest = "".join(f"{key}: {json.dumps(value)}\n" for key, value in (more or {}).items())
    return f"{head}{rest}do:\n" + "".join(f"  {line}\n" for line in tasks.strip("\n").splitlines())
