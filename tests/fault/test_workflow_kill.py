"""SIGKILL in the middle of a durable workflow: it ends after the restart, and no committed task runs again."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.fault.scene import until
from tests.support.processes import DaemonProcess
from tests.support.wire_client import build, connect

WORKFLOW = 32_769
TASKS = 20
SETTINGS = {"JOB_MAX_DELIVERIES": "1000", "WORKER_DEFAULT_CONCURRENCY": "4"}


def document(ran: Path) -> dict[str, Any]:
    """Return a workflow of 20 tasks, nested ones among them, that write down that they ran."""

    def task(name: str) -> dict[str, Any]:
        return {name: {"run": {"shell": {"command": "sh", "args": ["-c", f"echo {name} >> {ran}; sleep 0.02"]}}}}

    names = [f"t{number}" for number in range(TASKS)]
    return {
        "do": [
            *(task(name) for name in names[:6]),
            {"inner": {"do": [task(name) for name in names[6:10]]}},
            {"side": {"fork": {"branches": [task(name) for name in names[10:14]]}}},
            {"again": {"try": [task(name) for name in names[14:16]], "catch": {}}},
            *(task(name) for name in names[16:]),
            {"end": {"set": {"done": True}}},
        ]
    }


def committed(database: Path) -> Counter[str]:
    """Return the names of tasks that the store knows to have ended."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT data FROM job_note WHERE key LIKE '/%'").fetchall()
    places = [str(json.loads(row[0]).get("at", "")) for row in rows]
    return Counter(place.rpartition("/")[2] for place in places)


async def one_round(folder: Path, rng: random.Random) -> None:
    """Start the workflow, kill the daemon until it has ended, and look at what ran."""
    ran, database = folder / "ran", folder / "jobs.sqlite3"
    daemon = DaemonProcess(folder, **SETTINGS)
    done_before: list[tuple[Counter[str], int]] = []
    try:
        async with connect(daemon.host, daemon.port) as client:
            await client.call(
                "WorkerService.Create",
                name="flow",
                runner_id={"value": WORKFLOW},
                queue_type=1,
                store_success=True,
                store_failure=True,
            )
            text = json.dumps(
                {"document": {"dsl": "1.0.3", "namespace": "t", "name": "n", "version": "1.0.0"}, **document(ran)}
            )
            args = build("jobworkerp.runner.WorkflowRunArgs", workflow_data=text, input="{}").SerializeToString()
            job_id = (await client.call("JobService.Enqueue", worker_name="flow", args=args)).id.value
        lines = 0
        while True:
            wanted = lines + rng.randrange(2, 10)
            await until(lambda wanted=wanted: len(_ran(ran)) >= wanted or _ended(database, job_id))
            if _ended(database, job_id):
                break
            daemon.kill()
            lines = len(_ran(ran))
            done_before.append((committed(database), lines))
            daemon = DaemonProcess(folder, **SETTINGS)
    finally:
        daemon.kill()
    names = _ran(ran)
    assert set(names) == {f"t{number}" for number in range(TASKS)}
    for done, at in done_before:
        again = set(names[at:]) & set(done)
        assert not again, f"{again} ran again although they were committed"
    assert len(names) <= TASKS + 4 * len(done_before)


def _ran(file: Path) -> list[str]:
    return file.read_text().split() if file.exists() else []


def _ended(database: Path, job_id: int) -> bool:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT status, output FROM job_result WHERE job_id = ?", (job_id,)).fetchall()
    assert all(row[0] == 0 for row in rows), rows
    return bool(rows)


async def test_a_killed_daemon_goes_on_from_the_last_checkpoint(tmp_path: Path) -> None:
    await one_round(tmp_path, random.Random(1))


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("number", range(50))
async def test_fifty_rounds_of_kills(tmp_path: Path, number: int) -> None:
    await one_round(tmp_path, random.Random(number))


@pytest.mark.parametrize("queue", ["NORMAL", "WITH_BACKUP", "DB_ONLY"])
async def test_a_job_that_is_waited_for_is_started_once_by_the_run_that_begins_anew(tmp_path: Path, queue: str) -> None:
    """A durable child has a row of its own: it must not run beside the one that its parent starts once more."""
    ran, gate = tmp_path / "ran", tmp_path / "gate"
    command = f"echo $$ >> {ran}; while [ ! -e {gate} ]; do sleep 0.05; done"
    runner = {"name": "COMMAND", "arguments": {"command": "sh", "args": ["-c", command]}}
    options = {"queueType": queue, "storeFailure": True}
    text = {
        "document": {"dsl": "1.0.3", "namespace": "t", "name": "flow", "version": "1.0.0"},
        "do": [{"a": {"run": {"runner": {**runner, "options": options}}}}, {"b": {"set": {"done": True}}}],
    }
    daemon = DaemonProcess(tmp_path)
    try:
        async with connect(daemon.host, daemon.port) as client:
            await client.call("WorkerService.Create", name="flow", runner_id={"value": WORKFLOW}, queue_type=1)
            args = build("jobworkerp.runner.WorkflowRunArgs", workflow_data=json.dumps(text), input="{}")
            await client.call("JobService.Enqueue", worker_name="flow", args=args.SerializeToString(), using="run")
            await until(ran.exists)
        daemon.signal(signal.SIGKILL)
        daemon.wait()
        daemon = DaemonProcess(tmp_path)
        await until(lambda: len(ran.read_text().split()) > 1)
        gate.touch()
        async with connect(daemon.host, daemon.port) as client:
            while (await client.call("JobService.Count")).total:
                pass
        assert len(ran.read_text().split()) == 2
    finally:
        daemon.kill()
