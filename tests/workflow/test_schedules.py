"""``schedule``: a worker that is made from a document runs by itself."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest

from jobworkerp_standalone.schema.messages import message_class
from tests.workflow.stage import Stage, document, open_stage

_ARGS: Any = message_class("jobworkerp.runner.CreateWorkflowArgs")


async def create(stage: Stage, name: str, schedule: Any, command: str = "true") -> str:
    """Make a worker of a document with a schedule; return what was said."""
    text = document({"schedule": schedule, "do": [{"run": {"run": {"shell": {"command": command}}}}]})
    args = _ARGS(workflow_data=text, name=name)
    reply = await stage.house.enqueue(args.SerializeToString(), worker="flow", using="create")
    return reply.result.data.output.items.decode("utf-8", "replace")


async def worker(stage: Stage, name: str) -> Any:
    """Return a worker as clients see it."""
    return (await stage.house.client.call("WorkerService.FindByName", name=name)).data.data


async def lines(path: Path, count: int) -> list[str]:
    """Wait for so many lines in a file."""
    with anyio.fail_after(15):
        while True:
            file = anyio.Path(path)
            found = (await file.read_text()).splitlines() if await file.exists() else []
            if len(found) >= count:
                return found
            await anyio.sleep(0.02)


async def test_every_starts_at_once_and_goes_on(tmp_path: Path) -> None:
    async with open_stage(tmp_path, JOB_QUEUE_FETCH_INTERVAL="50") as stage:
        log = tmp_path / "every"
        await create(stage, "often", {"every": {"milliseconds": 200}}, f"echo x >> {log}")
        assert len(await lines(log, 3)) >= 3
        made = await worker(stage, "often")
        assert (made.periodic_interval, made.periodic_from_end) == (200, False)


async def test_a_period_that_no_worker_can_have_is_refused(tmp_path: Path) -> None:
    async with open_stage(tmp_path) as stage:
        for name, schedule in (("every", {"every": "P50D"}), ("after", {"after": "P280000Y"})):
            assert "above 4294967295 ms (49 days)" in await create(stage, name, schedule)
        assert (await stage.house.client.items("WorkerService.FindList")).items, "the list can be read"


async def test_after_counts_from_the_end_of_a_run(tmp_path: Path) -> None:
    async with open_stage(tmp_path, JOB_QUEUE_FETCH_INTERVAL="50") as stage:
        log = tmp_path / "after"
        await create(stage, "after", {"after": {"milliseconds": 300}}, f"date +%s.%N >> {log}; sleep 0.4")
        began = [float(line) for line in await lines(log, 3)]
        assert all(later - earlier >= 0.7 for earlier, later in pairwise(began))
        assert (await worker(stage, "after")).periodic_from_end


async def test_cron(stage: Stage) -> None:
    began = time.time() * 1000
    await create(stage, "monthly", {"cron": "0 0 1 * *"})
    assert (await worker(stage, "monthly")).cron == "0 0 1 * *"
    waiting = [each.job for each in stage.house.daemon.engine.live.all() if each.job.recurring]
    rows = await stage.house.daemon.engine.store.of_worker(
        (await stage.house.client.call("WorkerService.FindByName", name="monthly")).data.id.value
    )
    assert [job.run_after_ms > began for job in [*waiting, *rows]] == [True]


async def test_deleting_the_worker_ends_its_schedule(tmp_path: Path) -> None:
    async with open_stage(tmp_path, JOB_QUEUE_FETCH_INTERVAL="50") as stage:
        log = tmp_path / "log"
        await create(stage, "often", {"every": {"milliseconds": 100}}, f"echo x >> {log}")
        await lines(log, 1)
        found = (await stage.house.client.call("WorkerService.FindByName", name="often")).data
        await stage.house.client.call("WorkerService.Delete", value=found.id.value)
        with anyio.fail_after(10):
            while any(  # noqa: ASYNC110 - nothing tells that a job has left
                each.job.recurring for each in stage.house.daemon.engine.live.all()
            ):
                await anyio.sleep(0.02)


async def test_a_document_without_a_schedule_does_not_run_by_itself(stage: Stage) -> None:
    text = document({"do": [{"a": {"set": {"x": 1}}}]})
    args = _ARGS(workflow_data=text, name="plain")
    await stage.house.enqueue(args.SerializeToString(), worker="flow", using="create")
    assert not (await worker(stage, "plain")).periodic_interval


@pytest.mark.parametrize(
    ("schedule", "word"),
    [
        ({"on": {"one": {"with": {"type": "t.a"}}}}, "schedule.on"),
        ({"every": {"milliseconds": 1}}, "periodic_interval"),
    ],
)
async def test_a_schedule_that_a_worker_cannot_have_is_refused(stage: Stage, schedule: Any, word: str) -> None:
    assert word in await create(stage, "never", schedule)
    assert not (await stage.house.client.call("WorkerService.FindByName", name="never")).HasField("data")
