"""SIGKILL while events are published: whatever Publish has answered for is heard, once and in order."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from grpclib.exceptions import GRPCError, StreamTerminatedError

from tests.fault.scene import until
from tests.support.processes import DaemonProcess
from tests.support.wire_client import WireClient, build, connect

WORKFLOW = 32_769
RUNS = 6
FIRST = {"WORKER_DEFAULT_CONCURRENCY": "12", "JOB_MAX_DELIVERIES": "1000"}
LATER = {"WORKER_DEFAULT_CONCURRENCY": "2", "JOB_MAX_DELIVERIES": "1000"}
"""Most runs wait for a slot then, and hear all the same."""
TYPES = {"type": "t.[ab]"}
DOCUMENTS: Sequence[Any] = (
    [
        {"l": {"listen": {"to": {"any": [{"with": TYPES}], "until": {"one": {"with": {"type": "t.stop"}}}}}}},
    ],
    [
        {"w": {"listen": {"to": {"one": {"with": {"type": "t.go"}}}}}},
        {"l": {"listen": {"to": {"any": [{"with": TYPES}], "until": {"one": {"with": {"type": "t.stop"}}}}}}},
    ],
    [
        {
            "l": {
                "listen": {"to": {"any": [{"with": TYPES}], "until": {"one": {"with": {"type": "t.stop"}}}}},
                "foreach": {"do": [{"k": {"set": {"n": "${ $item }"}, "output": {"as": ".n"}}}]},
            }
        },
    ],
)
"""Listeners that take at once, later, and with something to do each time."""


async def start(client: WireClient) -> list[int]:
    """Start runs of each kind and return their jobs."""
    durable: dict[str, Any] = {"queue_type": 1, "store_success": True, "store_failure": True}
    await client.call("WorkerService.Create", name="flow", runner_id={"value": WORKFLOW}, **durable)
    jobs: list[int] = []
    for number in range(RUNS):
        head = {"dsl": "1.0.3", "namespace": "t", "name": "n", "version": "1.0.0"}
        text = json.dumps({"document": head, "do": DOCUMENTS[number % len(DOCUMENTS)]})
        args = build("jobworkerp.runner.WorkflowRunArgs", workflow_data=text, input="{}").SerializeToString()
        jobs.append((await client.call("JobService.Enqueue", worker_name="flow", args=args)).id.value)
    return jobs


class Publisher:
    """Publishes numbered events one after another and notes which were answered for."""

    def __init__(self) -> None:
        self.sent = 0
        self.answered: list[int] = []

    async def publish(self, daemon: DaemonProcess, rng: random.Random) -> None:
        """Publish until the daemon dies."""
        try:
            async with connect(daemon.host, daemon.port) as client:
                while True:
                    self.sent += 1
                    await send(client, f"t.{rng.choice('ab')}", self.sent)
                    self.answered.append(self.sent)
        except (OSError, GRPCError, StreamTerminatedError):
            return  # whether the last one was heard, nobody knows


async def send(client: WireClient, type_: str, data: Any = None) -> None:
    """Publish an event."""
    event = {"specversion": "1.0", "id": f"{type_}/{data}", "source": "urn:test", "type": type_, "data": data}
    await client.call("EventService.Publish", events=[json.dumps(event)])


def outputs(database: Path, jobs: Sequence[int]) -> dict[int, list[int]]:
    """Return what the runs that ended have heard."""
    result = build("jobworkerp.runner.WorkflowResult")
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT job_id, status, output FROM job_result").fetchall()
    assert all(status == 0 for _, status, _ in rows), rows
    return {job_id: json.loads(type(result).FromString(output).output) for job_id, _, output in rows if job_id in jobs}


async def has_begun(client: WireClient, job_id: int) -> None:
    """Wait until a run is told to have begun, from where on it hears."""
    method = "WorkflowEventService.Watch"
    async with client.open(method) as stream:
        await stream.send_message(client.request(method, None, {"job_id": {"value": job_id}}), end=True)
        assert client.reply(method, await stream.recv_message()).HasField("workflow_started")
        await stream.cancel()


async def one_round(folder: Path, rng: random.Random, kills: int) -> None:
    """Kill the daemon again and again while events are published, then let the runs end."""
    database, publisher = folder / "jobs.sqlite3", Publisher()
    daemon = DaemonProcess(folder, **FIRST)
    try:
        async with connect(daemon.host, daemon.port) as client:
            jobs = await start(client)
            for job_id in jobs:
                await has_begun(client, job_id)
        for _ in range(kills):
            before, wanted = len(publisher.answered), rng.randrange(1, 40)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(publisher.publish, daemon, rng)
                await until(lambda before=before, wanted=wanted: len(publisher.answered) >= before + wanted)
                daemon.kill()
            daemon = DaemonProcess(folder, **LATER)
        async with connect(daemon.host, daemon.port) as client:
            await send(client, "t.go")
            await send(client, "t.stop")
            await until(lambda: len(outputs(database, jobs)) == RUNS)
    finally:
        daemon.kill()
    for job_id, heard in outputs(database, jobs).items():
        assert heard == sorted(set(heard)), f"job {job_id} heard events twice or out of order: {heard}"
        assert set(heard) >= set(publisher.answered), f"job {job_id} missed {set(publisher.answered) - set(heard)}"
        assert max(heard) <= publisher.sent


async def test_no_event_that_was_answered_for_is_lost(tmp_path: Path) -> None:
    await one_round(tmp_path, random.Random(1), kills=3)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("number", range(20))
async def test_twenty_rounds_of_kills(tmp_path: Path, number: int) -> None:
    await one_round(tmp_path, random.Random(number), kills=6)
