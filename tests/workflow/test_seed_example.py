"""The example of the first README (C104), byte for byte, through every runner, with no channel configured."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from jobworkerp_standalone.schema.messages import message_class
from tests.support.house import STATUS
from tests.workflow.stage import INLINE, REUSABLE, WORKFLOW, Stage, open_stage
from tests.workflow.test_runners import seed

EXAMPLE = (Path(__file__).parent / "ls-test.yaml").read_text()
_RESULT: Any = message_class("jobworkerp.runner.WorkflowResult")
_COMMAND_ARGS: Any = message_class("jobworkerp.runner.CommandArgs")
_COMMAND: Any = message_class("jobworkerp.runner.CommandResult")


def _args(kind: str, given: str) -> bytes:
    fields: dict[str, Any] = {"input": given}
    if kind != "ReusableWorkflowArgs":
        fields["workflow_data"] = EXAMPLE
    return message_class(f"jobworkerp.runner.{kind}")(**fields).SerializeToString()


@pytest.fixture
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """Give a daemon with the default channel alone."""
    nothing = {"WORKER_CHANNELS": "", "WORKER_CHANNEL_CONCURRENCIES": "", "WORKER_DEFAULT_CONCURRENCY": "2"}
    async with open_stage(tmp_path_factory.mktemp("home"), keep=False, **nothing) as opened:
        settings: Any = message_class("jobworkerp.runner.ReusableWorkflowRunnerSettings")(json_data=EXAMPLE)
        await opened.house.worker("inline", INLINE, response_type=1)
        await opened.house.worker("reusable", REUSABLE, response_type=1, runner_settings=settings.SerializeToString())
        yield opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a directory with made-up entries."""
    made = tmp_path / "made up"
    for name in ("data", "docs", "d", "other", "Dark"):
        (made / name).mkdir(parents=True)
    return made


RUNNERS = [
    ("inline", "InlineWorkflowArgs", INLINE),
    ("reusable", "ReusableWorkflowArgs", REUSABLE),
    ("flow", "WorkflowRunArgs", WORKFLOW),
]


@pytest.mark.parametrize(("worker", "kind", "runner"), RUNNERS, ids=[each[0] for each in RUNNERS])
async def test_the_example_lists_and_descends(stage: Stage, folder: Path, worker: str, kind: str, runner: int) -> None:
    reply = (await stage.house.enqueue(_args(kind, str(folder)), worker=worker)).result.data
    assert reply.status == STATUS["SUCCESS"], reply.output.items
    result = _RESULT.FromString(reply.output.items) if runner == WORKFLOW else seed(reply.output.items)
    assert result.status == 0, result.output
    rows = (await stage.house.client.items("JobResultService.FindList")).items
    names = [row.data.worker_name.partition("_")[0] for row in rows]
    assert names.count("ListWorker") == 1
    assert _descended(rows) == ["/d", "/data", "/docs"]
    listed = next(row for row in rows if row.data.worker_name.startswith("ListWorker_"))
    entries = _COMMAND.FromString(listed.data.output.items).stdout
    assert sorted(entries.split("\n")) == ["Dark", "d", "data", "docs", "other"]
    assert "workflow" in stage.house.daemon.engine.catalog.channels
    assert not [
        each.data.name
        for each in (await stage.house.client.items("WorkerService.FindList")).items
        if each.data.name.startswith("ListWorker")
    ]


@pytest.mark.parametrize(("worker", "kind", "runner"), RUNNERS, ids=[each[0] for each in RUNNERS])
async def test_the_example_with_the_root(stage: Stage, folder: Path, worker: str, kind: str, runner: int) -> None:
    reply = (await stage.house.enqueue(_args(kind, "/"), worker=worker)).result.data
    assert reply.status == STATUS["SUCCESS"], reply.output.items
    rows = (await stage.house.client.items("JobResultService.FindList")).items
    wanted = sorted(str(entry) for entry in _entries("/") if entry.name.startswith("d"))
    assert _descended(rows) == wanted != []


async def test_its_first_task_gives_an_object(stage: Stage, folder: Path) -> None:
    args = message_class("jobworkerp.runner.WorkflowRunArgs")(workflow_data=EXAMPLE, input=str(folder))
    answer = await stage.house.client.items(
        "JobService.EnqueueForStream", worker_name="flow", args=args.SerializeToString(), using="run"
    )
    first: Any = _RESULT.FromString(answer.items[0].data)
    assert json.loads(first.output) == {"files": ["Dark", "d", "data", "docs", "other"]}
    assert first.position == "/ROOT/do/0/ListWorker"


def _descended(rows: list[Any]) -> list[str]:
    """Return what the jobs of the loop were to list."""
    inner = [row.data for row in rows if row.data.worker_name.startswith("ListWorkerInner_")]
    return sorted(place for each in inner for place in _COMMAND_ARGS.FromString(each.args).args)


def _entries(place: str) -> list[Path]:
    return [entry for entry in Path(place).iterdir() if not entry.name.startswith(".")]
