"""The prepared bytes: workers and the jobs that are sent to them."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any, Final

from benchmarks import small_mcp
from benchmarks.http2 import Caller
from benchmarks.server import NOOP_ID
from jobworkerp_standalone.jobs.model import QueueType, ResponseType, ResultStatus
from jobworkerp_standalone.schema.convert import json_to_bytes
from jobworkerp_standalone.schema.messages import message_class
from jobworkerp_standalone.schema.text import root_message

ENQUEUE: Final = "/jobworkerp.service.JobService/Enqueue"
COUNT: Final = "/jobworkerp.service.JobService/Count"
_DELETE: Final = "/jobworkerp.service.JobService/Delete"
_CREATE_WORKER: Final = "/jobworkerp.service.WorkerService/Create"
_FIND_RUNNER: Final = "/jobworkerp.service.RunnerService/FindByName"
_PATIENCE_SEC: Final = 30.0
COMMAND_ID: Final = 1
PYTHON_ID: Final = 6
HTTP_ID: Final = 2
WORKFLOW_ID: Final = 32_769
_ARGS: Final = b"thirty-two bytes of job argument"


class BadAnswer(Exception):
    """A job did not do what the measurement is about."""


def create_worker(port: int, name: str, runner_id: int, **fields: Any) -> int:
    """Create a worker and return its id."""
    data = _message("jobworkerp.data.WorkerData")
    data.name = name
    data.runner_id.value = runner_id
    for field, value in fields.items():
        setattr(data, field, value)
    reply = _message("jobworkerp.service.CreateWorkerResponse")
    reply.ParseFromString(_called(port, _CREATE_WORKER, data.SerializeToString()))
    return reply.id.value


def noop_job(port: int, name: str, response: ResponseType, queue: QueueType, *, store: bool) -> bytes:
    """Create a no-op worker and return the request for one of its jobs."""
    worker_id = create_worker(
        port, name, NOOP_ID, response_type=response, queue_type=queue, store_success=store, store_failure=True
    )
    return _job(worker_id, _ARGS)


def at(request: bytes, due_ms: int) -> bytes:
    """Return the same request for a later time."""
    later = _message("jobworkerp.service.JobRequest")
    later.ParseFromString(request)
    later.run_after_time = due_ms
    return later.SerializeToString()


def command_job(port: int, name: str) -> bytes:
    """Create a worker for commands and return the request for ``/bin/true``."""
    args = _message("jobworkerp.runner.CommandArgs")
    args.command = "/bin/true"
    worker_id = create_worker(port, name, COMMAND_ID, response_type=ResponseType.DIRECT)
    return _job(worker_id, args.SerializeToString())


def http_job(port: int, name: str, url: str) -> bytes:
    """Create a worker for requests and return the request for one that asks ``url``."""
    settings = _message("jobworkerp.runner.HttpRequestRunnerSettings")
    settings.base_url = url
    args = _message("jobworkerp.runner.HttpRequestArgs")
    args.method = "GET"
    worker_id = create_worker(
        port, name, HTTP_ID, response_type=ResponseType.DIRECT, runner_settings=settings.SerializeToString()
    )
    return _job(worker_id, args.SerializeToString())


def python_job(port: int, name: str, *, static: bool) -> tuple[bytes, str]:
    """Create a worker for scripts; return the request for an empty one, and the interpreter that runs it."""
    worker_id = create_worker(port, name, PYTHON_ID, response_type=ResponseType.DIRECT, use_static=static)
    args = _message("jobworkerp.runner.PythonCommandArgs")
    args.script_content = "import sys; print(sys.executable)"
    output = _message("jobworkerp.runner.PythonCommandResult")
    output.ParseFromString(check(port, _job(worker_id, args.SerializeToString()), direct=True))
    args.script_content = "pass"
    return _job(worker_id, args.SerializeToString()), output.output.strip()


def workflow_job(port: int, name: str, tasks: Mapping[str, Any], channel: str) -> bytes:
    """Create a worker of a channel for workflows and return the request for one with these tasks; none waits for it."""
    head = {"dsl": "1.0.3", "namespace": "bench", "name": "flow", "version": "1.0.0"}
    args = _message("jobworkerp.runner.WorkflowRunArgs")
    args.workflow_data = json.dumps({"document": head, **tasks})
    args.input = "{}"
    worker_id = create_worker(port, name, WORKFLOW_ID, response_type=ResponseType.NO_RESULT, channel=channel)
    return _job(worker_id, args.SerializeToString(), "run")


def start_job(port: int, request: bytes) -> int:
    """Send a job and return its id."""
    reply = _message("jobworkerp.service.CreateJobResponse")
    reply.ParseFromString(_called(port, ENQUEUE, request))
    return reply.id.value


def delete_job(port: int, job_id: int) -> None:
    """Cancel a job."""
    named = _message("jobworkerp.data.JobId")
    named.value = job_id
    _called(port, _DELETE, named.SerializeToString())


def tool_job(port: int, name: str) -> bytes:
    """Create a static worker for the MCP server and return the request for a call of its tool."""
    wanted = _message("jobworkerp.service.RunnerNameRequest")
    wanted.name = small_mcp.NAME
    caller = Caller(port, _FIND_RUNNER, wanted.SerializeToString())
    try:
        found = _message("jobworkerp.service.OptionalRunnerResponse")
        until = time.monotonic() + _PATIENCE_SEC
        while not found.HasField("data") and time.monotonic() < until:
            found.ParseFromString(caller.call())
    finally:
        caller.close()
    schema = found.data.data.method_proto_map.schemas[small_mcp.TOOL].args_proto
    args = json_to_bytes(small_mcp.ARGUMENTS, root_message(schema))
    worker_id = create_worker(port, name, found.data.id.value, response_type=ResponseType.DIRECT, use_static=True)
    return _job(worker_id, args, small_mcp.TOOL)


def _called(port: int, path: str, message: bytes) -> bytes:
    caller = Caller(port, path, message)
    try:
        return caller.call()
    finally:
        caller.close()


def check(port: int, request: bytes, *, direct: bool) -> bytes:
    """Send a job once, look at the answer, and return its output if it is DIRECT.

    Raises:
        BadAnswer: it has no id, or a DIRECT job did not succeed.
    """
    reply = _message("jobworkerp.service.CreateJobResponse")
    reply.ParseFromString(_called(port, ENQUEUE, request))
    succeeded = reply.HasField("result") and reply.result.data.status == ResultStatus.SUCCESS
    if not reply.id.value or (direct and not succeeded):
        raise BadAnswer(f"a job of the benchmark was answered with {reply}")
    return reply.result.data.output.items


def _job(worker_id: int, args: bytes, using: str = "") -> bytes:
    request = _message("jobworkerp.service.JobRequest")
    request.worker_id.value = worker_id
    request.args = args
    if using:
        request.using = using
    return request.SerializeToString()


def _message(full_name: str) -> Any:
    return message_class(full_name)()
