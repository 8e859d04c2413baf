"""The benchmark runs and tells what it should; how fast things are is not looked at."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.workflow import IN_DAEMON, IN_HELPER
from jobworkerp_standalone.workflow.expressions.jq_program import JqProgram
from jobworkerp_standalone.workflow.expressions.template import compile_template

CALLS = {"empty call (edge)", "empty call (bare grpclib)", "no-op NO_RESULT", "no-op DIRECT"}
COMMANDS = ("--help", "workflow check", "run of one set task", "job enqueue", "all-in-one until its first answer")

OF_A_SET_TASK = {
    "processor time of one of 1,000 set tasks, above jq's own": 50,
    "one of 1,000 set tasks whose expressions run in a helper, above jq's own": 250,
}


def measured(folder: Path, cases: str) -> tuple[dict[str, Any], str]:
    """Run some cases in their quick form; return the report as data and as text."""
    report = folder / "report.json"
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--only", cases, "--json", str(report)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(report.read_text()), run.stdout


def test_report(tmp_path: Path) -> None:
    told, shown = measured(tmp_path, "enqueue,direct")
    assert {timing["name"] for timing in told["timings"]} == CALLS
    for timing in told["timings"]:
        assert timing["calls"] > 0
        assert 0 < timing["p50_ms"]["median"] <= timing["p99_ms"]["median"]
    assert len(told["figures"]) == 2
    for figure in told["figures"]:
        assert figure["value"]["low"] <= figure["value"]["median"] <= figure["value"]["high"]
        assert figure["verdict"] in {"ok", "miss"}
        assert figure["name"].split(",")[0] in shown


def test_commands_are_compared_with_an_interpreter_that_does_nothing(tmp_path: Path) -> None:
    told, _ = measured(tmp_path, "start")
    figures = {figure["name"]: figure["value"]["median"] for figure in told["figures"]}
    for name in COMMANDS:
        spent, bare = figures[f"processor time of {name}"], figures["processor time of python -c pass"]
        assert figures[f"{name} / python -c pass"] == pytest.approx(spent / bare)  # of the one round
        assert spent > bare


def test_tasks_of_a_workflow_are_compared_with_jq_in_the_daemon_and_in_helpers(tmp_path: Path) -> None:
    told, _ = measured(tmp_path, "workflow")
    found = {figure["name"]: figure for figure in told["figures"]}
    assert {name: found[name]["target"]["limit"] for name in OF_A_SET_TASK} == OF_A_SET_TASK
    assert {found[name]["unit"] for name in OF_A_SET_TASK} == {"us"}


@pytest.mark.parametrize(("text", "in_daemon"), [(IN_DAEMON, True), (IN_HELPER, False)])
def test_expressions_of_these_tasks_run_where_the_figures_say(text: str, in_daemon: bool) -> None:
    (leaf,) = compile_template(f"${{ {text} }}").leaves
    assert isinstance(leaf.program, JqProgram)
    assert (leaf.program.cost is not None) == in_daemon
