"""What the kinds of tasks do: one module for each, named after the keyword.

Its coroutine function ``execute`` is given the run, the state of the task (whose ``input`` is the transformed one) and
the place for what runs inside, and returns the raw output, with a directive where the task itself decides what follows.
A module is imported when the first task of its kind runs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from jobworkerp_standalone.workflow.errors import Standard
from jobworkerp_standalone.workflow.model.tasks import Task
from jobworkerp_standalone.workflow.state import Outcome, Spot, TaskState

if TYPE_CHECKING:
    from jobworkerp_standalone.workflow.workflow_run import WorkflowRun

Body = Callable[["WorkflowRun", TaskState, Spot], Awaitable[Outcome]]


def kind_of(task: Task) -> str:
    """Return the keyword of a task's kind: ``set``, ``for``, ``run``..."""
    return _keyword(type(task))


def body_of(task: Task) -> Body:
    """Return what does the work of a task.

    Raises:
        WorkflowError: nothing does.
    """
    return _body(type(task))


@cache
def _keyword(kind: type[Task]) -> str:
    return kind.__name__.removesuffix("Task").lower()


@cache
def _body(kind: type[Task]) -> Body:
    module = f"{__name__}.{_keyword(kind)}_task"
    if find_spec(module) is None:
        raise Standard.RUNTIME.error(
            "Not available", f"{_keyword(kind)} tasks are not available in this version", status=501
        )
    return import_module(module).execute
