"""One run of a workflow, and what tasks make of data with it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import anyio

from jobworkerp_standalone.jobs.errors import BadInput
from jobworkerp_standalone.runners.bus import EventBus, Room
from jobworkerp_standalone.runners.children import Children
from jobworkerp_standalone.runners.host import Host
from jobworkerp_standalone.workflow.built_ins import NO_MORE, BuiltIn, variables
from jobworkerp_standalone.workflow.checks import Checks
from jobworkerp_standalone.workflow.durations import milliseconds
from jobworkerp_standalone.workflow.entrance import Entrance
from jobworkerp_standalone.workflow.errors import Standard, WorkflowError
from jobworkerp_standalone.workflow.events.inbox import Inbox
from jobworkerp_standalone.workflow.expressions.errors import ExpressionError
from jobworkerp_standalone.workflow.expressions.evaluator import Evaluator
from jobworkerp_standalone.workflow.expressions.scope import Scope
from jobworkerp_standalone.workflow.expressions.template import Template
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.json_writer import json_text
from jobworkerp_standalone.workflow.model.tasks import ForkTask, ForTask, Task, TaskList
from jobworkerp_standalone.workflow.model.values import Directive, Duration, Goto, Input, Output, Schema, Then
from jobworkerp_standalone.workflow.notices import ROOT, Notices
from jobworkerp_standalone.workflow.pointers import within
from jobworkerp_standalone.workflow.progress import Nothing, Progress
from jobworkerp_standalone.workflow.run_state import RunState
from jobworkerp_standalone.workflow.source import SourceRules
from jobworkerp_standalone.workflow.state import Branch, Spot, TaskState, Trail


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What a run works with."""

    host: Host
    evaluator: Evaluator
    checks: Checks
    sources: SourceRules
    """Which documents and scripts may be read."""
    roots: tuple[Path, ...]
    """Where workflows are looked for by name."""
    default_limit_ms: int
    """Limit of a ``run`` or ``call`` task that names none."""
    http_limit_ms: int
    """That of ``call: http`` and ``openapi``."""
    default_retries: int
    """Most retries of a policy that has no limit."""
    parallel_items: int
    """Most items of a parallel loop at once where it names no number."""
    room: Room
    """How many events are kept for listeners."""
    children: Children
    job_id: int
    metadata: Mapping[str, str]
    """Of the job."""


@dataclass(slots=True)
class WorkflowRun(RunState):
    """A run: its state, what it works with, and how far it is."""

    tools: Tools
    notices: Notices
    branch: Branch
    """Variables at the top."""
    progress: Progress = field(default_factory=Nothing)
    entry: Entrance | None = None
    """Where to begin instead of at the start."""
    begins_at: str = ""
    """Pointer of the task that is to be the first that is begun anew; empty once it was, or where none is named."""
    input_is_wrong: bool = False
    """The run faulted because its input does not fit its schema: it never will, however often it is tried."""
    turn_began: float = field(default_factory=time.monotonic)
    closing: ExitStack = field(default_factory=ExitStack)
    """What is left at the end of the run."""
    _inbox: Inbox | None = None
    _limits: dict[str, anyio.CancelScope] = field(default_factory=dict[str, anyio.CancelScope])

    @contextmanager
    def limited(self, key: str, scope: anyio.CancelScope) -> Iterator[None]:
        """Let it be known that a scope ends the step of this key, or the run (the empty key), when its time is over."""
        self._limits[key] = scope
        try:
            yield
        finally:
            del self._limits[key]

    def out_of_time(self, key: str) -> bool:
        """Tell whether the time of something around a step is over."""
        around = (key[:at] for at, each in enumerate(key) if each == "/")
        return any((limit := self._limits.get(each)) is not None and limit.cancel_called for each in around)

    @property
    def inbox(self) -> Inbox:
        """What the run has heard since it began, or since it was first asked for this where nothing foretold it."""
        if self._inbox is None:
            self._inbox = Inbox(self.id, self.workflow.listens_for, self.tools.room, self.progress)
            self.closing.enter_context(self._inbox.hearing(self.tools.host.shared(EventBus)))
        return self._inbox

    async def value(
        self,
        template: Template,
        state: TaskState | None,
        spot: Spot,
        dot: JSON,
        place: str,
        more: Mapping[str, BuiltIn] = NO_MORE,
    ) -> JSON:
        """Return the value of a template, seen from a task.

        Args:
            template: what to evaluate.
            state: the task; None is the workflow itself.
            spot: where it runs.
            dot: what ``.`` is.
            place: where the template stands in the task, a JSON pointer, for the error; below ``/use`` in the document.
            more: further names, such as ``secrets``.

        Raises:
            WorkflowError: it failed.
        """
        if template.constant:
            return template.raw
        try:
            return await self.tools.evaluator.value(template, Scope(dot, variables(self, state, spot, more)))
        except ExpressionError as error:
            raise Standard.EXPRESSION.error("An expression failed", str(error)).at(_pointer(state, place)) from error

    async def gathered(self, outputs: list[JSON], task: Task) -> JSON:
        """Return what parts of a task gave as its output.

        Raises:
            WorkflowError: together they are too large.
        """
        if await self.tools.evaluator.first_beyond(outputs) is None:
            return cast("JSON", outputs)
        detail = f"what its {len(outputs)} parts gave is {self.tools.evaluator.too_large}"
        raise Standard.RUNTIME.error("The output is too large", detail).at(task.origin.pointer)

    async def milliseconds(self, duration: Duration, state: TaskState | None, spot: Spot, dot: JSON, place: str) -> int:
        """Return a duration; the arguments are those of ``value``.

        Raises:
            WorkflowError: its expression failed, or gives no duration.
        """
        if isinstance(duration, int):
            return duration
        given = await self.value(duration, state, spot, dot, place)
        try:
            return milliseconds(given)
        except ValueError as error:
            detail = f"{duration.raw} gives {json_text(given)[:200]}: {error}"
            raise Standard.VALIDATION.error("An expression gives no duration", detail).at(
                _pointer(state, place)
            ) from error

    async def directive(
        self, then: Then | None, state: TaskState, spot: Spot, data: JSON, place: str = "/then"
    ) -> Directive | Goto | None:
        """Return what a ``then`` says; text from an expression is a directive or the name of a task.

        Raises:
            WorkflowError: its expression failed, or gives no text.
        """
        if then is None or isinstance(then, (Directive, Goto)):
            return then
        text = await self.value(then, state, spot, data, place)
        if not isinstance(text, str):
            raise Standard.CONFIGURATION.error(
                "A directive is no text", f"then gives {text!r}; it must give a directive or the name of a task"
            ).at(_pointer(state, place))
        try:
            return Directive(text)
        except ValueError:
            return Goto(text, _pointer(state, place))

    async def transformed_input(self, given: Input, state: TaskState, spot: Spot) -> JSON:
        """Return the input of a task: checked, then transformed."""
        if given.schema is not None:
            await self._check(state.raw_input, given.schema, "the input", f"{state.task.origin.pointer}/input")
        if given.from_ is None:
            return state.raw_input
        return await self.value(given.from_, state, spot, state.raw_input, "/input")

    async def transformed_output(self, given: Output, state: TaskState, spot: Spot, place: str = "/output") -> JSON:
        """Return the output of a task: transformed, then checked."""
        return await self.shaped(given, state, spot, state.raw_output, place)

    async def shaped(
        self,
        given: Output,
        state: TaskState | None,
        spot: Spot,
        value: JSON,
        place: str,
        more: Mapping[str, BuiltIn] = NO_MORE,
    ) -> JSON:
        """Return a value as an ``output`` or ``export`` wants it, transformed, then checked; arguments as of ``value``.

        Raises:
            WorkflowError: its expression failed, or its schema does not allow what that gives.
        """
        if given.as_ is not None:
            value = await self.value(given.as_, state, spot, value, place, more)
        if given.schema is not None:
            await self._check(value, given.schema, f"the {place.rpartition('/')[2]}", _pointer(state, place))
        return value

    async def export(self, given: Output, state: TaskState, spot: Spot, place: str = "/export") -> None:
        """Make what a task exports the context; the members of an object become variables besides."""
        branch, before = spot.branch, spot.branch.context
        value = await self.shaped(given, state, spot, state.output, place, {"context": lambda: before})
        if given.as_ is None:
            return
        branch.context, branch.exported = value, True
        if isinstance(value, dict):
            # What an expression such as `$context + .` only passes on does not hide what was set since.
            known = before if "context" in given.as_.names and isinstance(before, dict) else {}
            branch.variables.update({k: v for k, v in value.items() if k not in known or known[k] != v})

    def entrance(self, tasks: TaskList, trail: Trail) -> int:
        """Return the place in a list at which to begin: the first, unless the run goes on from some task."""
        if self.entry is None:
            return 0
        at, self.entry = self.entry.into(tasks, trail)
        return at

    def is_on_the_way(self, task: Task) -> bool:
        """Whether the task is not begun anew, because the run goes on from a task inside it."""
        return self.entry is not None and self.entry.is_inside(task)

    def begins(self, task: Task) -> None:
        """Note that a task is begun anew.

        Raises:
            BadInput: the run is to begin at another one, and what is kept of it leads past that, or not so far.
        """
        wanted, pointer = self.begins_at, task.origin.pointer
        if not wanted or (wanted.startswith(f"{pointer}/") and not _splits(task)):
            return
        if wanted != pointer and not wanted.startswith(f"{pointer}/"):
            raise self._elsewhere(f"what is kept of the run leads to {ROOT}{pointer}")
        self.begins_at = ""

    def check_begun(self) -> None:
        """Look, at the end, whether the task was begun with which the run was to begin.

        Raises:
            BadInput: it was not.
        """
        if self.begins_at:
            raise self._elsewhere("nothing is left to be done")

    def _elsewhere(self, why: str) -> BadInput:
        return BadInput(f"the run cannot begin at {ROOT}{self.begins_at}: {why}; name a task that it had reached")

    async def _check(self, value: JSON, schema: Schema, what: str, pointer: str) -> None:
        try:
            await self.tools.checks.check(value, schema, what)
        except WorkflowError as error:
            raise error.at(pointer) from error.__cause__


def _pointer(state: TaskState | None, place: str) -> str:
    return within("" if state is None else state.task.origin.pointer, place)


def _splits(task: Task) -> bool:
    """Whether what is inside may begin in any order."""
    return isinstance(task, ForkTask) or (isinstance(task, ForTask) and bool(task.parallel))
