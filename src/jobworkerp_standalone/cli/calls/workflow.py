"""Calls of the workflow commands of ``job``; each has a worker of its own, for as long as it runs."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, NamedTuple, cast

from jobworkerp_standalone.cli.calls.endings import complaint_of
from jobworkerp_standalone.cli.calls.following import Sink
from jobworkerp_standalone.cli.calls.job import output_of, priority_of
from jobworkerp_standalone.cli.exits import Exit, Stop
from jobworkerp_standalone.client import CallFailed, Client, ItemStream, job_result_of
from jobworkerp_standalone.client.coding import encode_args_leniently
from jobworkerp_standalone.client.running import Ended
from jobworkerp_standalone.client.temporary import temporary_worker
from jobworkerp_standalone.client.workflows import WorkflowRuns
from jobworkerp_standalone.pb.jobworkerp.data import (
    JobExecutionOverrides,
    JobId,
    JobResult,
    QueueType,
    ResponseType,
    ResultStatus,
    Runner,
    WorkerData,
    WorkerId,
)
from jobworkerp_standalone.pb.jobworkerp.service import JobRequest, ListenRequest

_RUNNER: Final = "WORKFLOW"
_CREATE_TIMEOUT_MS: Final = 3_600_000
_ENDED: Final = ("Completed", "Faulted", "Cancelled", "Waiting")


class Source(NamedTuple):
    """The document, as a path or URL that the server reads or as a text, and what its expressions know."""

    url: str | None
    data: str | None
    context: str | None

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of the runner that are given."""
        named = {"workflow_url": self.url, "workflow_data": self.data, "workflow_context": self.context}
        return {key: value for key, value in named.items() if value}


class Run(NamedTuple):
    """What a command line says about a run of a workflow."""

    source: Source
    input: str
    channel: str | None
    priority: str | None
    run_after_time: int | None
    timeout_ms: int
    execution_id: str | None


async def enqueue_workflow(client: Client, wanted: Run, sink: Sink) -> int | None:
    """Run a workflow, hand every item to ``sink``, and return the id of its job if it waits.

    Raises:
        Stop: it did not end well.
    """
    runner = await client.schemas.runner(_RUNNER)
    args = {"input": wanted.input, **wanted.source.arguments()}
    if wanted.execution_id:
        args["execution_id"] = wanted.execution_id
    encoded = encode_args_leniently(runner, "run", args)
    async with _worker(client, "JobworkerpClientWorkflow", runner, wanted.channel, broadcast=True) as worker_id:
        runs = WorkflowRuns(client, runner, worker_id)
        request = JobRequest(
            worker_id=worker_id,
            args=encoded,
            run_after_time=wanted.run_after_time,
            priority=priority_of(wanted.priority),
            timeout=wanted.timeout_ms // 1000 * 1000,
            using="run",
        )
        if wanted.run_after_time is not None:  # nobody waits for it within the call that enqueues it
            request.overrides = JobExecutionOverrides(response_type=ResponseType.NO_RESULT)
        async with client.enqueue_for_stream(request) as stream:
            job_id = stream.job_id
            sink.started(job_id)
            if wanted.run_after_time is None:
                return job_id if await _follow(stream, wanted, runs, sink) else None
        assert job_id is not None, "a server says it of a job that is not waited for"
        listening = ListenRequest(job_id=JobId(value=job_id), worker_id=worker_id, using="run")
        async with client.listen_stream(listening) as stream:
            return job_id if await _follow(stream, wanted, runs, sink) else None


async def create_workflow(client: Client, name: str, source: Source, options: Mapping[str, Any]) -> int:
    """Make a worker that runs a workflow, and return its id.

    Raises:
        Stop: the job that makes it did not end well.
    """
    runner = await client.schemas.runner(_RUNNER)
    args = {"name": name, **source.arguments(), **({"worker_options": dict(options)} if options else {})}
    encoded = encode_args_leniently(runner, "create", args)
    async with _worker(client, "JobworkerpClientWorkflowCreate", runner, None, broadcast=False) as worker_id:
        request = JobRequest(worker_id=worker_id, args=encoded, timeout=_CREATE_TIMEOUT_MS, using="create")
        result = (await client.job.enqueue(request)).result
        if result is None or result.data is None:
            raise Stop(Exit.FAILED, "the server answered without a result")
        output = output_of(result, runner)
        if result.data.status is not ResultStatus.SUCCESS:
            status = result.data.status
            raise Stop(Exit.FAILED, f"the worker was not made: {status.name}: {output or 'no reason is given'}")
        created = worker_id_in(output)
        if created is None:
            raise Stop(Exit.FAILED, f"the server answered without the id of the new worker: {output}")
        return created


def worker_id_in(output: Any) -> int | None:
    """Return the id that the result of ``create`` holds: a number, digits, or an object with ``value``."""
    if not isinstance(output, Mapping):
        return None
    found = cast("Mapping[str, Any]", output)
    for key in ("worker_id", "workerId", "id"):
        value: Any = found.get(key)
        if isinstance(value, Mapping):
            value = cast("Mapping[str, Any]", value).get("value")
        try:
            if isinstance(value, int | str) and not isinstance(value, bool):
                return int(value)
        except ValueError:
            continue
    return None


def check_end(result: Any) -> bool:
    """Look at the last ``WorkflowResult``, and return whether it waits; no status is the first one, Completed.

    Raises:
        Stop: the workflow did not end, or ended with a fault.
    """
    if not isinstance(result, Mapping):
        return False
    fields = cast("Mapping[str, Any]", result)
    status = fields.get("status", _ENDED[0])
    if status not in _ENDED:
        raise Stop(Exit.FAILED, f"the workflow did not end: its last status is {status}")
    if status == "Faulted":
        why = fields.get("errorMessage") or fields.get("error_message") or fields.get("output") or "no reason is given"
        raise Stop(Exit.FAILED, f"the workflow ended with a fault: {' '.join(str(why).split())}")
    return status == "Waiting"


async def _follow(stream: ItemStream, wanted: Run, runs: WorkflowRuns, sink: Sink) -> bool:
    """Hand on what comes, and return whether the run waits."""
    last: bytes | None = None
    collected: bytes | None = None
    ended = False
    try:
        async for item in stream:
            if item.data is not None:
                last = item.data
                sink.item(runs.item(item.data))
            elif item.final_collected is not None:
                collected = item.final_collected
            ended = ended or item.end is not None
    except CallFailed as error:
        _check_job(job_result_of(error), wanted, runs)
        raise
    if collected is not None and collected != last:
        sink.item(runs.item(collected))
    _check_job(stream.final_result, wanted, runs)
    terminal = last if collected is None else collected
    if not ended or terminal is None:
        raise Stop(Exit.FAILED, "the stream ended before the workflow did")
    waits = check_end(runs.item(terminal))
    sink.ended(None, "")
    return waits


def _check_job(result: JobResult | None, wanted: Run, runs: WorkflowRuns) -> None:
    """End the command as ``run`` does, where the job that ran the workflow did not end with success."""
    data = result.data if result is not None else None
    if data is None or data.status is ResultStatus.SUCCESS:
        return
    job_id, output = data.job_id.value if data.job_id else 0, data.output.items if data.output else b""
    failed = complaint_of(runs.result(Ended(job_id, data.status, output)), without_input=not wanted.input)
    assert failed is not None, "it did not end with success"
    raise failed


def _worker(
    client: Client, prefix: str, runner: Runner, channel: str | None, *, broadcast: bool
) -> AbstractAsyncContextManager[WorkerId]:
    """Make a worker for one command."""
    data = WorkerData(
        name=prefix,
        runner_id=runner.id,
        channel=channel or None,
        queue_type=QueueType.NORMAL,
        response_type=ResponseType.DIRECT,
        broadcast_results=broadcast,
    )
    return temporary_worker(client, data)
