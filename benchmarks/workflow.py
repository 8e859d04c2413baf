"""What a workflow costs: beside a job that does nothing, beside jq, beside its own jobs, and while it waits."""

from __future__ import annotations

import gc
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final, cast

import anyio
import jq

from benchmarks.figures import Figure, Spread, Target
from benchmarks.server import NOOP_ID, Ran, noop_spec
from jobworkerp_standalone.client import Client, connect
from jobworkerp_standalone.daemon import run_daemon
from jobworkerp_standalone.pb.jobworkerp.data import QueueType, ResponseType, ResultStatus, RunnerId, WorkerData
from jobworkerp_standalone.pb.jobworkerp.service import JobRequest
from jobworkerp_standalone.schema.messages import message_class
from jobworkerp_standalone.settings import load_settings

WORKFLOW: Final = 32_769
_COMMAND: Final = 1
_SETS, _COMMANDS, _BRANCHES = 1_000, 100, 50
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_ARGS: Final[Any] = message_class("jobworkerp.runner.WorkflowRunArgs")
_COMMAND_ARGS: Final[Any] = message_class("jobworkerp.runner.CommandArgs")
IN_DAEMON, IN_HELPER = ".n + 1", "reduce .n as $x (1; . + $x)"
"""The same, once within what may run in the daemon, once as a loop, which may not."""
_INLINE, _HELPER = Target(50), Target(250)
_TRUE: Final = {"run": {"shell": {"command": "/bin/true", "args": ["x"]}}}


def measure_workflow(folder: Path, rounds: int, waiting: int, say: Callable[[str], None]) -> list[Figure]:
    """Run workflows and what they are compared with in turn, in one process with their daemon."""
    return anyio.run(_measure, folder, rounds, waiting, say)


async def _measure(folder: Path, rounds: int, waiting: int, say: Callable[[str], None]) -> list[Figure]:
    async with _stage(folder, waiting) as client:
        figures = [await _ten_sets(client, rounds)]
        say("workflow: ten sets")
        figures.append(await _many_sets(client, rounds))
        say("workflow: many sets")
        figures.append(await _many_sets_in_helpers(client, rounds))
        say("workflow: many sets in helpers")
        figures.append(await _commands(client, rounds))
        say("workflow: commands")
        figures.append(await _fork(client))
        say("workflow: fork")
        figures.append(await _memory(client, waiting))
    return figures


async def _ten_sets(client: Client, rounds: int) -> Figure:
    args = _args({"do": [{f"t{number}": {"set": {"x": "${ .n + 1 }", "n": 1}}} for number in range(10)]})
    above: list[float] = []
    for _ in range(rounds):
        floor: list[float] = []
        ours: list[float] = []
        for _ in range(200):
            floor.append(await _timed(_enqueue(client, "noop", b"")))
            ours.append(await _timed(_enqueue(client, "flow", args)))
        above.append((median(ours) - median(floor)) * 1e3)
    return Figure(
        "a workflow of ten set tasks, DIRECT p50 above a job that does nothing", "ms", Spread.of(above), Target(3)
    )


async def _many_sets(client: Client, rounds: int) -> Figure:
    # processor time: neither waits for anything, and other programs do not count
    each = await _above_jq(client, rounds, IN_DAEMON, time.process_time)
    return Figure("processor time of one of 1,000 set tasks, above jq's own", "us", each, _INLINE)


async def _many_sets_in_helpers(client: Client, rounds: int) -> Figure:
    # the clock: what helpers spend is not in the processor time of this process, and the daemon waits for them
    each = await _above_jq(client, rounds, IN_HELPER, time.perf_counter)
    return Figure("one of 1,000 set tasks whose expressions run in a helper, above jq's own", "us", each, _HELPER)


async def _above_jq(client: Client, rounds: int, text: str, clock: Callable[[], float]) -> Spread:
    """Return what a task of a workflow of many takes by a clock, above bare jq with the same expression."""
    args = _args({"do": [{f"t{number}": {"set": {"n": f"${{ {text} }}"}}} for number in range(_SETS)]})
    bare: Any = cast("Any", jq).compile(text)
    await _enqueue(client, "flow", args)
    each: list[float] = []
    for _ in range(rounds):
        began = clock()
        await _enqueue(client, "flow", args)
        ours = clock()
        for number in range(_SETS):
            bare.input_text(json.dumps({"n": number})).all()
        each.append(((ours - began) - (clock() - ours)) / _SETS * 1e6)
    return Spread.of(each)


async def _commands(client: Client, rounds: int) -> Figure:
    args = _args({"do": [{f"t{number}": _TRUE} for number in range(_COMMANDS)]})
    job = _COMMAND_ARGS(command="/bin/true", args=["x"]).SerializeToString()
    ratios: list[float] = []
    for _ in range(rounds):
        ours = await _timed(_enqueue(client, "flow", args))
        began = time.perf_counter()
        for _ in range(_COMMANDS):
            await _enqueue(client, "command", job)
        ratios.append(ours / (time.perf_counter() - began))
    return Figure("100 COMMAND tasks in sequence / 100 direct jobs", "x", Spread.of(ratios), Target(1.2))


async def _fork(client: Client) -> Figure:
    branches = [{f"b{number}": {"wait": {"seconds": 1}}} for number in range(_BRANCHES)]
    took = await _timed(_enqueue(client, "flow", _args({"do": [{"f": {"fork": {"branches": branches}}}]})))
    return Figure("fork of 50 waits of 1 s", "s", Spread.of([took]), Target(1.2))


async def _memory(client: Client, waiting: int) -> Figure:
    tasks = [{"a": {"set": {"x": "${ .n }"}}}, {"b": {"wait": {"seconds": 3600}}}]
    args = _args({"do": tasks})
    await _enqueue(client, "flow", _args({"do": tasks[:1]}))
    gc.collect()
    before = _resident()
    jobs = [(await client.job.enqueue(JobRequest(worker_name="waiting", args=args))).id for _ in range(waiting)]
    await anyio.sleep(1)
    gc.collect()
    each = (_resident() - before) / waiting / 1024
    for job in jobs:
        if job is not None:
            await client.job.delete(job)
    return Figure(f"memory of each of {waiting} waiting workflows", "KiB", Spread.of([each]), Target(50))


@asynccontextmanager
async def _stage(folder: Path, slots: int) -> AsyncIterator[Client]:
    settings = load_settings(
        {
            "GRPC_ADDR": "127.0.0.1:0",
            "SQLITE_URL": f"sqlite://{folder}/workflows.sqlite3",
            "WORKER_CHANNELS": "many",
            "WORKER_CHANNEL_CONCURRENCIES": str(slots),
            "SHUTDOWN_GRACE_SEC": "0",
        }
    )
    async with run_daemon(settings, [noop_spec(Ran())]) as daemon, connect(str(daemon.addresses[0])) as client:
        for name, runner, direct, channel in (
            ("noop", NOOP_ID, True, None),
            ("flow", WORKFLOW, True, None),
            ("command", _COMMAND, True, None),
            ("waiting", WORKFLOW, False, "many"),
        ):
            await client.worker.create(
                WorkerData(
                    name=name,
                    runner_id=RunnerId(value=runner),
                    channel=channel,
                    queue_type=QueueType.NORMAL,
                    response_type=ResponseType.DIRECT if direct else ResponseType.NO_RESULT,
                )
            )
        yield client


async def _enqueue(client: Client, worker: str, args: bytes) -> None:
    reply = await client.job.enqueue(JobRequest(worker_name=worker, args=args))
    data = reply.result.data if reply.result is not None else None
    if data is None or data.status is not ResultStatus.SUCCESS:
        raise RuntimeError(f"a job of {worker} failed: {data.output if data is not None else None}")


async def _timed(call: Awaitable[None]) -> float:
    began = time.perf_counter()
    await call
    return time.perf_counter() - began


def _args(body: dict[str, Any]) -> bytes:
    document = {"dsl": "1.0.3", "namespace": "bench", "name": "flow", "version": "1.0.0"}
    return _ARGS(workflow_data=json.dumps({"document": document, **body}), input='{"n":1}').SerializeToString()


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
