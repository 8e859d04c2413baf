"""Calls, measured in rounds: each round measures every kind once, so that noise meets all of them alike."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from google.protobuf.wrappers_pb2 import StringValue

from benchmarks.processes import SLOTS, Load, Server, Spawner, cpu_seconds
from benchmarks.requests import ENQUEUE, BadAnswer, check, command_job, http_job, noop_job, python_job, tool_job
from benchmarks.server import FETCH_PATH, FLOOR_PATH, TOOL_PATH
from benchmarks.small_mcp import ARGUMENTS
from benchmarks.web import Web
from jobworkerp_standalone.jobs.model import QueueType, ResponseType

FEW_AND_MANY: Final = (1, 32)
EDGE, BARE = "empty call (edge)", "empty call (bare grpclib)"
NO_RESULT, DIRECT = "no-op NO_RESULT", "no-op DIRECT"
BACKUP, STORE = "no-op NO_RESULT WITH_BACKUP", "no-op NO_RESULT store_success"
COMMAND, SPAWN = "COMMAND /bin/true DIRECT", "bare asyncio spawn of /bin/true"
HTTP, FETCH = "HTTP_REQUEST DIRECT", "same request, bare grpclib"
PYTHON, STATIC = "PYTHON_COMMAND DIRECT", "PYTHON_COMMAND DIRECT use_static"
INTERPRETER = "bare asyncio spawn of python -c pass"
MCP, TOOL = "MCP tool over stdio, use_static, DIRECT", "same tool, bare grpclib"
_GROUPS: Final = {
    "floor": (EDGE, BARE),
    "enqueue": (NO_RESULT,),
    "direct": (DIRECT,),
    "backup": (BACKUP,),
    "store": (STORE,),
    "command": (COMMAND, SPAWN),
    "http": (HTTP, FETCH),
    "python": (DIRECT, PYTHON, STATIC, INTERPRETER),
    "mcp": (MCP, TOOL),
}
CASES: Final = tuple(_GROUPS)


@dataclass(frozen=True, slots=True)
class Sample:
    """One round of one kind."""

    calls: int
    seconds: float
    done_seconds: float
    """Until the last job had run, not only the last call been answered."""
    p50: float
    p99: float
    server_cpu: float
    load_cpu_share: float

    @property
    def each(self) -> float:
        """Time per call: of the whole round divided by its calls."""
        return self.seconds / self.calls

    @property
    def each_done(self) -> float:
        """Time per job that ran."""
        return self.done_seconds / self.calls

    @property
    def each_cpu(self) -> float:
        """Processor time of the measured process per call."""
        return self.server_cpu / self.calls


@dataclass(slots=True)
class Bench:
    """What the rounds work with."""

    server: Server
    load: Load
    spawner: Spawner
    web: Web
    seconds: float
    """How long one kind is measured in one round."""
    stored: int = 0
    samples: dict[tuple[str, int], list[Sample]] = field(default_factory=dict[tuple[str, int], list[Sample]])


Kind = Callable[[int], Sample]


def run_rounds(bench: Bench, cases: Sequence[str], rounds: int, say: Callable[[str], None]) -> None:
    """Measure every kind of the chosen cases in every round, after one short round that does not count."""
    kinds = _kinds(bench, [name for case in ("floor", *cases) for name in _GROUPS.get(case, ())])
    full, bench.seconds = bench.seconds, bench.seconds / 4
    for number in range(rounds + 1):
        for in_flight in FEW_AND_MANY:
            for name, kind in kinds.items():
                sample = kind(in_flight)
                if number:
                    bench.samples.setdefault((name, in_flight), []).append(sample)
        say(f"round {number} of {rounds}" if number else "warmed up")
        bench.seconds = full
    _check_stored(bench)


def _kinds(bench: Bench, names: Sequence[str]) -> dict[str, Kind]:
    ports = bench.server.ports
    makers: dict[str, Callable[[], Kind]] = {
        EDGE: lambda: partial(_calls, bench, ports["edge"], FLOOR_PATH, b""),
        BARE: lambda: partial(_calls, bench, ports["bare"], FLOOR_PATH, b""),
        NO_RESULT: lambda: _noop(bench, NO_RESULT, ResponseType.NO_RESULT),
        DIRECT: lambda: _noop(bench, DIRECT, ResponseType.DIRECT),
        BACKUP: lambda: _noop(bench, BACKUP, ResponseType.NO_RESULT, QueueType.WITH_BACKUP),
        STORE: lambda: _noop(bench, STORE, ResponseType.NO_RESULT, store=True),
        COMMAND: lambda: _command(bench),
        SPAWN: lambda: partial(_spawns, bench, ("/bin/true",)),
        PYTHON: lambda: _python(bench, PYTHON, static=False)[0],
        STATIC: lambda: _python(bench, STATIC, static=True)[0],
        INTERPRETER: lambda: partial(
            _spawns, bench, (_python(bench, "for its interpreter", static=False)[1], "-c", "pass")
        ),
        HTTP: lambda: _http(bench),
        MCP: lambda: _mcp(bench),
        TOOL: lambda: partial(
            _calls, bench, ports["bare"], TOOL_PATH, StringValue(value=json.dumps(ARGUMENTS)).SerializeToString()
        ),
        FETCH: lambda: partial(
            _calls, bench, ports["bare"], FETCH_PATH, StringValue(value=bench.web.url).SerializeToString()
        ),
    }
    return {name: makers[name]() for name in dict.fromkeys(names)}


def _noop(
    bench: Bench, name: str, response: ResponseType, queue: QueueType = QueueType.NORMAL, *, store: bool = False
) -> Kind:
    port = bench.server.ports["daemon"]
    request = noop_job(port, name, response, queue, store=store)
    check(port, request, direct=response is ResponseType.DIRECT)
    bench.server.expected += 1
    bench.stored += store

    def measure(in_flight: int) -> Sample:
        sample = _calls(bench, port, ENQUEUE, request, in_flight, jobs=True)
        bench.stored += sample.calls * store
        return sample

    return measure


def _command(bench: Bench) -> Kind:
    port = bench.server.ports["daemon"]
    request = command_job(port, COMMAND)
    check(port, request, direct=True)
    return partial(_calls, bench, port, ENQUEUE, request)


def _http(bench: Bench) -> Kind:
    port = bench.server.ports["daemon"]
    request = http_job(port, HTTP, bench.web.url)
    check(port, request, direct=True)
    return partial(_calls, bench, port, ENQUEUE, request)


def _python(bench: Bench, name: str, *, static: bool) -> tuple[Kind, str]:
    """Return scripts as a kind of call, and the interpreter that runs them."""
    port = bench.server.ports["daemon"]
    request, interpreter = python_job(port, name, static=static)
    return partial(_calls, bench, port, ENQUEUE, request), interpreter


def _mcp(bench: Bench) -> Kind:
    port = bench.server.ports["daemon"]
    request = tool_job(port, "tool")
    check(port, request, direct=True)
    return partial(_calls, bench, port, ENQUEUE, request)


def _calls(bench: Bench, port: int, path: str, message: bytes, in_flight: int, *, jobs: bool = False) -> Sample:
    server = bench.server
    cpu = cpu_seconds(server.pid)
    run = bench.load.run(port, path, message, in_flight, seconds=bench.seconds)
    ended = run["ended"]
    if jobs:
        server.expected += int(run["calls"])
        ended = max(ended, server.drained())
    seconds = run["ended"] - run["began"]
    return Sample(
        int(run["calls"]),
        seconds,
        ended - run["began"],
        run["p50"],
        run["p99"],
        cpu_seconds(server.pid) - cpu,
        run["cpu_seconds"] / seconds,
    )


def _spawns(bench: Bench, program: Sequence[str], in_flight: int) -> Sample:
    """As many loops as a daemon's channel has slots stand for many in flight."""
    run = bench.spawner.run(program, min(in_flight, SLOTS), bench.seconds)
    seconds = run["ended"] - run["began"]
    return Sample(int(run["calls"]), seconds, seconds, run["p50"], run["p99"], 0.0, 0.0)


def _check_stored(bench: Bench) -> None:
    """Make sure that what was to be stored is there.

    Raises:
        BadAnswer: it is not.
    """
    with sqlite3.connect(bench.server.database) as connection:
        found = connection.execute("SELECT count(*) FROM job_result").fetchone()[0]
        left = connection.execute("SELECT count(*) FROM job").fetchone()[0]
    connection.close()
    if found != bench.stored or left:
        raise BadAnswer(f"{bench.stored} results should be stored and no job be left; {found} and {left} are")
