"""``fork``: branches side by side, all of them, or the first one that ends well."""

from __future__ import annotations

from typing import cast

from jobworkerp_standalone.workflow.errors import Standard, WorkflowError
from jobworkerp_standalone.workflow.flow import execute_task
from jobworkerp_standalone.workflow.model.tasks import ForkTask
from jobworkerp_standalone.workflow.model.values import Directive
from jobworkerp_standalone.workflow.side_by_side import side_by_side
from jobworkerp_standalone.workflow.state import Outcome, Spot, TaskState
from jobworkerp_standalone.workflow.workflow_run import WorkflowRun


async def execute(run: WorkflowRun, state: TaskState, spot: Spot) -> Outcome:
    """Run every branch on the task's input, with variables of its own; ``end`` in one of them ends all."""
    task = cast("ForkTask", state.task)
    branches = task.branches.tasks
    ended: list[Outcome] = []
    errors: dict[int, WorkflowError] = {}

    async def one(number: int) -> tuple[Outcome | None, bool]:
        beside = spot.beside(str(number))
        try:
            outcome = await execute_task(run, branches[number], state.input, beside, f"{beside.key}/0")
        except WorkflowError as error:
            if not task.compete:
                raise
            errors[number] = error
            return None, False
        if outcome.then is Directive.WAIT:
            raise Standard.CONFIGURATION.error(
                "The run cannot wait here", "then: wait is not possible in a branch of a fork"
            ).at(f"{branches[number].origin.pointer}/then")
        over = task.compete or outcome.then is Directive.END
        if over and not ended:
            ended.append(outcome)
        return outcome, over

    outcomes = await side_by_side(one, len(branches), len(branches))
    if ended:
        return Outcome(ended[0].output, Directive.END if ended[0].then is Directive.END else None)
    if task.compete:
        raise _all_failed([errors[number] for number in sorted(errors)])
    outputs = [outcome.output for outcome in outcomes if outcome is not None]
    return Outcome(await run.gathered(outputs, task))


def _all_failed(errors: list[WorkflowError]) -> WorkflowError:
    first = errors[0]
    return WorkflowError(first.type, first.status, "Every branch failed", "; ".join(map(str, errors)))
