"""``try``: catches errors, tries again, or does something else."""

from __future__ import annotations

import random
import time
from typing import cast

import anyio

from jobworkerp_standalone.workflow.errors import Standard, WorkflowError
from jobworkerp_standalone.workflow.expressions.template import Template
from jobworkerp_standalone.workflow.expressions.values import JSON, is_true
from jobworkerp_standalone.workflow.flow import Trail, run_list
from jobworkerp_standalone.workflow.model.tasks import TryTask
from jobworkerp_standalone.workflow.model.values import Backoff, RetryPolicy
from jobworkerp_standalone.workflow.run import Run
from jobworkerp_standalone.workflow.state import Outcome, Spot, TaskState


async def run(run: Run, state: TaskState, spot: Spot) -> Outcome:
    """Run the list; a caught error is followed by another attempt from the start, or by the handler."""
    return await _Attempts(run, state, spot).until_the_end()


class _Attempts:
    def __init__(self, run: Run, state: TaskState, spot: Spot) -> None:
        self._run = run
        self._state = state
        self._spot = spot
        self._task = cast("TryTask", state.task)
        self._began = time.monotonic()

    async def until_the_end(self) -> Outcome:
        branch, number = self._spot.branch, 1
        before = self._run.progress.snapshot(branch)
        while True:
            trail = Trail(self._state.input)
            try:
                return await self._attempt(number, trail)
            except WorkflowError as error:
                caught = error.at(self._state.task.origin.pointer)
            here = self._spot.inside(f"t{number}", {self._task.catch.as_: cast("JSON", caught.as_json())})
            if not await self._catches(caught, here):
                raise caught
            await self._run.progress.fail(f"{self._spot.key}/t{number}", caught, trail.output, (branch, before))
            if await self._tries_again(number, here):
                number += 1
            else:
                return await self._handle(caught, trail, here)

    async def _attempt(self, number: int, trail: Trail) -> Outcome:
        name = f"t{number}"
        if (known := self._run.progress.failed(f"{self._spot.key}/{name}", self._spot.branch)) is not None:
            error, trail.output = known
            raise error
        policy = self._task.catch.retry
        limit_ms = policy.attempt_duration_ms if policy is not None else None
        if limit_ms is None:
            return await run_list(self._run, self._task.try_, trail, self._spot.inside(name))
        with anyio.move_on_after(limit_ms / 1000):
            return await run_list(self._run, self._task.try_, trail, self._spot.inside(name))
        raise Standard.TIMEOUT.error("The attempt took too long", f"attempt {number} did not end within {limit_ms} ms")

    async def _catches(self, error: WorkflowError, here: Spot) -> bool:
        catch = self._task.catch
        return (
            catch.errors.matches(error)
            and await self._holds(catch.when, here, "/catch/when", absent=True)
            and not await self._holds(catch.except_when, here, "/catch/exceptWhen", absent=False)
        )

    async def _tries_again(self, number: int, here: Spot) -> bool:
        """Wait for the next attempt; False where there is none."""
        policy = self._task.catch.retry
        if policy is None or not await self._holds(policy.when, here, "/catch/retry/when", absent=True):
            return False
        if await self._holds(policy.except_when, here, "/catch/retry/exceptWhen", absent=False):
            return False
        most = policy.attempts if policy.attempts is not None or policy.duration_ms is not None else self._most()
        if most is not None and number > most:
            return False
        delay_ms = delay_of(policy, number)
        if policy.duration_ms is not None and self._elapsed_ms() + delay_ms > policy.duration_ms:
            return False
        await self._run.notices.retried(self._task, number, delay_ms)
        await anyio.sleep(delay_ms / 1000)
        return True

    async def _handle(self, error: WorkflowError, trail: Trail, here: Spot) -> Outcome:
        catch = self._task.catch
        if catch.do is not None:
            return await run_list(self._run, catch.do, Trail(trail.output), self._spot_of_handler(here))
        if catch.retry is not None:
            raise error
        return Outcome(trail.output)

    def _spot_of_handler(self, here: Spot) -> Spot:
        return self._spot.inside("c", here.locals)

    async def _holds(self, condition: Template | None, here: Spot, place: str, *, absent: bool) -> bool:
        if condition is None:
            return absent
        return is_true(await self._run.value(condition, self._state, here, self._state.input, place))

    def _most(self) -> int | None:
        return self._run.tools.default_retries

    def _elapsed_ms(self) -> float:
        return (time.monotonic() - self._began) * 1000


def delay_of(policy: RetryPolicy, number: int) -> float:
    """Return the pause before retry ``number`` (from 1) in milliseconds, at most a year."""
    factor = 1.0
    if policy.backoff is Backoff.LINEAR:
        factor = number
    elif policy.backoff is Backoff.EXPONENTIAL:
        factor = 2.0 ** min(number - 1, 60)
    jitter = random.uniform(*policy.jitter_ms) if policy.jitter_ms is not None else 0.0  # noqa: S311 - spreads load
    return min(policy.delay_ms * factor + jitter, _LONGEST_MS)


_LONGEST_MS = 365 * 86_400_000.0
