"""Where a run begins that goes on from a state which somebody else has kept."""

from __future__ import annotations

from dataclasses import dataclass

from jobworkerp_standalone.workflow.errors import Standard
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.model.tasks import DoTask, Task, TaskList, TryTask
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
        """Return the place in a list at which to begin, and what is still to be found further inside."""
        for at, task in enumerate(tasks.tasks):
            if self.pointer == task.origin.pointer:
                trail.output = self.data
                return (at + 1 if self.after else at), None
            if self.is_inside(task):
                if not isinstance(task, (DoTask, TryTask)):
                    raise Standard.CONFIGURATION.error(
                        "The run cannot go on there", f"{self.pointer} is inside of a loop or a fork"
                    )
                return at, self
        raise Standard.CONFIGURATION.error(
            "The run cannot go on there", f"the workflow has no task at {self.pointer}", status=404
        )
