"""``run.runner``, ``run.function``, ``run.worker``: a job on a runner, or on a stored worker."""

from __future__ import annotations

from typing import cast

from jobworkerp_standalone.jobs.visible import last_line
from jobworkerp_standalone.workflow.child_jobs import Work, done, encoded, on_runner, worker_named
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.large_json import text_of
from jobworkerp_standalone.workflow.model.run_forms import RunRunner, RunWorker
from jobworkerp_standalone.workflow.model.tasks import RunTask
from jobworkerp_standalone.workflow.run_forms.output import Ended
from jobworkerp_standalone.workflow.run_forms.words import Words
from jobworkerp_standalone.workflow.state import Outcome, Spot, TaskState
from jobworkerp_standalone.workflow.workflow_run import WorkflowRun

_WORKFLOW_SOURCES = frozenset({"workflowUrl", "workflow_url", "workflowData", "workflow_data", "workflow_source"})


async def execute(run: WorkflowRun, state: TaskState, spot: Spot) -> Outcome:
    """Start the job and return its result as JSON."""
    form = cast("RunRunner | RunWorker", cast("RunTask", state.task).run)
    words = Words(run, state, spot, f"/run/{form.form}")
    key = "name" if form.form != "function" else "runnerName" if isinstance(form, RunRunner) else "workerName"
    name = await words.name(form.name, key)
    using = await words.name(form.using, "using") if form.using is not None else None
    arguments = await words.value(form.arguments, "arguments")
    if isinstance(form, RunRunner):
        settings = await words.value(form.settings, "settings") if form.settings is not None else None
        worker, spec, method = await on_runner(run, name, using, settings=settings, options=form.options)
        target = worker
    else:
        spec, method = await worker_named(run, name, using)
        target = name
    if spec.name == "WORKFLOW" and method.name == "run":
        arguments = await _for_workflow(arguments)
    args = await encoded(arguments, method.args_proto, "arguments")
    outcome = await done(run, state, Work(target, spec, method, args))
    if cast("RunTask", state.task).await_ and (ended := Ended.of_json(spec.name, outcome.output)) is not None:
        state.said = ended.complaint or last_line(ended.stdout)
    return outcome


async def _for_workflow(arguments: JSON) -> JSON:
    """Return arguments of the WORKFLOW runner: what names neither input nor document is the input as a whole."""
    if not isinstance(arguments, dict):
        return {"input": await text_of(arguments)}
    if "input" not in arguments and not _WORKFLOW_SOURCES & arguments.keys():
        return {"input": await text_of(arguments)}
    given = arguments.get("input", {})
    return {**arguments, "input": given if isinstance(given, str) else await text_of(given)}
