"""``wait``: lets time pass."""

from __future__ import annotations

import time
from typing import cast

import anyio

from jobworkerp_standalone.workflow.model.tasks import WaitTask
from jobworkerp_standalone.workflow.run import Run
from jobworkerp_standalone.workflow.state import Outcome, Spot, TaskState


async def run(run: Run, state: TaskState, spot: Spot) -> Outcome:
    """Wait and pass the input on. A run that goes on after a crash waits only for what is left of the time."""
    duration_ms = cast("WaitTask", state.task).duration_ms
    until_ms = await run.progress.once(f"{spot.key}/until", int(time.time() * 1000) + duration_ms)
    left_ms = duration_ms if until_ms is None else min(duration_ms, until_ms - int(time.time() * 1000))
    await anyio.sleep(max(0, left_ms) / 1000)
    return Outcome(state.input)
