"""What every task may have, where the task is a list of others: seen where a wrong result would show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.workflow.cases import Case, table
from tests.workflow.stage import Stage

AROUND = "output: {as: '${ {out: .n} }'}, export: {as: '${ {kept: .out} }'}, then: last"
REST = """
  - passed: {set: {wrong: true}}
  - last: {set: {got: "${ . }", kept: "${ $context.kept }"}}
"""
LOOP = "for: {each: i, in: '${ [1, 2, 3] }'}, do: [{add: {set: {n: '${ (.n // 0) + $i }'}}}]"
FAILING = """try: [{bad: {if: .fails, set: {x: '${ error("x") }'}}}, {ok: {set: {n: 1}}}]"""
TRY = f"{FAILING}, catch: {{do: [{{h: {{set: {{n: 2}}}}}}]}}"
AGAIN = """
do:
  - t:
      try:
        - count: {set: {n: "${ (.n // 0) + 1 }", tries: "${ $tries + 1 }"}}
        - inner: {do: [{bad: {if: "${ $tries < $good }", set: {v: '${ error("try \\($tries)") }'}}}]}
      catch: {retry: {delay: PT0S, limit: {attempt: {count: 2}}}}
  - after: {raise: {error: {type: "https://garden.example/errors/dry", status: 500}}}
"""


@table(
    Case("do", f"do:\n  - a: {{do: [{{s: {{set: {{n: 4}}}}}}], {AROUND}}}{REST}", {}, {"got": {"out": 4}, "kept": 4}),
    Case("for", f"do:\n  - a: {{{LOOP}, {AROUND}}}{REST}", {}, {"got": {"out": 6}, "kept": 6}),
    Case("try", f"do:\n  - a: {{{TRY}, {AROUND}}}{REST}", {}, {"got": {"out": 1}, "kept": 1}),
    Case("catch", f"do:\n  - a: {{{TRY}, {AROUND}}}{REST}", {"fails": True}, {"got": {"out": 2}, "kept": 2}),
)
async def test_output_export_and_then_of(stage: Stage, case: Case) -> None:
    await case.holds(stage)


@pytest.mark.parametrize("marked", [True, False], ids=["checkpoint", "none"])
@pytest.mark.parametrize("kind", ["do", "for", "try"])
async def test_a_run_goes_on_behind_a_checkpoint_of(stage: Stage, tmp_path: Path, kind: str, marked: bool) -> None:
    ran, go_on = tmp_path / "ran", tmp_path / "go on"
    steps: list[dict[str, Any]] = [{"pay": {"run": {"shell": f"echo paid >> '{ran}'"}}}, {"s": {"set": {"n": 7}}}]
    tasks: dict[str, dict[str, Any]] = {
        "do": {"do": steps},
        "for": {"for": {"in": "${ [1] }"}, "do": steps},
        "try": {"try": steps, "catch": {}},
    }
    task = {**tasks[kind], "output": {"as": "${ {out: .n} }"}, "checkpoint": marked}
    check = {"run": {"shell": {"command": "test", "args": ["-e", str(go_on)], "treatNonzeroAsError": True}}}
    last = {"set": {"got": "${ $workflow.input + {out: .out} }"}}
    text = {
        "checkpointing": {"enabled": True},
        "do": [{"first": task}, {"check": {**check, "output": {"as": "${ $input }"}}}, {"last": last}],
    }
    first = await stage.start(text, {"of": 1})
    assert (await stage.result(first)).error["instance"] == "/do/1/check/run/shell"
    go_on.touch()
    if not marked:
        with pytest.raises(Exception, match=f"job {first}"):
            await stage.resume(first)
        return
    end = await stage.result(await stage.resume(first))
    assert (end.status, end.output) == ("Completed", {"got": {"of": 1, "out": 7}})
    assert ran.read_text().split() == ["paid"], "what is behind the checkpoint is not done again"


async def test_places_do_not_tell_which_attempt_it_was(stage: Stage) -> None:
    job_id = await stage.start(AGAIN, {}, workflow_context={"tries": 0, "good": 9})
    end = await stage.result(job_id)
    bad = "/do/0/t/try/1/inner/do/0/bad"
    assert (end.error["instance"], "try 3" in end.text) == (f"{bad}/set", True), "the last attempt's error"
    events = [each.event for each in await stage.events(job_id)]
    begun = [each.task_started.position for each in events if each.HasField("task_started")]
    assert begun.count(f"/ROOT{bad}") == 3
    assert set(begun) - {"/ROOT"} == {
        "/ROOT/do/0/t",
        "/ROOT/do/0/t/try/0/count",
        "/ROOT/do/0/t/try/1/inner",
        f"/ROOT{bad}",
    }


async def test_the_place_of_an_error_after_a_retry(stage: Stage) -> None:
    end = await stage.run(AGAIN, {}, workflow_context={"tries": 0, "good": 2})
    assert (end.error["status"], end.error["instance"]) == (500, "/do/1/after")
