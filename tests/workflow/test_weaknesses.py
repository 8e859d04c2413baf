"""Weaknesses of the reference that the groups of cases do not look at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.house import eventually
from tests.workflow.cases import Case, expression, table
from tests.workflow.stage import Stage, open_stage


@table(
    Case(
        "a loop's item beats a variable of the same name",
        """
        do:
          - s: {set: {item: outer}}
          - loop: {for: {in: "${ [1] }"}, do: [{t: {set: {seen: "${ $item }"}}}]}
          - after: {set: {seen: "${ .seen }", item: "${ $item }"}}
        """,
        {},
        {"seen": 1, "item": "outer"},
    ),
    Case(
        "the place of an error after one that was caught",
        """
        do:
          - t: {try: [{bad: {set: {v: '${ error("x") }'}}}], catch: {do: [{h: {set: {x: 1}}}]}}
          - f: {fork: {branches: [{ok: {set: {x: 1}}}, {nay: {do: [{in: {set: {v: '${ error("y") }'}}}]}}]}}
        """,
        {},
        fault=expression("/do/1/f/fork/branches/1/nay/do/0/in/set", "y"),
    ),
    Case(
        "then of a composite",
        "do: [{a: {do: [{i: {set: {i: 1}}}], then: c}}, {b: {set: {b: 1}}}, {c: {set: {c: 1}}}]",
        {},
        {"c": 1},
    ),
)
async def test_language(stage: Stage, case: Case) -> None:
    await case.holds(stage)


async def test_a_schema_in_a_file_is_enforced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "id.json").write_text(json.dumps({"type": "object", "required": ["id"]}))
    async with open_stage(tmp_path, keep=False) as stage:
        text = "input: {schema: {resource: {endpoint: id.json}}}\ndo: [{a: {set: {ok: true}}}]"
        assert (await stage.run(text, {"id": 1})).output == {"ok": True}
        wrong = await stage.run(text, {})
        assert (wrong.error["type"].rpartition("/")[2], wrong.job_status) == ("validation", "OTHER_ERROR")
        (tmp_path / "id.json").write_text(json.dumps({"type": "object", "required": ["key"]}))
        assert (await stage.run(text, {"key": 1})).output == {"ok": True}, "the file has changed"
        (tmp_path / "id.json").unlink()
        gone = await stage.run(text, {"key": 1})
        assert (gone.error["type"].rpartition("/")[2], gone.error["instance"]) == ("configuration", "/input")
        assert gone.job_status != "OTHER_ERROR", "that may pass, so it may be tried again"


async def test_the_default_limit_of_a_task_can_be_set(tmp_path: Path) -> None:
    async with open_stage(tmp_path, keep=False, WORKFLOW_TASK_DEFAULT_TIMEOUT_SEC="1") as stage:
        end = await stage.run("do: [{a: {run: {shell: sleep 3600}}}]", {})
        assert end.error["status"] == 408
        # what has no work of its own has no such limit
        assert (await stage.run("do: [{a: {do: [{w: {wait: PT1.2S}}]}}]", {"n": 1})).output == {"n": 1}


async def test_variables_that_the_environment_may_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEMO_VAR", "ok")
    async with open_stage(tmp_path, keep=False, WORKFLOW_ENV_ALLOW="DEMO_*") as stage:
        end = await stage.run('do: [{a: {set: {v: "${ env.DEMO_VAR }", hidden: "${ env.HOME }"}}}]', {})
        assert end.output == {"v": "ok", "hidden": None}


async def test_hundreds_of_waiting_workflows_are_ended(tmp_path: Path) -> None:
    channel = {"WORKER_CHANNELS": "narrow", "WORKER_CHANNEL_CONCURRENCIES": "200"}
    async with open_stage(tmp_path, keep=False, **channel) as stage:
        await stage.house.worker("many", 32_769, channel="narrow", broadcast_results=True)
        jobs = [await stage.start("do: [{w: {wait: PT1H}}]", {}, "many") for _ in range(200)]
        for job_id in jobs:
            assert await stage.house.delete(job_id)
        for job_id in jobs:
            assert (await stage.result(job_id, "many")).job_status == "CANCELLED"


@pytest.mark.parametrize("options", [None, {}, {"responseType": "NO_RESULT"}])
async def test_options_that_are_left_out_are_those_of_no_options_at_all(
    stage: Stage, options: Any, tmp_path: Path
) -> None:
    go_on = tmp_path / "go on"
    script = f"until test -e '{go_on}'; do sleep 0.02; done; echo hi"
    runner = {"name": "COMMAND", "arguments": {"command": "sh", "args": ["-c", script]}}
    asked = runner if options is None else {**runner, "options": options}
    job_id = await stage.start({"do": [{"a": {"run": {"runner": asked}, "output": {"as": ".stdout"}}}]})
    await eventually(lambda: len(stage.house.daemon.engine.live) == 2)
    (child,) = (live.job for live in stage.house.daemon.engine.live.all() if live.job.id != job_id)
    rules = child.rules
    assert (rules.store_success, rules.store_failure, rules.broadcast_results) == (False, True, True)
    go_on.touch()
    # the task waits all the same, whatever others are answered
    assert (await stage.result(job_id)).output == "hi"


async def test_positions_do_not_depend_on_how_a_loop_runs(stage: Stage) -> None:
    told: list[list[str]] = []
    for side_by_side in (False, True):
        loop = {"for": {"in": "${ [1, 2] }"}, "inParallel": side_by_side, "do": [{"t": {"set": {"x": 1}}}]}
        job_id = await stage.start({"do": [{"loop": loop}]})
        await stage.result(job_id)
        events = await stage.events(job_id)
        told.append(sorted(each.event.task_started.position for each in events if each.event.HasField("task_started")))
    assert told[0] == told[1]
    assert told[0].count("/ROOT/do/0/loop/do/0/t") == 2
