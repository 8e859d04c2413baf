"""What the kinds of tasks do: one module for each, named after the keyword.

Its coroutine function ``execute`` is given the run, the state of the task (whose ``input`` is the transformed one) and
the place for what runs inside, and returns the raw output, with a directive where the task itself decides what follows.
A module is imported when the first task of its kind runs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache
from importlib import import_module

from jobworkerp_standalone.workflow.model.tasks import Task, kind_of
from jobworkerp_standalone.workflow.state import Outcome, Spot, TaskState
from jobworkerp_standalone.workflow.workflow_run import WorkflowRun

Body = Callable[[WorkflowRun, TaskState, Spot], Awaitable[Outcome]]


def body_of(task: Task) -> Body:
    """Return what does the work of a task."""
    return _body(kind_of(task))


@cache
def _body(kind: str) -> Body:
    return import_module(f"{__name__}.{kind}_task").execute
