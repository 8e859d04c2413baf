"""A state of a run that the args of a job bring, or name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from jobworkerp_standalone.jobs.errors import BadInput
from jobworkerp_standalone.jobs.json_in import json_value
from jobworkerp_standalone.workflow.entrance import Entrance
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.notices import ROOT
from jobworkerp_standalone.workflow.workflow_run import WorkflowRun


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A state that the args of a job bring, as the reference keeps it."""

    execution_id: str | None = None
    position: str | None = None
    variables: Mapping[str, JSON] | None = None
    input: JSON = None
    """Of the workflow."""
    task_output: JSON = None
    directive: str = ""

    @classmethod
    def of(cls, args: Any) -> Self:
        """Read ``execution_id`` and ``from_checkpoint`` of ``WorkflowRunArgs``.

        Raises:
            BadInput: they cannot be used.
        """
        execution_id = args.execution_id if args.HasField("execution_id") else None
        if not args.HasField("from_checkpoint"):
            return cls(execution_id)
        given = args.from_checkpoint
        if not execution_id:
            raise BadInput("from_checkpoint needs execution_id: set it to the one under which the run was started")
        if not given.position.strip("/"):
            raise BadInput(f"position of from_checkpoint is missing: name a task, such as {ROOT}/do/0/NAME")
        if not given.HasField("data"):
            return cls(execution_id, given.position)
        data = given.data
        given_text = data.workflow.context_variables
        variables = _json(given_text, "workflow.context_variables")
        if variables is None:
            variables = {}
        if not isinstance(variables, dict):
            raise BadInput(
                "from_checkpoint.data.workflow.context_variables must be a JSON object: "
                f"{given_text[:100]} is not one; leave it empty for no variables"
            )
        return cls(
            execution_id,
            given.position,
            variables,
            _json(data.workflow.input, "workflow.input"),
            _json(data.task.output, "task.output"),
            data.task.flow_directive,
        )

    @property
    def is_place(self) -> bool:
        """Whether it only names a position: the state there is one that was kept."""
        return self.position is not None and self.variables is None

    def enter(self, run: WorkflowRun) -> None:
        """Let a run begin at the position: after the task there, unless it is the one that waited for its turn."""
        position = (self.position or "").removeprefix(ROOT)
        run.branch.variables.update(self.variables or {})
        waiting = self.directive == "wait"
        # What the reference saves for a task that waits is the task that comes next.
        run.entry = Entrance(position, self.task_output, after=not waiting)


def _json(text: str, what: str) -> JSON:
    if not text:
        return None
    try:
        return json_value(text)
    except ValueError as error:
        raise BadInput(f"from_checkpoint.data.{what} is not JSON: {error}") from error
