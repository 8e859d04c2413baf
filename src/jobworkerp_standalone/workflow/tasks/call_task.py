"""``call``: HTTP, gRPC, OpenAPI, MCP, and functions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache
from importlib import import_module
from typing import Final, cast

from jobworkerp_standalone.workflow.calls.asking import Asking
from jobworkerp_standalone.workflow.errors import Standard, WorkflowError
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
from jobworkerp_standalone.workflow.run import Run
from jobworkerp_standalone.workflow.state import Outcome, Spot, TaskState

_KINDS: Final[dict[type[Call], str]] = {
    HttpCall: "http",
    GrpcCall: "grpc",
    OpenApiCall: "openapi",
    McpCall: "mcp",
    FunctionCall: "function",
}


async def run(run: Run, state: TaskState, spot: Spot) -> Outcome:
    """Call what the task names."""
    call = cast("CallTask", state.task).call
    if isinstance(call, A2aCall):
        raise Standard.RUNTIME.error("Not available", "calls of kind a2a are not available in this version", status=501)
    asking = Asking(run, state, spot)
    try:
        return Outcome(await _kind(type(call))(asking, call))
    except WorkflowError as error:
        raise asking.revealed.without(error) from error.__cause__


@cache
def _kind(kind: type[Call]) -> Callable[[Asking, Call], Awaitable[JSON]]:
    return import_module(f"jobworkerp_standalone.workflow.calls.{_KINDS[kind]}").output
