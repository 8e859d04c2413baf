"""The built-in variables of expressions, as a running workflow gives them, and what else its expressions see."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Final

from jobworkerp_standalone import __version__
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.expressions.variables import (
    Variables,
    moment,
    runtime_value,
    task_value,
    workflow_value,
)
from jobworkerp_standalone.workflow.run_state import RunState
from jobworkerp_standalone.workflow.state import Spot, TaskState

BuiltIn = Callable[[], JSON]
NO_MORE: Final[Mapping[str, BuiltIn]] = {}


def variables(run: RunState, state: TaskState | None, spot: Spot, more: Mapping[str, BuiltIn] = NO_MORE) -> Variables:
    """Return what expressions of a task see; with no task, those of the workflow itself.

    Args:
        run: the run.
        state: the task.
        spot: where it runs.
        more: further names that nothing can hide, such as ``secrets`` where they may be seen.
    """
    return Variables(_BuiltIns(run, state, spot, more), spot.locals, spot.branch.variables)


class _BuiltIns(Mapping[str, BuiltIn]):
    """What makes the values of built-in names, itself made only for those that are asked for."""

    __slots__ = ("_more", "_run", "_spot", "_state")

    def __init__(self, run: RunState, state: TaskState | None, spot: Spot, more: Mapping[str, BuiltIn]) -> None:
        self._run = run
        self._state = state
        self._spot = spot
        self._more = more

    def __getitem__(self, name: str) -> BuiltIn:
        if name in self._more:
            return self._more[name]
        if name == "task" and self._state is None:
            raise KeyError(name)
        return partial(_GIVEN[name], self._run, self._state, self._spot)

    def __iter__(self) -> Iterator[str]:
        yield from dict.fromkeys((*self._more, *(name for name in _GIVEN if self._state is not None or name != "task")))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def inherited(spot: Spot) -> dict[str, JSON]:
    """Return what a child workflow takes over: everything but what its own engine gives."""
    return {**spot.branch.variables, **spot.locals}


def _context(run: RunState, state: TaskState | None, spot: Spot) -> JSON:
    """What was exported last. Before that: the workflow's input, with the record of the run as the reference has it."""
    if spot.branch.exported:
        return spot.branch.context
    _, started_at = moment(run.started_at)
    record: dict[str, JSON] = {
        "id": run.id,
        "name": run.workflow.name,
        "input": run.input,
        "status": run.status.name.capitalize(),
        "started_at": started_at,
        "output": state.output if state is not None else run.output,
        "position": {"path": ["ROOT", *(part for part in run.position.split("/") if part)]},
    }
    given = spot.branch.context
    if isinstance(given, dict):
        return {**record, **given}
    return record if given is None else given


def _workflow(run: RunState, _state: TaskState | None, _spot: Spot) -> JSON:
    return workflow_value(run.id, _plain(run.workflow.definition), run.input, run.started_at)


def _task(_run: RunState, state: TaskState | None, spot: Spot) -> JSON:
    """Within an extension: the task that is extended, with the members of its definition."""
    if spot.extended is not None:
        value = _task_value(spot.extended)
        return {**spot.extended.task.definition, **value} if isinstance(value, dict) else value
    assert state is not None, "there is no task outside of tasks"
    return _task_value(state)


def _task_value(state: TaskState) -> JSON:
    """Return the DSL's descriptor, whose input and output are the raw ones, with the reference's names for them."""
    data = {
        "raw_input": state.raw_input,
        "raw_output": state.raw_output,
        "input": state.raw_input,
        "output": state.raw_output,
    }
    task = state.task
    return task_value(task.name, task.origin.pointer, _plain(task.definition), data, state.started_at)


def _runtime(run: RunState, _state: TaskState | None, _spot: Spot) -> JSON:
    return runtime_value(run.workflow.name, __version__, _plain(run.workflow.metadata))


def _input(run: RunState, state: TaskState | None, _spot: Spot) -> JSON:
    return state.input if state is not None else run.input


def _output(run: RunState, state: TaskState | None, _spot: Spot) -> JSON:
    return state.output if state is not None else run.output


def _authorization(_run: RunState, state: TaskState | None, _spot: Spot) -> JSON:
    return state.authorization if state is not None else None


def _plain(value: Mapping[str, JSON]) -> JSON:
    return value if isinstance(value, dict) else dict(value)


_GIVEN: Final[Mapping[str, Callable[[RunState, TaskState | None, Spot], JSON]]] = {
    "context": _context,
    "workflow": _workflow,
    "task": _task,
    "runtime": _runtime,
    "input": _input,
    "output": _output,
    "authorization": _authorization,
}
