"""The words in a picture: what a task does, in a few lines."""

from __future__ import annotations

from typing import Any, Final

from jobworkerp_standalone.workflow.expressions.places import enclosed
from jobworkerp_standalone.workflow.expressions.template import Template
from jobworkerp_standalone.workflow.model.calls import (
    FunctionCall,
    GrpcCall,
    HttpCall,
    OpenApiCall,
)
from jobworkerp_standalone.workflow.model.run_forms import RunContainer, RunScript, RunShell, RunWorkflow
from jobworkerp_standalone.workflow.model.tasks import (
    CallTask,
    EmitTask,
    ForkTask,
    ForTask,
    ListenTask,
    RaiseTask,
    RunTask,
    SetTask,
    Task,
    TryTask,
    WaitTask,
    kind_of,
)
from jobworkerp_standalone.workflow.model.values import Duration

_LONGEST: Final = 44


def condition(template: Template | None) -> str:
    """Return an expression without what encloses it."""
    return "" if template is None else plain(template.raw)


def plain(value: Any) -> str:
    """Return a value for people: short, on one line."""
    text = value if isinstance(value, str) else str(value)
    body = enclosed(text)
    text = " ".join((body.text if body else text).split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def describe(task: Task) -> list[str]:
    """Return what stands below the name of a task."""
    lines = [*_about(task)]
    if task.if_ is not None:
        lines.append(f"if {condition(task.if_)}")
    if task.timeout is not None:
        lines.append(f"at most {_time(task.timeout.after)}")
    return lines


def _about(task: Task) -> list[str]:
    match task:
        case CallTask():
            return [f"call {_call(task)}"]
        case RunTask():
            return [f"run {_run(task)}"]
        case ForTask():
            side = f" in parallel{f' ({task.limit})' if task.limit else ''}" if task.parallel else ""
            loop = f"for each {task.each} in {condition(task.in_)}{side}"
            return [loop, f"while {condition(task.while_)}"] if task.while_ else [loop]
        case ForkTask():
            return ["fork, the first wins" if task.compete else "fork"]
        case TryTask():
            return _catch(task)
        case _:
            return [_simple(task)]


def _simple(task: Task) -> str:
    match task:
        case RaiseTask():
            return f"raise {task.error.name or plain(task.error.type.raw)}"
        case WaitTask():
            return f"wait {_time(task.duration)}"
        case SetTask():
            names = ", ".join(task.set.raw) if isinstance(task.set.raw, dict) else condition(task.set)
            return f"set {plain(names)}"
        case EmitTask():
            kind = task.event.raw.get("type", "") if isinstance(task.event.raw, dict) else ""
            return f"emit {plain(kind)}"
        case ListenTask():
            return f"listen to {task.to.mode}"
        case _:
            return kind_of(task)


def _call(task: CallTask) -> str:
    match task.call:
        case HttpCall() as call:
            return f"http {plain(call.method.raw).upper()} {plain(call.endpoint.uri.raw)}"
        case GrpcCall() as call:
            return f"grpc {plain(call.service.raw)}/{plain(call.method.raw)}"
        case OpenApiCall() as call:
            return f"openapi {plain(call.operation_id.raw)}"
        case FunctionCall() as call:
            return plain(call.name)
        case call:
            return f"{type(call).__name__.removesuffix('Call').lower()} {plain(call.method.raw)}"


def _run(task: RunTask) -> str:
    match task.run:
        case RunScript() as run:
            return f"script ({run.language})"
        case RunShell() as run:
            return f"shell {plain(run.command.raw)}"
        case RunContainer() as run:
            return f"container {plain(run.image.raw)}"
        case RunWorkflow() as run:
            return f"workflow {condition(run.name or run.url)}".rstrip()
        case run:
            return f"{run.form} {plain(run.name.raw)}"


def _catch(task: TryTask) -> list[str]:
    retry = task.catch.retry
    lines = ["try"]
    if retry is not None:
        count = "without limit" if retry.attempts is None else f"up to {retry.attempts} times"
        lines.append(f"retry {count}")
    if task.catch.do is None and task.catch.then is None:
        lines.append("errors end here")
    return lines


def _time(duration: Duration) -> str:
    if isinstance(duration, Template):
        return plain(duration.raw)
    for size, unit in ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s")):
        if duration >= size and duration % size == 0:
            return f"{duration // size} {unit}"
    return f"{duration} ms"
