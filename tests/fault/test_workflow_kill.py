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

from tests.fault.scene import command, until
from tests.support.processes import DaemonProcess
from tests.support.wire_client import WireClient, build, connect

WORKFLOW = 32_769
DURABLE = ["WITH_BACKUP", "DB_ONLY"]
TASKS = 20
SETTINGS = {"JOB_MAX_DELIVERIES": "1000", "WORKER_DEFAULT_CONCURRENCY": "4"}


def document(ran: Path) -> list[dict[str, Any]]:
    """Return 20 tasks, nested ones among them, that write down that they ran."""

    def task(name: str) -> dict[str, Any]:
        return {name: {"run": {"shell": {"command": "sh", "args": ["-c", f"echo {name} >> {ran}; sleep 0.02"]}}}}

    names = [f"t{number}" for number in range(TASKS)]
    return [
        *(task(name) for name in names[:6]),
        {"inner": {"do": [task(name) for name in names[6:10]]}},
        {"side": {"fork": {"branches": [task(name) for name in names[10:14]]}}},
        {"again": {"try": [task(name) for name in names[14:16]], "catch": {}}},
        *(task(name) for name in names[16:]),
        {"end": {"set": {"done": True}}},
    ]


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
            job_id = await start(client, flow(*document(ran)))
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


def flow(*tasks: Any) -> str:
    """Return the text of a workflow."""
    head = {"dsl": "1.0.3", "namespace": "t", "name": "n", "version": "1.0.0"}
    return json.dumps({"document": head, "do": list(tasks)})


async def start(client: WireClient, text: str) -> int:
    """Make a durable worker and start a workflow on it; return the id of its job."""
    await client.call(
        "WorkerService.Create",
        name="flow",
        runner_id={"value": WORKFLOW},
        queue_type=1,
        store_success=True,
        store_failure=True,
    )
    args = build("jobworkerp.runner.WorkflowRunArgs", workflow_data=text, input="{}").SerializeToString()
    return (await client.call("JobService.Enqueue", worker_name="flow", args=args, using="run")).id.value


@pytest.mark.parametrize(("gets_on", "ends"), [(True, 0), (False, 2)])
async def test_more_deaths_than_a_job_may_have(tmp_path: Path, gets_on: bool, ends: int) -> None:
    """A run that gets on each time goes on to its end; one that dies again and again at the same task is set aside."""
    ran, deaths = tmp_path / "ran", 4

    def task(number: int) -> dict[str, Any]:
        """Note that it began, then wait until it may go on."""
        gate = tmp_path / f"gate{number}"
        script = f"echo {number} >> {ran}; while [ ! -e {gate} ]; do sleep 0.05; done"
        return {f"t{number}": {"run": {"shell": {"command": "sh", "args": ["-c", script]}}}}

    daemon = DaemonProcess(tmp_path, JOB_MAX_DELIVERIES="3")
    try:
        async with connect(daemon.host, daemon.port) as client:
            job_id = await start(client, flow(*(task(number) for number in range(deaths + 1))))
        for number in range(deaths):
            await until(lambda number=number: len(_ran(ran)) > number or _status(tmp_path, job_id) is not None)
            if gets_on:
                (tmp_path / f"gate{number}").touch()
                await until(lambda number=number: f"t{number}" in committed(tmp_path / "jobs.sqlite3"))
            daemon.kill()
            daemon = DaemonProcess(tmp_path, JOB_MAX_DELIVERIES="3")
        (tmp_path / f"gate{deaths}").touch()
        await until(lambda: _status(tmp_path, job_id) is not None)
        assert _status(tmp_path, job_id) == ends
    finally:
        daemon.kill()


def _status(folder: Path, job_id: int) -> int | None:
    """Return how a job ended, once it has."""
    with closing(sqlite3.connect(f"file:{folder}/jobs.sqlite3?mode=ro", uri=True)) as connection:
        row = connection.execute("SELECT status FROM job_result WHERE job_id = ?", (job_id,)).fetchone()
    return row[0] if row is not None else None


async def test_nothing_stays_of_a_durable_child_that_is_started_once_more(tmp_path: Path) -> None:
    gate, database = tmp_path / "gate", tmp_path / "jobs.sqlite3"
    wait = {"w": {"run": {"shell": {"command": "sh", "args": ["-c", f"while [ ! -e {gate} ]; do sleep 0.05; done"]}}}}
    arguments = {"workflow_data": flow({"before": {"set": {"x": 1}}}, wait), "input": "{}"}
    child = {"name": "WORKFLOW", "arguments": arguments, "options": {"queueType": "WITH_BACKUP"}}
    daemon = DaemonProcess(tmp_path)
    try:
        async with connect(daemon.host, daemon.port) as client:
            job_id = await start(client, flow({"c": {"run": {"runner": child}}}))
        await until(lambda: "before" in committed(database))
        first = _runs(database)
        daemon.kill()
        daemon = DaemonProcess(tmp_path)
        await until(lambda: committed(database)["before"] == 1 and _runs(database) != first)
        gate.touch()
        await until(lambda: _status(tmp_path, job_id) == 0)
        await until(lambda: not _runs(database))
    finally:
        daemon.kill()


def _runs(database: Path) -> set[str]:
    """Return the runs of which anything is kept."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return {row[0] for row in connection.execute("SELECT run FROM job_note")}


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


@pytest.mark.parametrize("ends", ["kill term", "term kill", "kill kill term"])
async def test_a_child_that_never_got_a_slot_runs_once_however_often_its_daemon_ends(tmp_path: Path, ends: str) -> None:
    """Each life of the parent starts its children once more; those of earlier lives must not run beside them."""
    ran, gate, database = tmp_path / "ran", tmp_path / "gate", tmp_path / "jobs.sqlite3"
    settings = {"WORKER_CHANNELS": "busy", "WORKER_CHANNEL_CONCURRENCIES": "1", "SHUTDOWN_GRACE_SEC": "0"}

    def child(queue: str) -> dict[str, Any]:
        runner = {"name": "COMMAND", "arguments": {"command": "sh", "args": ["-c", f"echo {queue} >> {ran}"]}}
        return {queue: {"run": {"runner": {**runner, "options": {"queueType": queue, "channel": "busy"}}}}}

    daemon = DaemonProcess(tmp_path, **settings)
    try:
        async with connect(daemon.host, daemon.port) as client:
            await client.call(
                "WorkerService.Create", name="holder", runner_id={"value": 1}, queue_type=1, channel="busy"
            )
            hold = command(f"while [ ! -e {gate} ]; do sleep 0.05; done")
            holder = (await client.call("JobService.Enqueue", worker_name="holder", args=hold)).id.value
            await until(lambda: _rows(database, "running = 1") == {holder})
            parent = await start(client, flow({"c": {"fork": {"branches": [child(queue) for queue in DURABLE]}}}))
        seen = {holder, parent}
        for end in ends.split():
            await _all_held(database, seen)
            seen.update(_rows(database))
            daemon.kill() if end == "kill" else daemon.stop()
            daemon = DaemonProcess(tmp_path, **settings)
        await _all_held(database, seen)
        gate.touch()
        await until(lambda: not _rows(database))
        assert sorted(_ran(ran)) == sorted(DURABLE)
        assert _status(tmp_path, parent) == 0
    finally:
        daemon.kill()


async def _all_held(database: Path, seen: set[int]) -> None:
    """Wait until the parent has started its children once more and the daemon holds the old ones too."""
    await until(lambda: len(_rows(database) - seen) == len(DURABLE) and not _rows(database, "owner_id IS NULL"))


def _rows(database: Path, which: str = "1 = 1") -> set[int]:
    """Return the jobs that have a row."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return {row[0] for row in connection.execute(f"SELECT id FROM job WHERE {which}")}
