"""The prepared bytes: workers and the jobs that are sent to them."""

from __future__ import annotations

import time
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
_CREATE_WORKER: Final = "/jobworkerp.service.WorkerService/Create"
_FIND_RUNNER: Final = "/jobworkerp.service.RunnerService/FindByName"
_PATIENCE_SEC: Final = 30.0
COMMAND_ID: Final = 1
PYTHON_ID: Final = 6
HTTP_ID: Final = 2
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
    caller = Caller(port, _CREATE_WORKER, data.SerializeToString())
    try:
        reply = _message("jobworkerp.service.CreateWorkerResponse")
        reply.ParseFromString(caller.call())
        return reply.id.value
    finally:
        caller.close()


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


def check(port: int, request: bytes, *, direct: bool) -> bytes:
    """Send a job once, look at the answer, and return its output if it is DIRECT.

    Raises:
        BadAnswer: it has no id, or a DIRECT job did not succeed.
    """
    caller = Caller(port, ENQUEUE, request)
    try:
        reply = _message("jobworkerp.service.CreateJobResponse")
        reply.ParseFromString(caller.call())
    finally:
        caller.close()
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
