"""What short commands cost: processor time of the whole process, beside an interpreter that does nothing.

Processor time hardly depends on what else the machine does, and each round has its own interpreter to compare with.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks.figures import Figure, Spread
from benchmarks.processes import ChildFailed, plain_environment
from benchmarks.starts import PROGRAM, answering

_FLOW: Final = """
document: {dsl: 1.0.3, namespace: bench, name: one, version: 0.1.0}
do:
  - only: {set: {x: 1}}
"""
_ARGS: Final = json.dumps({"command": "/bin/true"})
_BARE: Final = "python -c pass"


def measure_commands(folder: Path, times: int, say: Callable[[str], None]) -> list[Figure]:
    """Run each command so many times in turn; one of them calls a daemon, one is the daemon until its first answer."""
    (folder / "flow.yml").write_text(_FLOW)
    rounds: list[dict[str, float]] = []
    with answering(folder / "called.sqlite3") as daemon:
        server = ("--address", f"http://127.0.0.1:{daemon.port}")
        worker = ("worker", "create", "--name", "bench", "--runner", "COMMAND", "--response-type", "DIRECT")
        _spent((*PROGRAM, *server, *worker), folder)
        commands = {
            "--help": ("--help",),
            "workflow check": ("workflow", "check", "flow.yml"),
            "run of one set task": ("run", "flow.yml"),
            "job enqueue": (*server, "job", "enqueue", "--worker", "bench", "--args", _ARGS),
        }
        for _ in range(times + 1):
            costs = {_BARE: _spent((sys.executable, "-c", "pass"), folder)}
            costs |= {name: _spent((*PROGRAM, *words), folder) for name, words in commands.items()}
            with answering(folder / "started.sqlite3") as started:
                costs["all-in-one until its first answer"] = started.spent_seconds
            rounds.append(costs)
    say("commands")
    return [figure for name in rounds[0] for figure in _figures(name, rounds[1:])]  # the first finds cold caches


def _figures(name: str, rounds: Sequence[Mapping[str, float]]) -> Iterator[Figure]:
    spent = [costs[name] * 1e3 for costs in rounds]
    yield Figure(f"processor time of {name}", "ms", Spread.of(spent))
    if name != _BARE:
        yield Figure(f"{name} / {_BARE}", "x", Spread.of([costs[name] / costs[_BARE] for costs in rounds]))


def _spent(command: Sequence[str], folder: Path) -> float:
    """Run to the end; return the seconds that it spent, its own children included."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=plain_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    said = process.stderr.read()
    process.stderr.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise ChildFailed(f"{' '.join(command)} ended with exit code {process.returncode}: {said.decode()}")
    return usage.ru_utime + usage.ru_stime
