"""``switch``: the case that matches decides what follows."""

from __future__ import annotations

from typing import cast

from jobworkerp_standalone.workflow.expressions.values import is_true
from jobworkerp_standalone.workflow.model.tasks import SwitchTask
from jobworkerp_standalone.workflow.pointers import escaped
from jobworkerp_standalone.workflow.state import Outcome, Spot, TaskState
from jobworkerp_standalone.workflow.workflow_run import WorkflowRun


async def execute(run: WorkflowRun, state: TaskState, spot: Spot) -> Outcome:
    """Pass the input on, with the directive of the first case whose condition holds, else of the one that has none."""
    task = cast("SwitchTask", state.task)
    for number, case in sorted(enumerate(task.cases), key=lambda each: each[1].when is None):
        place = f"/switch/{number}/{escaped(case.name)}"
        if case.when is None or is_true(await run.value(case.when, state, spot, state.input, f"{place}/when")):
            return Outcome(state.input, await run.directive(case.then, state, spot, state.input, f"{place}/then"))
    return Outcome(state.input)
