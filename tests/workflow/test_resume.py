"""Who may go on with a run, and from where: what cannot be is refused before anything runs."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from grpclib.const import Status

from tests.support.house import eventually, refused
from tests.support.patience import PATIENCE_SEC
from tests.workflow.stage import WORKFLOW, Stage, open_stage

LONG = "do: [{a: {set: {x: 1}}}, {w: {wait: {hours: 1}}}]"
FAULTY = "do: [{a: {set: {x: 1}}}, {bad: {raise: {error: {type: 'https://x.org/e', status: 500}}}}]"
ASKING = "do: [{ask: {set: {x: 1}, then: wait}}, {bad: {raise: {error: {type: 'https://x.org/e', status: 500}}}}]"
AN_HOUR = {"type": 3, "interval": 3_600_000, "max_retry": 3}


@asynccontextmanager
async def with_far_retries(folder: Path) -> AsyncIterator[Stage]:
    """Start a daemon whose worker ``late`` tries again an hour later."""
    async with open_stage(folder) as stage:
        await stage.house.worker(
            "late", WORKFLOW, queue_type=1, broadcast_results=True, store_failure=True, retry_policy=AN_HOUR
        )
        yield stage


async def rows(stage: Stage) -> list[int]:
    """Return the jobs that have a row."""
    return [job.id for job in await stage.house.daemon.engine.store.listing(None, 0)]


async def faulted_once(stage: Stage, job_id: int) -> None:
    """Wait until a job has only its row left, in which it waits for its next attempt."""
    engine = stage.house.daemon.engine
    with anyio.fail_after(PATIENCE_SEC):
        while (row := await engine.store.find(job_id)) is None or row.retried == 0:
            pass
    await eventually(lambda: engine.live.get(job_id) is None)


class TestAJobThatHasNotEnded:
    async def test_waits_for_a_far_retry(self, tmp_path: Path) -> None:
        async with with_far_retries(tmp_path) as stage:
            job_id = await stage.start(FAULTY, {}, "late")
            await faulted_once(stage, job_id)
            async with refused(Status.FAILED_PRECONDITION, f"job {job_id} has not ended", "delete it"):
                await stage.resume(job_id)
            assert await rows(stage) == [job_id]
            await stage.house.delete(job_id)
            await stage.resume(job_id)

    async def test_is_run_by_another_daemon(self, tmp_path: Path) -> None:
        async with open_stage(tmp_path) as stage:
            job_id = await stage.start(LONG, {}, "kept")
            engine = stage.house.daemon.engine
            with anyio.fail_after(PATIENCE_SEC):
                while len(await engine.store.notes(f"job:{job_id}")) < 3:
                    pass
            async with open_stage(tmp_path, keep=True) as beside:
                async with refused(Status.FAILED_PRECONDITION, f"job {job_id} has not ended", "goes on by itself"):
                    await beside.resume(job_id)
                assert await rows(beside) == [job_id]

    async def test_goes_on_with_another_that_was_resumed(self, tmp_path: Path) -> None:
        """The process that made it is gone, and only its row knows with which run it goes on."""
        async with with_far_retries(tmp_path) as stage:
            job_id = await stage.start(ASKING, {}, "late")
            assert (await stage.result(job_id, "late")).status == "Waiting"
            await eventually(lambda: stage.house.daemon.engine.live.get(job_id) is None)
            second = await stage.resume(job_id)
            await faulted_once(stage, second)
        async with open_stage(tmp_path, keep=True) as stage:
            async with refused(Status.FAILED_PRECONDITION, f"job {second} goes on with job {job_id} already"):
                await stage.resume(job_id)
            await stage.house.delete(second)
            await stage.resume(job_id)


@pytest.mark.parametrize("checkpointing", [True, False])
async def test_a_position_of_an_execution_of_which_nothing_is_kept(
    stage: Stage, tmp_path: Path, checkpointing: bool
) -> None:
    ran = tmp_path / "ran"
    text: dict[str, Any] = {"do": [{"a": {"run": {"shell": f"echo a >> {ran}"}}}, {"b": {"set": {"y": 2}}}]}
    if checkpointing:
        text["checkpointing"] = {"enabled": True}
    end = await stage.run(text, {}, execution_id="never", from_checkpoint={"position": "/ROOT/do/0/a"})
    assert (end.job_status, "nothing is kept of execution 'never'" in end.text) == ("OTHER_ERROR", True), end
    assert not ran.exists(), "nothing ran"


async def test_a_checkpoint_without_a_position(stage: Stage) -> None:
    given = {"data": {"workflow": {"name": "flow", "input": "{}"}, "task": {"output": json.dumps({"x": 1})}}}
    end = await stage.run(LONG, {}, execution_id="e", from_checkpoint=given)
    assert (end.job_status, "position of from_checkpoint is missing" in end.text) == ("OTHER_ERROR", True), end
