"""Limits of time: how long a task may take."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio

from jobworkerp_standalone.workflow.state import Spot, TaskState

if TYPE_CHECKING:
    from jobworkerp_standalone.workflow.workflow_run import WorkflowRun


class Limit:
    """The time that a task has. It counts from the beginning, and stands still while extensions do theirs.

    Args:
        scope: what is cancelled when the time is over.
        state: the task; its ``limit_ms`` is set once it is known.
    """

    def __init__(self, scope: anyio.CancelScope, state: TaskState) -> None:
        self._scope = scope
        self._state = state
        self._began = anyio.current_time()

    def begin(self, default_ms: int) -> None:
        """Set the limit, unless it must be evaluated. ``default_ms``: that of a task that names none."""
        timeout = self._state.task.timeout
        after = default_ms if timeout is None else timeout.after
        if isinstance(after, int):
            self._set(after)

    async def settle(self, run: WorkflowRun, spot: Spot) -> None:
        """Set a limit that must be evaluated, now that the task's input is known.

        Raises:
            WorkflowError: its expression failed, or gives no duration.
        """
        state, timeout = self._state, self._state.task.timeout
        if timeout is not None and state.limit_ms is None:
            place = timeout.place("/timeout")
            self._set(await run.milliseconds(timeout.after, state, spot, state.input, place))

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Let something happen that does not count."""
        left = self._scope.deadline - anyio.current_time()
        self._scope.deadline = math.inf
        try:
            yield
        finally:
            self._scope.deadline = anyio.current_time() + left

    def _set(self, milliseconds: int) -> None:
        self._state.limit_ms = milliseconds
        self._scope.deadline = self._began + milliseconds / 1000
