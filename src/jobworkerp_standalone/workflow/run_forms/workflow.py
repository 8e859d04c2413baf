"""``run.workflow``: another workflow, by its document, or by the name under which it is known."""

from __future__ import annotations

from typing import Any, Final, cast

from jobworkerp_standalone.schema.messages import message_class
from jobworkerp_standalone.workflow.built_ins import inherited
from jobworkerp_standalone.workflow.child_jobs import Work, on_runner, result_of, worker_named
from jobworkerp_standalone.workflow.errors import Standard
from jobworkerp_standalone.workflow.json_writer import json_text
from jobworkerp_standalone.workflow.large_json import text_of, value_of
from jobworkerp_standalone.workflow.model.run_forms import RunWorkflow
from jobworkerp_standalone.workflow.model.tasks import RunTask
from jobworkerp_standalone.workflow.named import Identity, document_named
from jobworkerp_standalone.workflow.run_forms.words import Words
from jobworkerp_standalone.workflow.run_state import Status
from jobworkerp_standalone.workflow.state import Outcome, Spot, TaskState
from jobworkerp_standalone.workflow.workflow_run import WorkflowRun

_ARGS: Final[Any] = message_class("jobworkerp.runner.WorkflowRunArgs")
_RESULT: Final[Any] = message_class("jobworkerp.runner.WorkflowResult")


async def execute(run: WorkflowRun, state: TaskState, spot: Spot) -> Outcome:
    """Run it as a WORKFLOW job; everything that this task sees, the child sees too.

    The output of a document that is given is its result with ``output`` as JSON text; that of a workflow known by its
    name is the workflow's output.
    """
    form = cast("RunWorkflow", cast("RunTask", state.task).run)
    words = Words(run, state, spot, "/run/workflow")
    args = _ARGS(workflow_context=await text_of(inherited(spot)))
    if form.input is not None:
        given = await words.value(form.input, "input")
        args.input = given if isinstance(given, str) and form.name is None else await text_of(given)
    else:
        args.input = "{}" if form.name is None else await text_of(state.input)
    if form.execution_id is not None:
        args.execution_id = await words.text(form.execution_id, "executionId")
    work = await _work(run, form, words, args)
    result = await result_of(run, state, work)
    if result is None or cast("RunTask", state.task).returns == "none":
        return Outcome(state.input)
    end = _RESULT.FromString(result.output or b"")
    if form.name is not None:
        if end.status == Status.WAITING:
            raise Standard.RUNTIME.error(
                "A child workflow waits",
                f"the run {end.id} has no output yet: it waits behind {end.position}; run it by workflowUrl or "
                "workflowData, which tell that in status, or wait in this workflow",
            )
        return Outcome(await value_of(end.output))
    return Outcome(_shown(end))


async def _work(run: WorkflowRun, form: RunWorkflow, words: Words, args: Any) -> Work:
    if form.document is not None:
        args.workflow_data = form.document if isinstance(form.document, str) else json_text(form.document)
    elif form.data is not None:
        given = await words.value(form.data, "workflowData")
        args.workflow_data = given if isinstance(given, str) else json_text(given)
    elif form.url is not None:
        args.workflow_url = await words.text(form.url, "workflowUrl")
    elif form.name is not None:
        name = await words.text(form.name, "name")
        namespace = await words.text(form.namespace, "namespace") if form.namespace is not None else "default"
        version = await words.text(form.version, "version") if form.version is not None else "latest"
        found = await document_named(run.tools, Identity(namespace, name, version))
        if found.worker is not None:
            spec, method = await worker_named(run, found.worker, "run")
            return Work(found.worker, spec, method, args.SerializeToString())
        args.workflow_data = found.text
    worker, spec, method = await on_runner(run, "WORKFLOW", "run")
    return Work(worker, spec, method, args.SerializeToString())


def _shown(end: Any) -> dict[str, Any]:
    shown = {
        "id": end.id,
        "output": end.output,
        "position": end.position,
        "status": Status(end.status).name.capitalize(),
    }
    return {**shown, "errorMessage": end.error_message} if end.HasField("error_message") else shown
