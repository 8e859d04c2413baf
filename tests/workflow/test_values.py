"""Values that cannot be written down: too large, nested too deeply, no UTF-8. They are errors of the task."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.workflow.cases import Case, Fault, expression, table
from tests.workflow.stage import HEAD, Stage, ended

HALF = json.dumps({"n": "\ud83d"})
TWICE = """
do:
  - first: {set: {v: some text}}
  - rounds:
      for: {in: "${ [range(30)] }"}
      do: [{twice: {set: {v: ["${ .v }", "${ .v }"]}}}]
"""
DEEP = """
do:
  - first: {set: {v: 0}}
  - rounds:
      for: {in: "${ [range(2000)] }"}
      do: [{deeper: {set: {v: ["${ .v }"]}}}]
"""
LOOP = 'do: [{f: {for: {in: "${ [range(400)] }"}, inParallel: true, do: [{s: {set: {v: "${ $workflow.input }"}}}]}}]'
WHOLE = {"document": HEAD, "do": [{"a": {"set": "${ . }"}}]}
BRANCHES = ", ".join(f"{{b{n}: {{set: {{v: '${{ . }}'}}}}}}" for n in range(6))


@table(
    Case("twice what was there, again and again", TWICE, {}, fault=expression("/do/1/rounds/do/0/twice/set", "larger")),
    Case(
        "what a parallel loop gathers",
        LOOP,
        "x" * 50_000,
        fault=Fault(500, "runtime", "/do/0/f", ("what its 400 parts gave is larger than",)),
    ),
    Case(
        "what the branches of a fork give",
        f"do: [{{f: {{fork: {{branches: [{BRANCHES}]}}}}}}]",
        ["x" * 3_000_000],
        fault=Fault(500, "runtime", "/do/0/f", ("what its 6 parts gave is larger than",)),
    ),
    Case("an output that is too deep", DEEP, {}, fault=Fault(500, "runtime", "/output", ("nested too deeply",))),
    Case(
        "a value for a program that is too deep",
        DEEP + '  - s: {run: {shell: {command: cat, stdin: "${ .v }"}}}',
        {},
        fault=Fault(500, "runtime", "/do/2/s", ("nested too deeply",)),
    ),
)
async def test_what_cannot_be_written_down(stage: Stage, case: Case) -> None:
    await case.holds(stage)


async def test_a_value_that_is_only_passed_on_may_be_larger(stage: Stage) -> None:
    given = ["x" * 20_000_000]
    document = {"do": [{"a": {"set": {"v": "${ . }"}}}, {"b": {"set": {"n": "${ .v[0] }"}}}]}
    assert (await stage.run(document, given)).output == {"n": given[0]}


async def test_large_values_are_not_read_or_written_in_one_go_on_the_event_loop(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, largest = threading.get_ident(), 0

    def noted(convert: Callable[..., Any], size: Callable[[Any, Any], int]) -> Callable[..., Any]:
        def converted(value: Any, *args: Any, **more: Any) -> Any:
            nonlocal largest
            made = convert(value, *args, **more)
            if threading.get_ident() == here:
                largest = max(largest, size(value, made))
            return made

        return converted

    document = {
        "do": [
            {"read": {"set": {"n": "${ .rows | length }", "rows": "${ .rows }"}}},
            {"child": {"run": {"workflow": {"workflowData": WHOLE, "input": "${ . }"}}}},
            {
                "shell": {
                    "run": {"shell": {"command": "wc -c", "stdin": "${ .output }"}},
                    "output": {"as": "${ $input }"},
                }
            },
        ]
    }
    args = Stage.args(document, {"rows": ["some text"] * 100_000}).SerializeToString()
    with monkeypatch.context() as patch:
        patch.setattr(json, "loads", noted(json.loads, lambda text, _: len(text)))
        patch.setattr(json, "dumps", noted(json.dumps, lambda _, text: len(text)))
        reply = await stage.house.enqueue(args, worker="flow", using="run")
    assert len(json.loads(ended(reply.result.data, 1).output["output"])["rows"]) == 100_000
    assert largest <= 100_000


@pytest.mark.parametrize(
    "task",
    [
        {"run": {"shell": {"command": 'echo "$1"', "arguments": ["${ .n }"]}}},
        {"run": {"shell": {"command": "cat", "stdin": "${ .n }"}}},
        {"run": {"shell": {"command": "env", "environment": {"A": "${ .n }"}}}},
        {"call": "http", "with": {"method": "post", "endpoint": "http://127.0.0.1:9/", "body": "${ .n }"}},
        {"call": "http", "with": {"method": "get", "endpoint": "http://127.0.0.1:9/", "headers": {"x": "${ .n }"}}},
        {"call": "http", "with": {"method": "get", "endpoint": "http://127.0.0.1:9/", "query": {"x": "${ .n }"}}},
        {"call": "http", "with": {"method": "get", "endpoint": "http://127.0.0.1:9/{n}"}},
    ],
    ids=["arguments", "stdin", "environment", "body", "headers", "query", "uri"],
)
async def test_half_a_surrogate_pair_that_has_to_leave_is_an_error_of_the_task(
    stage: Stage, task: dict[str, Any]
) -> None:
    caught = {"set": {"status": "${ $lost.status }", "at": "${ $lost.instance }"}}
    document = {"do": [{"t": {"try": [{"b": task}], "catch": {"as": "lost", "do": [{"h": caught}]}}}]}
    end = await stage.run(document, HALF)
    assert (end.status, end.output) == ("Completed", {"status": 400, "at": "/do/0/t/try/0/b"}), end


async def test_half_a_surrogate_pair_as_data_is_data(stage: Stage) -> None:
    document = {"do": [{"a": {"set": {"v": "${ .n }"}}}]}
    assert (await stage.run(document, HALF)).output == {"v": "\ud83d"}
