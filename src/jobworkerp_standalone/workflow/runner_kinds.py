"""The runners of workflows: WORKFLOW, and the older INLINE_WORKFLOW and REUSABLE_WORKFLOW."""

from __future__ import annotations

from typing import Any, Final

from jobworkerp_standalone.jobs.errors import BadInput, Fatal, Retryable
from jobworkerp_standalone.runners.base import Call, Runner, Send
from jobworkerp_standalone.runners.host import Host
from jobworkerp_standalone.runners.messages import args_of, settings_of
from jobworkerp_standalone.schema.messages import message_class
from jobworkerp_standalone.workflow.checkpoint import Checkpoint
from jobworkerp_standalone.workflow.create import create_worker
from jobworkerp_standalone.workflow.documents import Source, context_of, document_of
from jobworkerp_standalone.workflow.errors import WorkflowError
from jobworkerp_standalone.workflow.json_writer import json_text
from jobworkerp_standalone.workflow.results import result_message, seed_result
from jobworkerp_standalone.workflow.resume import Beginning
from jobworkerp_standalone.workflow.run_state import Status
from jobworkerp_standalone.workflow.workflow_job import Shared, WorkflowJob
from jobworkerp_standalone.workflow.workflow_run import WorkflowRun

_SETTINGS: Final[Any] = message_class("jobworkerp.runner.WorkflowRunnerSettings")
_RUN_ARGS: Final[Any] = message_class("jobworkerp.runner.WorkflowRunArgs")
_INLINE_ARGS: Final[Any] = message_class("jobworkerp.runner.InlineWorkflowArgs")
_REUSABLE_SETTINGS: Final[Any] = message_class("jobworkerp.runner.ReusableWorkflowRunnerSettings")
_REUSABLE_ARGS: Final[Any] = message_class("jobworkerp.runner.ReusableWorkflowArgs")


def workflow(host: Host) -> Runner:
    """Return a WORKFLOW runner."""
    return WorkflowRunner(host.shared(Shared))


def inline(host: Host) -> Runner:
    """Return an INLINE_WORKFLOW runner."""
    return InlineRunner(host.shared(Shared))


def reusable(host: Host) -> Runner:
    """Return a REUSABLE_WORKFLOW runner."""
    return ReusableRunner(host.shared(Shared))


class WorkflowRunner(Runner):
    """Runs the document of its settings, or that of the job; makes workers from documents."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._source = Source()
        self._context: dict[str, Any] = {}

    async def load(self, settings: bytes) -> None:
        """Read the document of the settings, if they have one."""
        message = _settings_of(_SETTINGS, settings)
        self._context = await context_of(message, "the settings")
        self._source = await document_of(message, self._shared.sources)

    async def run(self, call: Call) -> bytes:
        """Run a workflow to its end, or create a worker.

        Raises:
            BadInput: document or arguments cannot be used.
            Retryable: the run faulted; the text is the error as JSON.
        """
        if call.method == "create":
            return await create_worker(call, self._shared)
        run = await self._execute(call, None)
        _raise_fault(run)
        return result_message(run)

    async def stream(self, call: Call, send: Send) -> None:
        """Run a workflow and send where it stands after each task; the last item says how it ended."""
        run = await self._execute(call, send)
        await send(result_message(run))
        _raise_fault(run)

    async def _execute(self, call: Call, send: Send | None) -> WorkflowRun:
        args = args_of(_RUN_ARGS, call.args)
        context = {**await context_of(args, "the args"), **self._context}
        source = await document_of(args, self._shared.sources)
        begun = _beginning(
            source if source.document is not None else self._source,
            context,
            "workflow_data or workflow_url, in the args or the settings",
        )
        execution = WorkflowJob(self._shared, call, begun, send)
        return await execution.run(args.input, Checkpoint.of(args))


class InlineRunner(Runner):
    """Runs the document that comes with the job; a run that faults is a job that succeeds, with a Faulted result."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    async def run(self, call: Call) -> bytes:
        """Run it and return how it ended."""
        args = args_of(_INLINE_ARGS, call.args)
        source = await document_of(args, self._shared.sources)
        begun = _beginning(source, await context_of(args, "the args", lenient=True), "workflow_data or workflow_url")
        return seed_result(await WorkflowJob(self._shared, call, begun, None).run(args.input))


class ReusableRunner(Runner):
    """Runs the document of its settings; a run that faults is a job that succeeds, with a Faulted result."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._source = Source()

    async def load(self, settings: bytes) -> None:
        """Read the document."""
        message = _settings_of(_REUSABLE_SETTINGS, settings)
        self._source = await Source.of_text(message.json_data)

    async def run(self, call: Call) -> bytes:
        """Run it and return how it ended."""
        args = args_of(_REUSABLE_ARGS, call.args)
        begun = _beginning(self._source, await context_of(args, "the args"), "json_data in the settings of the worker")
        return seed_result(await WorkflowJob(self._shared, call, begun, None).run(args.input))


def _beginning(source: Source, context: dict[str, Any], fields: str) -> Beginning:
    """Return what a run begins with; ``fields`` are what may hold its document."""
    if source.document is None:
        raise BadInput(f"there is no workflow to run: set {fields}")
    return Beginning(source.document, source.text, context)


def _settings_of(kind: Any, data: bytes) -> Any:
    try:
        return settings_of(kind, data)
    except Fatal as error:
        raise BadInput(str(error)) from error


def _raise_fault(run: WorkflowRun) -> None:
    """Fail the job of a run that faulted: for good where its input can never be right, else it may be tried again."""
    if run.status is Status.FAULTED:
        error = run.error or WorkflowError("about:blank", 500)
        raise (BadInput if run.input_is_wrong else Retryable)(json_text(error.as_json()))
