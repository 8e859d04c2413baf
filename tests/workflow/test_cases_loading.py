"""Group I: documents that are refused before they run, those that are not, and the forms in which they come."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from jobworkerp_standalone.schema.messages import message_class
from tests.workflow.stage import HEAD, Stage, ended

_ARGS: Any = message_class("jobworkerp.runner.WorkflowRunArgs")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("C96", "do: [{a: {set: {x: 1}, colour: red}}]", ("colour", "/do/0/a/colour")),
        ("C97", "do: [{a: {set: {x: 1}}, b: {set: {y: 1}}}]", ("one key", "'a', 'b'")),
        ("C98", "do: [{l: {for: {in: '${ [1] }', onError: continue}, do: [{t: {set: {x: 1}}}]}}]", ("stands beside",)),
        ("C99", "do: []", ("'do' is empty",)),
        ("C100", "schedule: {evry: {hours: 1}}\ndo: [{a: {set: {x: 1}}}]", ("evry", "did you mean 'every'")),
        ("C101", "document: {name: my_flow}\ndo: [{a: {set: {x: 1}}}]", ("my_flow", "write 'my-flow'")),
    ],
)
async def test_what_is_refused(stage: Stage, name: str, text: str, words: tuple[str, ...]) -> None:
    del name
    value = yaml.safe_load(text)
    end = await stage.run({**value, "document": {**HEAD, **value.get("document", {})}}, {})
    assert end.job_status == "OTHER_ERROR"
    assert all(word in end.text for word in words), end.text


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("C100 a schedule does not disturb a run", {"schedule": {"every": {"hours": 1}}}),
        ("C100 an unknown key at the top", {"other": 1}),
        ("C102 an unknown key in document", {"document": {"id": 1, **HEAD}}),
    ],
)
async def test_what_is_allowed(stage: Stage, name: str, more: dict[str, Any]) -> None:
    del name
    end = await stage.run({"do": [{"a": {"set": {"x": 1}}}], **more}, {})
    assert (end.status, end.output) == ("Completed", {"x": 1})


async def test_c103_yaml_json_and_tasks_alone(stage: Stage) -> None:
    tasks = {"do": [{"a": {"set": {"name": "${ $runtime.name }", "x": "${ .x }"}}}]}
    document = {"document": HEAD, **tasks}
    found = []
    for text in (json.dumps(document), yaml.safe_dump(document), json.dumps(tasks), yaml.safe_dump(tasks)):
        args = _ARGS(input='{"x":1}', workflow_data=text).SerializeToString()
        reply = await stage.house.enqueue(args, worker="flow", using="run")
        found.append(ended(reply.result.data, 0).output)
    whole, bare = {"name": "flow", "x": 1}, {"name": "default-workflow", "x": 1}
    assert found == [whole, whole, bare, bare]
