"""``call``: HTTP, gRPC, OpenAPI, MCP, A2A, and functions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache
from importlib import import_module
from typing import Final, cast

from jobworkerp_standalone.workflow.calls.asking import Asking
from jobworkerp_standalone.workflow.errors import WorkflowError
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.model.calls import (
    A2aCall,
    Call,
    FunctionCall,
    GrpcCall,
    HttpCall,
    McpCall,
    OpenApiCall,
)
from jobworkerp_standalone.workflow.model.tasks import CallTask
from jobworkerp_standalone.workflow.state import Outcome, Spot, TaskState
from jobworkerp_standalone.workflow.workflow_run import WorkflowRun

_KINDS: Final[dict[type[Call], str]] = {
    HttpCall: "http",
    GrpcCall: "grpc",
    OpenApiCall: "openapi",
    McpCall: "mcp",
    A2aCall: "a2a",
    FunctionCall: "function",
}


async def execute(run: WorkflowRun, state: TaskState, spot: Spot) -> Outcome:
    """Call what the task names."""
    call = cast("CallTask", state.task).call
    asking = Asking(run, state, spot)
    try:
        return Outcome(await _kind(type(call))(asking, call))
    except WorkflowError as error:
        raise asking.revealed.without(error) from error.__cause__


@cache
def _kind(kind: type[Call]) -> Callable[[Asking, Call], Awaitable[JSON]]:
    return import_module(f"jobworkerp_standalone.workflow.calls.{_KINDS[kind]}").output
