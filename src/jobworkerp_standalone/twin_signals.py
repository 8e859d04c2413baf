"""SIGTERM that is sent twice although one end was meant.

``timeout`` sends it to its command and then to the group of processes that this one is in; ``make`` passes it on to
what it has started, which has had it already where the whole group was ended. Who counts both hears "do not wait any
longer" from somebody who asked for an end in order.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Final

TWIN_SEC: Final = 0.25
"""Time within which a second SIGTERM is the first one again. Longer than a busy machine takes from one to the other."""


class TwinSignals:
    """Tells the second of two that are one. Ctrl-C is never left out: who presses it twice means it twice.

    Args:
        clock: gives seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: float | None = None

    def repeats(self, number: int) -> bool:
        """Whether this signal is only the one before it again."""
        if number != signal.SIGTERM:
            return False
        now = self._clock()
        if self._last is not None and now - self._last < TWIN_SEC:
            return True
        self._last = now
        return False
