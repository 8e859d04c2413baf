"""What is true while a workflow runs: variables of a branch, where a task runs, how far a task or a list has come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final, NamedTuple

from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.model.tasks import Task
from jobworkerp_standalone.workflow.model.values import Directive, Goto

NO_LOCALS: Final[Mapping[str, JSON]] = MappingProxyType({})


@dataclass(slots=True)
class Branch:
    """Variables of tasks that run one after another. What runs side by side has a copy each, which ends with it."""

    variables: dict[str, JSON]
    """Of the run's context, of ``set`` and of ``export``."""
    context: JSON = None
    """What was exported last; at first the workflow's input after its transformation."""
    exported: bool = False

    def copy(self) -> Branch:
        """Return one that can change by itself."""
        return Branch(dict(self.variables), self.context, self.exported)


class Spot(NamedTuple):
    """Where tasks run. Every task makes some: a tuple, as that costs least."""

    branch: Branch
    key: str = ""
    """Under which the progress of what runs here is kept."""
    locals: Mapping[str, JSON] = NO_LOCALS
    """Loop items and caught errors."""
    depth: int = 0
    waits: bool = True
    """Whether the run may be suspended here: not in loops, nor where something else runs beside."""
    extended: TaskState | None = None
    """The task that is extended, within the tasks of an extension."""

    def inside(self, name: str, values: Mapping[str, JSON] = NO_LOCALS) -> Spot:
        """Return the place of a list inside a task, with further loop variables or a caught error."""
        known = {**self.locals, **values} if values else self.locals
        return Spot(self.branch, f"{self.key}/{name}", known, self.depth + 1, self.waits, self.extended)

    def in_loop(self, name: str, values: Mapping[str, JSON]) -> Spot:
        """Return the place of one iteration of a loop in order."""
        return self.inside(name, values)._replace(waits=False)

    def extending(self, name: str, state: TaskState) -> Spot:
        """Return the place of a list of an extension of a task."""
        return self.inside(name)._replace(waits=False, extended=state)

    def beside(self, name: str, values: Mapping[str, JSON] = NO_LOCALS) -> Spot:
        """Return the place of a list that runs beside others, with variables of its own."""
        return self.inside(name, values)._replace(branch=self.branch.copy(), waits=False)


@dataclass(slots=True)
class TaskState:
    """One execution of one task."""

    task: Task
    raw_input: JSON
    input: JSON = None
    raw_output: JSON = None
    output: JSON = None
    limit_ms: int | None = None
    """After which the task's own work is interrupted."""
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    authorization: JSON = None
    """What ``$authorization`` is outside of the members of a call: the parameter is masked there."""
    said: str = ""
    """What those who watch are to be told of its end instead of the last line of its output."""


class Outcome(NamedTuple):
    """What a task, or a list of them, leaves behind."""

    output: JSON
    then: Directive | Goto | None = None
    """Where to go on. None: nothing was said, which is ``continue``."""
    suspended: bool = False
    """Some task further inside waits; everything around it stops as it is."""
    exited: bool = False
    """A list was left by ``exit``."""


class Trail:
    """How far a list has come: what its last task that ended left behind."""

    def __init__(self, data: JSON) -> None:
        self.output = data
