"""The CloudEvents by which a workflow tells how it and its tasks are doing: made where somebody listens for them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final

from jobworkerp_standalone.jobs.cloud_events import completed
from jobworkerp_standalone.runners.bus import EventBus
from jobworkerp_standalone.runners.interest import LIFECYCLE
from jobworkerp_standalone.workflow.model.document import Workflow
from jobworkerp_standalone.workflow.model.tasks import Task
from jobworkerp_standalone.workflow.run_state import RunState


class Phase(Enum):
    """What happened, the member of the data that says when, and the status from then on."""

    CREATED = ("created", "createdAt", "pending")
    STARTED = ("started", "startedAt", "running")
    SUSPENDED = ("suspended", "suspendedAt", "suspended")
    RESUMED = ("resumed", "resumedAt", "running")
    RETRIED = ("retried", "retriedAt", "")
    CANCELLED = ("cancelled", "cancelledAt", "cancelled")
    FAULTED = ("faulted", "faultedAt", "faulted")
    COMPLETED = ("completed", "completedAt", "completed")
    CORRELATION_STARTED = ("correlation-started", "startedAt", "waiting")
    CORRELATION_COMPLETED = ("correlation-completed", "completedAt", "running")


NOTHING_MORE: Final[Mapping[str, Any]] = {}


class Lifecycle:
    """Tells of one run."""

    def __init__(self, bus: EventBus, run: RunState) -> None:
        self._bus = bus
        self._run = run

    @property
    def watched(self) -> bool:
        """Whether anybody listens; else there is nothing to tell."""
        return self._bus.watched

    def of_workflow(self, phase: Phase, more: Mapping[str, Any] = NOTHING_MORE) -> None:
        """Tell what happened to the run."""
        self._tell("workflow", phase, {"name": self._name}, more)

    def of_task(self, phase: Phase, task: Task, more: Mapping[str, Any] = NOTHING_MORE) -> None:
        """Tell what happened to a task."""
        self._tell("task", phase, {"workflow": self._name, "task": task.origin.pointer}, more)

    @property
    def definition(self) -> Mapping[str, str]:
        """Which workflow it is."""
        workflow = self._run.workflow
        return {"namespace": workflow.namespace, "name": workflow.name, "version": workflow.version}

    @property
    def _name(self) -> str:
        return f"{self._run.workflow.name}-{self._run.id}.{self._run.workflow.namespace}"

    def _tell(self, of: str, phase: Phase, who: Mapping[str, Any], more: Mapping[str, Any]) -> None:
        what, when, status = phase.value
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        self._publish(f"{LIFECYCLE}{of}.{what}.v1", {**who, when: now, **more})
        if status:
            self._publish(f"{LIFECYCLE}{of}.status-changed.v1", {**who, "updatedAt": now, "status": status})

    def _publish(self, type_: str, data: Mapping[str, Any]) -> None:
        if self._bus.wants(type_):
            about = {"source": source_of(self._run.workflow), "subject": self._run.id}
            self._bus.hand_on(completed({**about, "type": type_, "datacontenttype": "application/json", "data": data}))


def source_of(workflow: Workflow) -> str:
    """Return where the events of a workflow come from."""
    return f"/{workflow.namespace}/{workflow.name}/{workflow.version}"
