"""SIGKILL while an expression runs that never ends: its process does not outlive the daemon."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.fault.scene import until
from tests.support.processes import DaemonProcess
from tests.support.wire_client import build, connect

WORKFLOW = 32_769
NEVER_BY_ITSELF = {"WORKFLOW_EXPRESSION_TIMEOUT_MS": "3600000"}
BUSY_SEC = 0.2
ENDLESS = ("${ last(range(1e15)) }", "${ def f: f; f }", '${ [limit(1e9; repeat("a"))] | length }')


def document(text: str) -> str:
    """Return a workflow that evaluates an expression."""
    head = {"dsl": "1.0.3", "namespace": "t", "name": "n", "version": "1.0.0"}
    return json.dumps({"document": head, "do": [{"a": {"set": {"v": text}}}]})


def runs(process: psutil.Process) -> bool:
    """Return whether a process is more than an entry that nobody has read yet."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def busy(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Return those that have used some processor time."""
    return [each for each in processes if runs(each) and sum(each.cpu_times()[:2]) > BUSY_SEC]


@pytest.mark.parametrize("text", ENDLESS)
async def test_helpers_end_with_the_daemon(tmp_path: Path, text: str) -> None:
    daemon = DaemonProcess(tmp_path, **NEVER_BY_ITSELF)
    try:
        async with connect(daemon.host, daemon.port) as client:
            await client.call("WorkerService.Create", name="flow", runner_id={"value": WORKFLOW})
            args: Any = build("jobworkerp.runner.WorkflowRunArgs", workflow_data=document(text), input="{}")
            await client.call("JobService.Enqueue", worker_name="flow", args=args.SerializeToString())
            helpers: list[psutil.Process] = []

            def running() -> bool:
                """Whether the fork server, which may be busy too while it starts, has a helper that is."""
                helpers[:] = psutil.Process(daemon.pid).children(recursive=True)
                return len(helpers) == 2 and bool(busy(helpers[1:]))

            await until(running, "a helper is busy")
    finally:
        daemon.kill()
    await until(lambda: not any(map(runs, helpers)), "the helpers end")
