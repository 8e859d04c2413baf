"""Where a run begins that goes on from a state which somebody else has kept."""

from __future__ import annotations

from dataclasses import dataclass

from jobworkerp_standalone.jobs.errors import BadInput
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.model.tasks import DoTask, Task, TaskList, TryTask
from jobworkerp_standalone.workflow.notices import ROOT
from jobworkerp_standalone.workflow.state import Trail


@dataclass(frozen=True, slots=True)
class Entrance:
    """The task to go on from."""

    pointer: str
    """Of the task, in the DSL's form."""
    data: JSON
    """Its output, where ``after``; else its input."""
    after: bool
    """Whether the task has ended, so that the next one begins."""

    def is_inside(self, task: Task) -> bool:
        """Whether a task has the one to go on from inside."""
        return self.pointer.startswith(f"{task.origin.pointer}/")

    def into(self, tasks: TaskList, trail: Trail) -> tuple[int, Entrance | None]:
        """Return the place in a list at which to begin, and what is still to be found further inside.

        Raises:
            BadInput: it is not to be found, or no run can begin there. No ``try`` is to catch that.
        """
        for at, task in enumerate(tasks.tasks):
            if self.pointer == task.origin.pointer:
                trail.output = self.data
                return (at + 1 if self.after else at), None
            if self.is_inside(task):
                if isinstance(task, DoTask) or (isinstance(task, TryTask) and self._is_below(task, "try")):
                    return at, self
                raise self._wrong("it is inside of a loop, a fork or a handler of errors; name a task outside of that")
        raise self._wrong("the workflow has no task there")

    def _is_below(self, task: Task, list_: str) -> bool:
        return self.pointer.startswith(f"{task.origin.pointer}/{list_}/")

    def _wrong(self, why: str) -> BadInput:
        return BadInput(f"from_checkpoint cannot go on at {ROOT}{self.pointer}: {why}")
