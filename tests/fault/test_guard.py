"""SIGKILL while programs run: none of them outlives the process that started it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest

from tests.fault.scene import DB_ONLY, NORMAL, Client, Traces, daemon, until
from tests.support.patience import PATIENCE_SEC
from tests.support.processes import DaemonProcess, guards
from tests.support.program import Program, document
from tests.support.wire_client import build

WORKFLOW = 32_769
PLUGIN = """
import subprocess
from dataclasses import dataclass
from jobworkerp_standalone.plugin import Runner

@dataclass
class Args:
    script: str

@dataclass
class Result:
    code: int

class Shell(Runner):
    def run(self, args: Args) -> Result:
        return Result(subprocess.run(["sh", "-c", args.script]).returncode)
"""


def deaf(folder: Path, name: str = "began") -> str:
    """Return a script that ignores SIGTERM, and has two children, one of which leads a process group of its own."""
    children = "sleep 1000 & timeout 1000 sleep 1000 &"
    return f"trap : TERM; {children} echo x > {folder}/{name}; while :; do sleep 0.1; done"


def runner(name: str, arguments: dict[str, Any], **options: Any) -> dict[str, Any]:
    return {"run": {"runner": {"name": name, "arguments": arguments, "options": options}}}


def python(script: str) -> str:
    return f"import subprocess; subprocess.run(['sh', '-c', {script!r}])"


def mcp(command: str, *arguments: str) -> dict[str, Any]:
    transport = {"stdio": {"command": command, "arguments": arguments}}
    return {"call": "mcp", "with": {"method": "tools/list", "transport": transport}}


KINDS: dict[str, Callable[[str], dict[str, Any]]] = {
    "COMMAND": lambda script: runner("COMMAND", {"command": "sh", "args": ["-c", script]}),
    "COMMAND elsewhere": lambda script: runner("COMMAND", {"command": "sh", "args": ["-c", script], "workingDir": "/"}),
    "shell": lambda script: {"run": {"shell": {"command": script}}},
    "script": lambda script: {"run": {"script": {"language": "python", "code": python(script)}}},
    "warm Python": lambda script: runner("PYTHON_COMMAND", {"scriptContent": python(script)}, useStatic=True),
    "plugin": lambda script: runner("Shell", {"script": script}),
    "MCP server": lambda script: mcp("sh", "-c", script),
}
"""A task that runs a shell script, for each way to start a program."""


def alive(process: psutil.Process) -> bool:
    """Whether a process is more than an entry that nobody has read yet."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def lives(pid: int) -> bool:
    """Whether there is such a process."""
    return psutil.pid_exists(pid) and alive(psutil.Process(pid))


def family(pid: int) -> list[psutil.Process]:
    """Return all processes below one."""
    return psutil.Process(pid).children(recursive=True)


async def until_gone(processes: list[psutil.Process]) -> None:
    assert processes
    try:
        await until(lambda: not any(map(alive, processes)), "what was started ends")
    finally:
        for each in filter(alive, processes):
            each.kill()


@asynccontextmanager
async def stage(folder: Path) -> AsyncIterator[tuple[DaemonProcess, Client]]:
    """Start a daemon with a plugin and a worker for workflows."""
    (folder / "plugins").mkdir(exist_ok=True)
    (folder / "plugins" / "shell.py").write_text(PLUGIN)
    patient = {"MCP_CONNECTION_TIMEOUT_SECS": "600", "MCP_TRANSPORT_START_TIMEOUT_SECS": "600"}
    async with daemon(folder, PLUGINS_RUNNER_DIR=str(folder / "plugins"), **patient) as (process, client):
        await client.wire.call("WorkerService.Create", name="flow", runner_id={"value": WORKFLOW})
        yield process, client


async def start(client: Client, task: dict[str, Any]) -> None:
    """Enqueue a workflow of one task."""
    text = document(f"- only: {json.dumps(task)}")
    args = build("jobworkerp.runner.WorkflowRunArgs", workflow_data=text, input="{}")
    await client.wire.call("JobService.Enqueue", worker_name="flow", args=args.SerializeToString())


@pytest.mark.parametrize("kind", KINDS)
async def test_no_program_outlives_a_killed_daemon(tmp_path: Path, traces: Traces, kind: str) -> None:
    async with stage(tmp_path) as (process, client):
        await start(client, KINDS[kind](deaf(tmp_path)))
        await until(lambda: traces.text("began"), "the program has begun")
        await until(lambda: sum(each.name() == "timeout" for each in family(process.pid)) == 1)
        started = family(process.pid)
        process.kill()
        await until_gone(started)


async def test_a_guard_that_was_killed_is_replaced(tmp_path: Path, traces: Traces) -> None:
    async with stage(tmp_path) as (process, client):
        await start(client, KINDS["shell"](deaf(tmp_path, "earlier")))
        await until(lambda: traces.text("earlier"))
        (first,) = guards(process.pid)
        first.kill()
        await until(lambda: guards(process.pid) not in ([], [first]), "another guard")
        await start(client, KINDS["shell"](deaf(tmp_path, "later")))
        await until(lambda: traces.text("later"))
        assert any("has ended: another one is started" in line for line in process.lines)
        started = family(process.pid)
        process.kill()
        await until_gone(started)


async def test_a_guard_that_was_stopped_is_replaced_and_ends_what_ran_before(tmp_path: Path, traces: Traces) -> None:
    async with stage(tmp_path) as (process, client):
        await start(client, KINDS["shell"](deaf(tmp_path)))
        await until(lambda: traces.text("began"))
        (first,) = guards(process.pid)
        first.suspend()
        await until(lambda: guards(process.pid) not in ([], [first]), "another guard")
        started = family(process.pid)
        process.kill()
        await until_gone(started)


@pytest.mark.parametrize("programs", [5, 100, 300])
async def test_nothing_is_left_of_a_daemon_killed_while_it_starts_one_program_after_the_other(
    tmp_path: Path, traces: Traces, programs: int
) -> None:
    script = f"echo x >> {tmp_path}/began; [ -e {tmp_path}/stay ] || exit 0; while :; do sleep 0.1; done"
    found: list[psutil.Process] = []
    async with daemon(tmp_path) as (process, client), anyio.create_task_group() as tasks:
        await client.worker("w", queue_type=NORMAL)
        for _ in range(programs * 2):
            tasks.start_soon(client.enqueue, "w", script)
        await until(lambda: len(traces.text("began").split()) >= programs)
        (tmp_path / "stay").touch()
        found = guards(process.pid)
        process.kill()
        tasks.cancel_scope.cancel()
    await until_gone(found)
    assert traces.processes() == []


async def test_a_daemon_that_stops_leaves_no_guard(tmp_path: Path) -> None:
    async with daemon(tmp_path) as (process, client):
        assert family(process.pid) == [], "none is there before it has something to guard"
        assert (await client.wire.call("WorkerService.Create", name="w", runner_id={"value": 1})).id.value
        assert (await client.direct("w", "exit 0")).status == 0
        found = guards(process.pid)
        assert len(found) == 1
        assert process.stop() == 0
        await until_gone(found)


async def test_a_durable_job_that_runs_again_does_not_find_its_program(tmp_path: Path, traces: Traces) -> None:
    script = f"echo $$ >> {tmp_path}/started; exec sleep 1000"
    async with daemon(tmp_path) as (process, client):
        await client.worker("w", queue_type=DB_ONLY)
        await client.enqueue("w", script)
        await until(lambda: len(traces.started) == 1)
        process.kill()
    async with daemon(tmp_path) as (process, _):
        await until(lambda: len(traces.started) == 2)
        first, second = map(int, traces.text("started").split())
        await until(lambda: not lives(first), "the program of the first run is gone")
        assert lives(second)


async def test_what_an_ended_program_left_behind_stays(tmp_path: Path, traces: Traces) -> None:
    async with daemon(tmp_path) as (process, client):
        await client.worker("w")
        left = f"exec > {os.devnull} 2>&1; echo $$ > {tmp_path}/left; read line < {tmp_path}/gate; {traces.mark(1)}"
        with traces.gate() as let_go:
            assert (await client.direct("w", f"sh -c '{left}' & exit 0")).status == 0
            await until(lambda: traces.text("left"))
            found = guards(process.pid)
            process.kill()
            await until_gone(found)
            let_go()
            await until(lambda: traces.ran[1] == 1)


# ---------------------------------------------------------------- daemons inside of other programs


EMBEDDING = """
import asyncio, os, signal, sys, time
from jobworkerp_standalone import JobWorkerp
from jobworkerp_standalone.runners.guard.guard import Guard

script, began, way = sys.argv[1:]

async def main():
    async with JobWorkerp() as jw, asyncio.TaskGroup() as tasks:
        tasks.create_task(jw.run("COMMAND", {"command": "sh", "args": ["-c", script]}))
        while not os.path.exists(began):
            await asyncio.sleep(0.01)
        if way == "forked" and not os.fork():
            os.setsid()
            time.sleep(1000)
        print("ready", flush=True)

def die(self, leader):
    while not os.path.exists(began):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)

if way == "at once":
    Guard.note = die
asyncio.run(main())
"""


@contextmanager
def embedding(folder: Path, way: str) -> Iterator[subprocess.Popen[str]]:
    """Start a program with a daemon inside of it that runs another one."""
    words = [sys.executable, "-W", "ignore", "-c", EMBEDDING, deaf(folder), str(folder / "began"), way]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            yield process
        finally:
            process.kill()


def ready(process: subprocess.Popen[str]) -> None:
    """Wait until it says that its program runs."""
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"


async def test_no_program_outlives_a_program_with_a_daemon_inside(tmp_path: Path) -> None:
    with embedding(tmp_path, "alone") as process:
        ready(process)
        started = family(process.pid)
        process.kill()
        await until_gone(started)


async def test_a_fork_of_the_program_with_a_daemon_inside_keeps_nothing_alive(tmp_path: Path) -> None:
    with embedding(tmp_path, "forked") as process:
        ready(process)
        started = family(process.pid)
        (fork,) = (each for each in started if EMBEDDING in each.cmdline())
        try:
            process.kill()
            await until_gone([each for each in started if each != fork])
            assert alive(fork)
        finally:
            fork.kill()


async def test_nor_does_one_whose_start_was_not_told_any_more(tmp_path: Path, traces: Traces) -> None:
    with embedding(tmp_path, "at once") as process:
        assert process.wait(PATIENCE_SEC) == -signal.SIGKILL
        assert traces.text("began")
        await until(lambda: traces.processes() == [], "the program ends")


async def test_no_program_outlives_a_killed_run(tmp_path: Path, traces: Traces) -> None:
    program = Program(tmp_path)
    program.write("flow.yml", document(f"- only: {json.dumps(KINDS['shell'](deaf(tmp_path)))}"))
    with program.started("run", "flow.yml") as process:
        await until(lambda: traces.text("began"))
        started = family(process.pid)
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE_SEC)
        await until_gone(started)
