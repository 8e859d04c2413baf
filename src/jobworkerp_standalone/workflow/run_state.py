"""How one run of a workflow is doing, for those who only look at it: its variables, its news, its events."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, datetime
from enum import IntEnum

from jobworkerp_standalone.workflow.errors import WorkflowError
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.model.document import Workflow


class Status(IntEnum):
    """How a run is doing, by the numbers of ``WorkflowResult.WorkflowStatus``."""

    COMPLETED = 0
    FAULTED = 1
    CANCELLED = 2
    PENDING = 3
    RUNNING = 4
    WAITING = 5


@dataclass(slots=True)
class RunState:
    """What is known of a run."""

    id: str
    workflow: Workflow
    _: KW_ONLY
    status: Status = Status.PENDING
    input: JSON = None
    """The workflow's input with defaults, before its transformation."""
    output: JSON = None
    output_text: str = "null"
    """The output as JSON, from the end on."""
    error: WorkflowError | None = None
    position: str = ""
    """Pointer of the task that ended last, or failed."""
    resumes_at: str = ""
    """Pointer of the task at which a suspended run goes on."""
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
