"""WORKFLOW's method ``create``: a worker that runs a document."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Final

import anyio

from jobworkerp_standalone.jobs.errors import BadInput, Fatal, RequestError, Retryable, StorageError
from jobworkerp_standalone.jobs.model import (
    QueueType,
    ResponseType,
    RetryPolicy,
    RetryType,
    Worker,
    channel_from_name,
)
from jobworkerp_standalone.runners.base import Call
from jobworkerp_standalone.runners.children import ChildOrder, Children
from jobworkerp_standalone.runners.messages import args_of
from jobworkerp_standalone.schema.enums import enum_check
from jobworkerp_standalone.schema.messages import message_class
from jobworkerp_standalone.workflow.documents import context_of, document_of
from jobworkerp_standalone.workflow.json_writer import json_text
from jobworkerp_standalone.workflow.model.document import Workflow
from jobworkerp_standalone.workflow.workflow_job import Shared

_ARGS: Final[Any] = message_class("jobworkerp.runner.CreateWorkflowArgs")
_SETTINGS: Final[Any] = message_class("jobworkerp.runner.WorkflowRunnerSettings")
_RESULT: Final[Any] = message_class("jobworkerp.runner.CreateWorkflowResult")


async def create_worker(call: Call, shared: Shared) -> bytes:
    """Store a worker for a document, with the document's schedule, and return its id as ``CreateWorkflowResult``.

    Raises:
        BadInput: the arguments cannot be used, or no such worker can be made.
        Retryable: the store did not take it.
    """
    if call.children is None:
        raise Fatal("a workflow runs inside of a daemon only")
    args = _checked(args_of(_ARGS, call.args))
    if not args.name.strip():
        raise BadInput("name is blank: give the worker a name")
    source = await document_of(args, shared.sources)
    if source.document is None:
        raise BadInput("there is no workflow to make a worker from: set workflow_data or workflow_url")
    context = await context_of(args, "the args")
    runner = call.children.runner("WORKFLOW")
    assert runner is not None, "it is built in"
    settings = _SETTINGS(workflow_data=_text(source.document))
    if context:
        settings.workflow_context = json_text(context)
    worker = Worker(
        0,
        args.name,
        runner.id,
        description=source.document.summary or "",
        runner_settings=settings.SerializeToString(),
        response_type=ResponseType.DIRECT,
    )
    if args.HasField("worker_options"):
        worker = _with_options(worker, args.worker_options)
    try:
        kept = await _kept(call.children, _scheduled(worker, source.document))
    except RequestError as error:
        raise BadInput(f"the worker cannot be made: {error}") from error
    except StorageError as error:
        raise Retryable(f"the worker cannot be stored: {error}") from error
    result = _RESULT()
    result.worker_id.value = kept.id
    return result.SerializeToString()


def _checked(args: Any) -> Any:
    check = enum_check(_ARGS.DESCRIPTOR)
    assert check is not None, "the options have enums"
    try:
        check(args, "")
    except ValueError as error:
        raise BadInput(str(error)) from error
    return args


async def _kept(children: Children, worker: Worker) -> Worker:
    """Store a worker, and start it where it has a schedule: both or none."""
    kept = await children.keep(worker)
    if kept.recurring:
        try:
            await children.start(ChildOrder(kept.name, using="run"))
        except BaseException:
            with anyio.CancelScope(shield=True):
                await children.discard(kept)
            raise
    return kept


def _text(document: Workflow) -> str:
    return json.dumps(dict(document.definition), ensure_ascii=False)


def _with_options(worker: Worker, options: Any) -> Worker:
    policy = None
    if options.HasField("retry_policy"):
        given = options.retry_policy
        policy = RetryPolicy(
            RetryType(given.type), given.interval, given.max_interval, given.max_retry, given.basis or 2.0
        )
    answer = ResponseType(options.response_type) if options.HasField("response_type") else ResponseType.DIRECT
    return replace(
        worker,
        retry_policy=policy,
        channel=channel_from_name(options.channel if options.HasField("channel") else None),
        queue_type=QueueType(options.queue_type),
        response_type=answer,
        store_success=options.store_success,
        store_failure=options.store_failure,
        use_static=options.use_static,
        broadcast_results=options.broadcast_results,
    )


def _scheduled(worker: Worker, document: Workflow) -> Worker:
    """Return the worker with the schedule of its document; what runs by itself answers nobody."""
    schedule = document.schedule
    if schedule is None or schedule.on is not None:  # events start any worker whose document says so
        return worker
    worker = replace(worker, response_type=ResponseType.NO_RESULT)
    if schedule.cron is not None:
        return replace(worker, cron=schedule.cron)
    if schedule.after_ms is not None:
        return replace(worker, periodic_interval_ms=schedule.after_ms, periodic_from_end=True)
    return replace(worker, periodic_interval_ms=schedule.every_ms or 0, allow_overlap=True)
