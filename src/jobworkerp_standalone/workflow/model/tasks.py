"""The tasks, one class per kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from jobworkerp_standalone.workflow.errors import ErrorFilter
from jobworkerp_standalone.workflow.expressions.template import Template
from jobworkerp_standalone.workflow.model.calls import Call
from jobworkerp_standalone.workflow.model.events import Consumption
from jobworkerp_standalone.workflow.model.run_forms import Return, RunForm
from jobworkerp_standalone.workflow.model.values import (
    Duration,
    ErrorDefinition,
    Input,
    Origin,
    Output,
    RetryPolicy,
    Then,
    Timeout,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """What every task has."""

    name: str
    origin: Origin
    """``origin.pointer`` is the reference of the task: ``/do/0/t/try/0/x``."""
    definition: Mapping[str, Any]
    """The task as written; not to be changed."""
    if_: Template | None = None
    input: Input | None = None
    output: Output | None = None
    export: Output | None = None
    timeout: Timeout | None = None
    then: Then | None = None
    """None is ``continue``."""
    metadata: Mapping[str, Any]
    checkpoint: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskList:
    """Tasks that run one after another; under ``fork``, side by side."""

    origin: Origin
    tasks: tuple[Task, ...]
    index: Mapping[str, int]
    """Name of a task to its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DoTask(Common):
    """``do``."""

    do: TaskList


@dataclass(frozen=True, slots=True, kw_only=True)
class ForTask(Common):
    """``for``."""

    each: str = "item"
    at: str = "index"
    in_: Template
    while_: Template | None = None
    parallel: bool = False
    """``inParallel``: true, or a number."""
    limit: int | None = None
    """Most items at once, where ``inParallel`` is a number."""
    on_error: Literal["break", "continue"] = "break"
    do: TaskList


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkTask(Common):
    """``fork``."""

    branches: TaskList
    compete: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One case of a ``switch``."""

    name: str
    origin: Origin
    then: Then
    when: Template | None = None
    """None matches where no other case does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchTask(Common):
    """``switch``."""

    cases: tuple[Case, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Catch:
    """What happens to errors of a ``try``."""

    origin: Origin
    errors: ErrorFilter
    """Matches every error where the document names none."""
    as_: str = "error"
    when: Template | None = None
    except_when: Template | None = None
    retry: RetryPolicy | None = None
    do: TaskList | None = None
    then: Then | None = None
    """Where to go on once an error was caught, instead of what the task itself says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TryTask(Common):
    """``try``."""

    try_: TaskList
    catch: Catch


@dataclass(frozen=True, slots=True, kw_only=True)
class SetTask(Common):
    """``set``. The template gives an object."""

    set: Template


@dataclass(frozen=True, slots=True, kw_only=True)
class RaiseTask(Common):
    """``raise``."""

    error: ErrorDefinition


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitTask(Common):
    """``wait``."""

    duration: Duration


@dataclass(frozen=True, slots=True, kw_only=True)
class EmitTask(Common):
    """``emit``. The template gives the attributes of a CloudEvent, ``data`` among them."""

    event: Template


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreach:
    """What a ``listen`` does with each event, as it comes."""

    item: str = "item"
    at: str = "index"
    do: TaskList | None = None
    output: Output | None = None
    export: Output | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenTask(Common):
    """``listen``."""

    to: Consumption
    read: Literal["data", "envelope", "raw"] = "data"
    foreach: Foreach | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallTask(Common):
    """``call``."""

    call: Call


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTask(Common):
    """``run``."""

    run: RunForm
    await_: bool = True
    returns: Return = "stdout"
    streaming: bool = False
    """``useStreaming``: pass the chunks of the job's output on."""


Task = (
    DoTask
    | ForTask
    | ForkTask
    | SwitchTask
    | TryTask
    | SetTask
    | RaiseTask
    | WaitTask
    | EmitTask
    | ListenTask
    | CallTask
    | RunTask
)


def kind_of(task: Task) -> str:
    """Return the keyword of a task's kind: ``set``, ``for``, ``run``..."""
    return _keyword(type(task))


def lists_in(task: Task) -> Iterator[TaskList]:
    """Yield the lists that are directly inside of a task."""
    if isinstance(task, (DoTask, ForTask)):
        yield task.do
    elif isinstance(task, ForkTask):
        yield task.branches
    elif isinstance(task, TryTask):
        yield task.try_
        if task.catch.do is not None:
            yield task.catch.do
    elif isinstance(task, ListenTask) and task.foreach is not None and task.foreach.do is not None:
        yield task.foreach.do


@cache
def _keyword(kind: type[Task]) -> str:
    return kind.__name__.removesuffix("Task").lower()
