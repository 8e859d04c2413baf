"""``run.runner``, ``run.function``, ``run.worker``: a job on a runner, or on a stored worker."""

from __future__ import annotations

from typing import cast

from jobworkerp_standalone.workflow.child_jobs import Work, done, encoded, on_runner, worker_named
from jobworkerp_standalone.workflow.errors import Standard
from jobworkerp_standalone.workflow.expressions.template import Template
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.json_writer import json_text
from jobworkerp_standalone.workflow.model.run_forms import RunRunner, RunWorker
from jobworkerp_standalone.workflow.model.tasks import RunTask
from jobworkerp_standalone.workflow.state import Outcome, Spot, TaskState
from jobworkerp_standalone.workflow.workflow_run import WorkflowRun

_WORKFLOW_SOURCES = frozenset({"workflowUrl", "workflow_url", "workflowData", "workflow_data", "workflow_source"})


async def execute(run: WorkflowRun, state: TaskState, spot: Spot) -> Outcome:
    """Start the job and return its result as JSON."""
    form = cast("RunRunner | RunWorker", cast("RunTask", state.task).run)
    seen = _Seen(run, state, spot, f"/run/{form.form}")
    key = "name" if form.form != "function" else "runnerName" if isinstance(form, RunRunner) else "workerName"
    name = await seen.name(form.name, key)
    using = await seen.name(form.using, "using") if form.using is not None else None
    arguments = await seen.value(form.arguments, "arguments")
    if isinstance(form, RunRunner):
        settings = await seen.value(form.settings, "settings") if form.settings is not None else None
        worker, spec, method = await on_runner(run, name, using, settings=settings, options=form.options)
        target = worker
    else:
        spec, method = await worker_named(run, name, using)
        target = name
    if spec.name == "WORKFLOW" and method.name == "run":
        arguments = _for_workflow(arguments)
    args = await encoded(arguments, method.args_proto, "arguments")
    return await done(run, state, Work(target, spec, method, args))


class _Seen:
    def __init__(self, run: WorkflowRun, state: TaskState, spot: Spot, place: str) -> None:
        self._run = run
        self._state = state
        self._spot = spot
        self._place = place

    async def value(self, template: Template, name: str) -> JSON:
        return await self._run.value(template, self._state, self._spot, self._state.input, f"{self._place}/{name}")

    async def name(self, template: Template, name: str) -> str:
        value = await self.value(template, name)
        if not isinstance(value, str) or not value:
            raise Standard.VALIDATION.error(f"{name} is no name", f"it is {json_text(value)[:200]}").at(
                f"{self._state.task.origin.pointer}{self._place}/{name}"
            )
        return value


def _for_workflow(arguments: JSON) -> JSON:
    """Return arguments of the WORKFLOW runner: what names neither input nor document is the input as a whole."""
    if not isinstance(arguments, dict):
        return {"input": json_text(arguments)}
    if "input" not in arguments and not _WORKFLOW_SOURCES & arguments.keys():
        return {"input": json_text(arguments)}
    given = arguments.get("input", {})
    return {**arguments, "input": given if isinstance(given, str) else json_text(given)}
