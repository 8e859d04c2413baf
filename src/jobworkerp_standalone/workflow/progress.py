"""What a run has behind it, written down so that a later life of it does no work twice.

Every task that ended leaves a record under its **key**: the numbers of the steps that lead to it, such as ``/2/0/1``.
A later life goes the same way again and takes from the records what is there: output, directive and the variables that
were set, without evaluating or running anything. So do tasks whose condition did not hold: a condition may look at the
time. The record of a task replaces those of the tasks inside it; a loop
keeps one record for all iterations behind it, a list that jumps one for all steps before the jump. So what is kept
grows with the document and not with the time that it runs. A listener keeps one record for each event that will be
part of its output, and the run one for each event that it has heard, until one
listener has taken it and no other has it before itself.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import anyio

from jobworkerp_standalone.runners.bus import Keep
from jobworkerp_standalone.runners.interest import NOTHING, Interest
from jobworkerp_standalone.workflow.errors import WorkflowError
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.model.tasks import Task
from jobworkerp_standalone.workflow.model.values import Directive, Goto
from jobworkerp_standalone.workflow.state import Branch, Outcome

Snapshot = Branch | None
"""What a branch was at some moment; None where nothing is written down."""
Since = tuple[Branch, Snapshot]
"""A branch now, and what it was before."""


@dataclass(frozen=True, slots=True)
class Known:
    """What a record says."""

    value: Mapping[str, Any]

    @property
    def output(self) -> JSON:
        """What was left behind."""
        return self.value["output"]

    def again(self, branch: Branch, data: JSON) -> Outcome:
        """Let it happen again to the variables of a branch, and return how it ended. ``data`` is its input."""
        if "skipped" in self.value:
            return Outcome(data)
        self.restore(branch)
        return Outcome(self.output, directive_from(self.value.get("then")))

    def restore(self, branch: Branch) -> None:
        """Set the variables that were set."""
        branch.variables.update(self.value.get("set", {}))
        if "context" in self.value:
            branch.context, branch.exported = self.value["context"], True


def directive_text(then: Directive | Goto) -> str:
    """Return a directive as records have it: behind a slash, so that no name of a task can be taken for one."""
    return then.name if isinstance(then, Goto) else f"/{then.value}"


def directive_from(text: str | None) -> Directive | Goto | None:
    """Return the directive that a record has."""
    if text is None:
        return None
    return Directive(text[1:]) if text.startswith("/") else Goto(text)


class Progress(Protocol):
    """See the module. Everything here is quick and does nothing where nothing is to be written down."""

    def snapshot(self, branch: Branch) -> Snapshot:
        """Return what a branch is now, for the comparison later."""
        ...

    def find(self, key: str, task: Task) -> Known | None:
        """Return the record of a task that ended in an earlier life."""
        ...

    def entered(self, key: str) -> bool:
        """Tell whether an earlier life of the run was in the middle of the task that is about to begin."""
        ...

    async def keep(self, key: str, task: Task, outcome: Outcome, since: Since) -> None:
        """Write down that a task ended."""
        ...

    def skip(self, key: str, task: Task) -> None:
        """Note that the condition of a task did not hold; it is written down with the next record."""
        ...

    def jumped(self, key: str, branch: Branch) -> tuple[tuple[int, int], JSON] | None:
        """Return where a list stood after its last jump: steps taken and place in the list, and the data."""
        ...

    async def jump(self, key: str, stands: tuple[int, int], data: JSON, since: Since) -> None:
        """Write down where a list stands after a jump."""
        ...

    def counted(self, key: str, branch: Branch) -> tuple[int, JSON] | None:
        """Return how many iterations of a loop are over, and the output of the last one."""
        ...

    async def count(self, key: str, count: int, data: JSON, since: Since) -> None:
        """Write down that so many iterations are over."""
        ...

    def failed(self, key: str, branch: Branch) -> tuple[WorkflowError, JSON] | None:
        """Return how an attempt failed in an earlier life, and the last output before that."""
        ...

    async def fail(self, key: str, error: WorkflowError, data: JSON, since: Since) -> None:
        """Write down that an attempt failed; what it had set stays."""
        ...

    def taken(self, key: str, number: int) -> Mapping[str, Any] | None:
        """Return the record of an event that a listener took in an earlier life."""
        ...

    async def take(self, key: str, number: int, record: Mapping[str, Any], since: Since | None = None) -> None:
        """Write down an event that a listener took; again with ``since`` when what was to be done with it is done."""
        ...

    @property
    def wanted(self) -> Interest:
        """Which events the run wanted to hear when that was last written down."""
        ...

    def hears(self, interest: Interest) -> None:
        """Note which events the run wants to hear; it is written down with the next record, or by ``keep_heard``."""
        ...

    @property
    def keep_heard(self) -> Keep | None:
        """Writes down what was heard; None where nothing is written down at once. It never fails."""
        ...

    def heard(self) -> Sequence[tuple[str, Mapping[str, Any]]]:
        """Return what is noted of the events that an earlier life heard and had not done with, by their keys."""
        ...

    def relieve(self) -> None:
        """Let the run hear by itself from this moment on, and nobody in its place any more."""
        ...

    async def heard_meanwhile(self) -> Sequence[tuple[str, Mapping[str, Any]]]:
        """Return what was noted in its place since this was read, until it was relieved.

        Raises:
            Retryable: it could not be written down, or read.
        """
        ...

    def number(self) -> int:
        """Return what keys of events are counted from: more than all that were used until now."""
        ...

    def hear(self, key: str, heard: Mapping[str, Any]) -> None:
        """Note an event that was heard, and who has it still to look at."""
        ...

    def forget(self, key: str) -> None:
        """Note that nobody wants an event any more, or that it is too old."""
        ...

    async def once(self, key: str, value: int) -> int | None:
        """Return the value that was given at the first time; None where nothing is written down."""
        ...


async def pause(progress: Progress, key: str, duration_ms: int) -> None:
    """Let time pass. A later life waits only for what is left of it."""
    until_ms = await progress.once(key, now_ms() + duration_ms)
    left_ms = duration_ms if until_ms is None else min(duration_ms, until_ms - now_ms())
    await anyio.sleep(max(0, left_ms) / 1000)


def now_ms() -> int:
    """Return the time on the clock that other lives have too."""
    return int(time.time() * 1000)


class Nothing:
    """Nothing is written down: the run ends with its process."""

    def snapshot(self, branch: Branch) -> Snapshot:
        """Return nothing."""

    def find(self, key: str, task: Task) -> Known | None:
        """Know nothing."""

    def entered(self, key: str) -> bool:
        """Know nothing."""
        del key
        return False

    async def keep(self, key: str, task: Task, outcome: Outcome, since: Since) -> None:
        """Do nothing."""

    def skip(self, key: str, task: Task) -> None:
        """Do nothing."""

    def jumped(self, key: str, branch: Branch) -> tuple[tuple[int, int], JSON] | None:
        """Know nothing."""

    async def jump(self, key: str, stands: tuple[int, int], data: JSON, since: Since) -> None:
        """Do nothing."""

    def counted(self, key: str, branch: Branch) -> tuple[int, JSON] | None:
        """Know nothing."""

    async def count(self, key: str, count: int, data: JSON, since: Since) -> None:
        """Do nothing."""

    def failed(self, key: str, branch: Branch) -> tuple[WorkflowError, JSON] | None:
        """Know nothing."""

    async def fail(self, key: str, error: WorkflowError, data: JSON, since: Since) -> None:
        """Do nothing."""

    def taken(self, key: str, number: int) -> Mapping[str, Any] | None:
        """Know nothing."""

    async def take(self, key: str, number: int, record: Mapping[str, Any], since: Since | None = None) -> None:
        """Do nothing."""

    @property
    def wanted(self) -> Interest:
        """Know nothing."""
        return NOTHING

    def hears(self, interest: Interest) -> None:
        """Do nothing."""

    @property
    def keep_heard(self) -> Keep | None:
        """Do nothing."""
        return None

    def heard(self) -> Sequence[tuple[str, Mapping[str, Any]]]:
        """Know nothing."""
        return ()

    def relieve(self) -> None:
        """Nobody heard in its place."""

    async def heard_meanwhile(self) -> Sequence[tuple[str, Mapping[str, Any]]]:
        """Know nothing."""
        return ()

    def number(self) -> int:
        """Begin anew."""
        return 0

    def hear(self, key: str, heard: Mapping[str, Any]) -> None:
        """Do nothing."""

    def forget(self, key: str) -> None:
        """Do nothing."""

    async def once(self, key: str, value: int) -> int | None:
        """Know nothing."""
