"""Wall clocks that a test sets."""

from __future__ import annotations

from jobworkerp_standalone.engine.clock import SystemClock


class SteppedClock(SystemClock):
    """Goes like the real one, some steps away."""

    def __init__(self, step_ms: int = 0) -> None:
        self.step_ms = step_ms

    def now_ms(self) -> int:
        """Unix milliseconds."""
        return super().now_ms() + self.step_ms


class HandClock(SystemClock):
    """Stands still between the steps of a test, so that what is due when does not depend on how busy the machine is.

    Times are looked at again after the fetch interval, by the real time.
    """

    def __init__(self) -> None:
        self.ms = super().now_ms() // 1000 * 1000 + 500

    def now_ms(self) -> int:
        """Unix milliseconds; half past a second at the start."""
        return self.ms
