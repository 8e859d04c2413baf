"""``for``: the same tasks for each item, one after another or side by side."""

from __future__ import annotations

from typing import cast

from jobworkerp_standalone.workflow.errors import Standard, WorkflowError
from jobworkerp_standalone.workflow.expressions.values import JSON, is_true
from jobworkerp_standalone.workflow.flow import execute_tasks, take_turns
from jobworkerp_standalone.workflow.json_writer import json_text
from jobworkerp_standalone.workflow.model.tasks import ForTask
from jobworkerp_standalone.workflow.model.values import Directive
from jobworkerp_standalone.workflow.side_by_side import side_by_side
from jobworkerp_standalone.workflow.state import Outcome, Spot, TaskState, Trail
from jobworkerp_standalone.workflow.workflow_run import WorkflowRun


async def execute(run: WorkflowRun, state: TaskState, spot: Spot) -> Outcome:
    """Run the body for each item of the array."""
    task = cast("ForTask", state.task)
    items = await run.value(task.in_, state, spot, state.input, "/for/in")
    if items is None:
        items = []
    if not isinstance(items, list):
        raise Standard.VALIDATION.error(
            "There is nothing to loop over", f"for.in gives {json_text(items)[:200]}, no array"
        ).at(f"{task.origin.pointer}/for/in")
    loop = _Loop(run, task, state, spot, items)
    return await (loop.side_by_side() if task.parallel else loop.in_order())


class _Loop:
    def __init__(self, run: WorkflowRun, task: ForTask, state: TaskState, spot: Spot, items: list[JSON]) -> None:
        self._run = run
        self._task = task
        self._state = state
        self._spot = spot
        self._items = items

    async def in_order(self) -> Outcome:
        """Each iteration begins with the output of the one before."""
        run, data = self._run, self._state.input
        before, first = run.progress.snapshot(self._spot.branch), 0
        if (done := run.progress.counted(self._spot.key, self._spot.branch)) is not None:
            first, data = done
        for number in range(first, len(self._items)):
            here = self._place(number, side_by_side=False)
            if not await self._goes_on(data, here):
                break
            outcome = await self._iteration(number, data, here)
            if outcome is not None and outcome.then is Directive.END:
                return outcome
            data = outcome.output if outcome is not None else data
            await run.progress.count(self._spot.key, number + 1, data, (self._spot.branch, before))
        return Outcome(data)

    async def side_by_side(self) -> Outcome:
        """Every iteration begins with the task's input; what it sets ends with it."""
        count = await self._wanted()
        if not count:
            return Outcome(self._state.input)
        ended: list[Outcome] = []

        async def one(number: int) -> tuple[Outcome | None, bool]:
            outcome = await self._iteration(number, self._state.input, self._place(number, side_by_side=True))
            over = outcome is not None and outcome.then is Directive.END
            if over and outcome is not None:
                ended.append(outcome)
            return outcome, over

        outcomes = await side_by_side(one, count, self._task.limit or self._run.tools.parallel_items)
        if ended:
            return ended[0]
        outputs = [outcome.output for outcome in outcomes if outcome is not None]
        return Outcome(await self._run.gathered(outputs, self._task))

    async def _wanted(self) -> int:
        """Return how many items come before the one at which ``while`` does not hold."""
        if self._task.while_ is None:
            return len(self._items)
        for number in range(len(self._items)):
            if not await self._goes_on(self._state.input, self._place(number, side_by_side=True)):
                return number
            await take_turns(self._run)
        return len(self._items)

    def _place(self, number: int, *, side_by_side: bool) -> Spot:
        values: dict[str, JSON] = {self._task.each: self._items[number], self._task.at: number}
        if side_by_side:
            return self._spot.beside(str(number), values)
        return self._spot.in_loop(str(number), values)

    async def _goes_on(self, data: JSON, here: Spot) -> bool:
        condition = self._task.while_
        return condition is None or is_true(await self._run.value(condition, self._state, here, data, "/while"))

    async def _iteration(self, number: int, data: JSON, here: Spot) -> Outcome | None:
        """Run the body once; None where it failed and the loop goes on."""
        try:
            return await execute_tasks(self._run, self._task.do, Trail(data), here)
        except WorkflowError as error:
            if self._task.on_error != "continue":
                raise
            await self._run.notices.item_failed(self._task, number, self._items[number], error)
            return None
