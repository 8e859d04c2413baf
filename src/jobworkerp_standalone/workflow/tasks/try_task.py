"""``try``: catches errors, tries again, or does something else."""

from __future__ import annotations

import random
import time
from typing import Final, cast

from jobworkerp_standalone.workflow.errors import WorkflowError
from jobworkerp_standalone.workflow.expressions.template import Template
from jobworkerp_standalone.workflow.expressions.values import JSON, is_true
from jobworkerp_standalone.workflow.flow import execute_tasks
from jobworkerp_standalone.workflow.model.tasks import TryTask
from jobworkerp_standalone.workflow.model.values import Backoff, Duration, RetryPolicy
from jobworkerp_standalone.workflow.pointers import declared
from jobworkerp_standalone.workflow.progress import now_ms, pause
from jobworkerp_standalone.workflow.state import Outcome, Spot, TaskState, Trail
from jobworkerp_standalone.workflow.workflow_run import WorkflowRun


async def execute(run: WorkflowRun, state: TaskState, spot: Spot) -> Outcome:
    """Run the list; a caught error is followed by another attempt from the start, or by the handler."""
    return await _Attempts(run, state, spot).until_the_end()


class _Attempts:
    def __init__(self, run: WorkflowRun, state: TaskState, spot: Spot) -> None:
        self._run = run
        self._state = state
        self._spot = spot
        self._task = cast("TryTask", state.task)
        self._began = time.monotonic()
        self._earlier_ms = 0
        """What earlier lives of the run spent here."""

    async def until_the_end(self) -> Outcome:
        branch, number = self._spot.branch, 1
        await self._remember_the_beginning()
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
        return await execute_tasks(self._run, self._task.try_, trail, self._spot.inside(name))

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
        if policy is None or not await self._holds(policy.when, here, f"{self._retry}/when", absent=True):
            return False
        if await self._holds(policy.except_when, here, f"{self._retry}/exceptWhen", absent=False):
            return False
        most = policy.attempts
        if most is None and not policy.durations:
            most = self._run.tools.default_retries
        if most is not None and number > most:
            return False
        delay_ms = await self._delay(policy, number, here)
        for place, duration in policy.durations.items():
            limit_ms = await self._milliseconds(duration, here, place)
            if self._elapsed_ms() + delay_ms > limit_ms:
                return False
        await self._run.notices.retried(self._task, number, delay_ms)
        await pause(self._run.progress, f"{self._spot.key}/p{number}", delay_ms)
        return True

    async def _handle(self, error: WorkflowError, trail: Trail, here: Spot) -> Outcome:
        catch = self._task.catch
        outcome = Outcome(trail.output)
        if catch.do is not None:
            handler = self._spot.inside("c", here.locals)
            outcome = await execute_tasks(self._run, catch.do, Trail(trail.output), handler)
        elif catch.retry is not None and catch.then is None:
            raise error
        if outcome.then is None and catch.then is not None:
            then = await self._run.directive(catch.then, self._state, here, outcome.output, "/catch/then")
            return outcome._replace(then=then)
        return outcome

    async def _holds(self, condition: Template | None, here: Spot, place: str, *, absent: bool) -> bool:
        if condition is None:
            return absent
        return is_true(await self._run.value(condition, self._state, here, self._state.input, place))

    async def _remember_the_beginning(self) -> None:
        policy = self._task.catch.retry
        if policy is not None and policy.durations:
            now = now_ms()
            began_ms = await self._run.progress.once(f"{self._spot.key}/began", now)
            self._earlier_ms = 0 if began_ms is None else max(0, now - began_ms)

    def _elapsed_ms(self) -> float:
        return self._earlier_ms + (time.monotonic() - self._began) * 1000

    async def _delay(self, policy: RetryPolicy, number: int, here: Spot) -> int:
        """Return the pause before retry ``number`` (from 1) in milliseconds, at most a year."""
        delay_ms = await self._milliseconds(policy.delay, here, "delay") * _factor(policy.backoff, number)
        if policy.jitter is not None:
            low, high = policy.jitter
            low_ms = await self._milliseconds(low, here, "jitter/from")
            high_ms = await self._milliseconds(high, here, "jitter/to")
            delay_ms += random.uniform(low_ms, max(low_ms, high_ms))  # noqa: S311 - it spreads load
        return int(min(delay_ms, _LONGEST_MS))

    async def _milliseconds(self, duration: Duration, spot: Spot, name: str) -> int:
        return await self._run.milliseconds(duration, self._state, spot, self._state.input, f"{self._retry}/{name}")

    @property
    def _retry(self) -> str:
        policy = self._task.catch.retry
        return declared("retries", policy.name if policy is not None else None, "/catch/retry")


_LONGEST_MS: Final = 365 * 86_400_000


def _factor(backoff: Backoff, number: int) -> int:
    match backoff:
        case Backoff.CONSTANT:
            return 1
        case Backoff.LINEAR:
            return number
        case Backoff.EXPONENTIAL:
            return 2 ** min(number - 1, 60)
