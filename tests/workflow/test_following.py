"""Workflows that follow another job by ``next_workers``: what that job gave is their input."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest

from jobworkerp_standalone.schema.messages import message_class
from tests.support.house import COMMAND, PUPPET, eventually
from tests.support.wire_client import build
from tests.workflow.stage import REUSABLE, WORKFLOW, Stage, document, ended

HEARD = 'do: [{keep: {set: {heard: "${ $workflow.input }"}}}]'
FIRST = 'do: [{a: {set: {n: "${ .n + 1 }"}}}]'
_SETTINGS: Any = message_class("jobworkerp.runner.WorkflowRunnerSettings")
_REUSABLE: Any = message_class("jobworkerp.runner.ReusableWorkflowRunnerSettings")
_SEED: Any = message_class("jobworkerp.standalone.SeedWorkflowResult")
_ECHO = build("jobworkerp.runner.CommandArgs", command="echo", args=["hello"]).SerializeToString()


@pytest.fixture
def first() -> str:
    """Give a name of its own to the worker that begins: tests share a daemon."""
    return f"first-{uuid4().hex}"


async def follower(stage: Stage, runner: int = WORKFLOW) -> int:
    """Make a worker with a document of its own that says what it got."""
    text = document(HEARD)
    settings = _SETTINGS(workflow_data=text) if runner == WORKFLOW else _REUSABLE(json_data=text)
    kept = {"store_success": True, "store_failure": True, "runner_settings": settings.SerializeToString()}
    return await stage.house.worker(f"second-{uuid4().hex}", runner, **kept)


async def end_of(stage: Stage, worker_id: int) -> Any:
    """Return the one result of a worker, when all jobs have ended."""
    await eventually(lambda: len(stage.house.daemon.engine.live) == 0)
    found = (await stage.house.client.items("JobResultService.FindList", limit=100)).items
    (result,) = [each for each in found if each.data.worker_id.value == worker_id]
    return result.data


async def heard(stage: Stage, worker_id: int) -> Any:
    end = ended(await end_of(stage, worker_id), 0)
    assert end.status == "Completed", end
    return end.output["heard"]


async def test_the_result_of_a_runner_is_the_input_as_tasks_see_it(stage: Stage, first: str) -> None:
    second = await follower(stage)
    await stage.house.worker(first, COMMAND, response_type=1, next_workers=[{"value": second}])
    await stage.house.enqueue(_ECHO, first)
    got = await heard(stage, second)
    assert (got["stdout"], got["exitCode"]) == ("hello", 0)


@pytest.mark.parametrize("queue", [0, 1])
async def test_the_output_of_a_workflow_is_the_input(stage: Stage, first: str, queue: int) -> None:
    second = await follower(stage)
    await stage.worker(first, FIRST, next_workers=[{"value": second}], queue_type=queue)
    assert (await stage.run("", {"n": 1}, first)).output == {"n": 2}
    assert await heard(stage, second) == {"n": 2}


@pytest.mark.parametrize(("args", "got"), [(b"text", "did text"), (b'{"n":1}', 'did {"n":1}')])
async def test_a_result_without_a_schema_is_taken_as_a_text(stage: Stage, first: str, args: bytes, got: str) -> None:
    second = await follower(stage)
    await stage.house.worker(first, PUPPET, response_type=1, next_workers=[{"value": second}])
    await stage.house.enqueue(args, first)
    assert await heard(stage, second) == got


async def test_a_worker_without_a_document_gets_the_result_as_its_args(stage: Stage, first: str) -> None:
    second = await stage.house.worker(f"second-{uuid4().hex}", WORKFLOW, store_failure=True)
    await stage.house.worker(first, PUPPET, response_type=1, next_workers=[{"value": second}])
    await stage.house.enqueue(b"text", first)
    assert (await end_of(stage, second)).args == b"did text"


async def test_the_output_of_a_workflow_is_the_input_of_a_reusable_one(stage: Stage, first: str) -> None:
    second = await follower(stage, REUSABLE)
    await stage.worker(first, FIRST, next_workers=[{"value": second}])
    await stage.run("", {"n": 1}, first)
    end = await end_of(stage, second)
    assert json.loads(_SEED.FromString(end.output.items).output) == {"heard": {"n": 2}}


async def test_the_output_of_a_reusable_workflow_is_the_input(stage: Stage, first: str) -> None:
    second = await follower(stage)
    settings = _REUSABLE(json_data=document(FIRST)).SerializeToString()
    await stage.house.worker(
        first, REUSABLE, runner_settings=settings, response_type=1, next_workers=[{"value": second}]
    )
    args = build("jobworkerp.runner.ReusableWorkflowArgs", input='{"n":1}').SerializeToString()
    await stage.house.enqueue(args, first)
    assert await heard(stage, second) == {"n": 2}
