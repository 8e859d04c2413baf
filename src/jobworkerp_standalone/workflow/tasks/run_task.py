"""``run``: a job on a runner or worker, a shell command, a script, a container, another workflow."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache
from importlib import import_module
from typing import Final, cast

from jobworkerp_standalone.workflow.errors import WorkflowError
from jobworkerp_standalone.workflow.model.run_forms import (
    RunContainer,
    RunForm,
    RunRunner,
    RunScript,
    RunShell,
    RunWorker,
    RunWorkflow,
)
from jobworkerp_standalone.workflow.model.tasks import RunTask
from jobworkerp_standalone.workflow.state import Outcome, Spot, TaskState
from jobworkerp_standalone.workflow.workflow_run import WorkflowRun

_FORMS: Final[dict[type[RunForm], str]] = {
    RunRunner: "job",
    RunWorker: "job",
    RunShell: "shell",
    RunScript: "script",
    RunContainer: "container",
    RunWorkflow: "workflow",
}


async def execute(run: WorkflowRun, state: TaskState, spot: Spot) -> Outcome:
    """Do what the form of the task says."""
    form = cast("RunTask", state.task).run
    try:
        return await _form(type(form))(run, state, spot)
    except WorkflowError as error:
        name = form.form if isinstance(form, (RunRunner, RunWorker)) else _FORMS[type(form)]
        raise error.at(f"{state.task.origin.pointer}/run/{name}") from error.__cause__


@cache
def _form(kind: type[RunForm]) -> Callable[[WorkflowRun, TaskState, Spot], Awaitable[Outcome]]:
    return import_module(f"jobworkerp_standalone.workflow.run_forms.{_FORMS[kind]}").execute
