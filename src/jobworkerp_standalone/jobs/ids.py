"""Snowflake ids: time-ordered, unique across processes and restarts, positive 64-bit."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

NODE_BITS: Final = 10
_SEQUENCE_BITS: Final = 12
_TIME_SHIFT: Final = NODE_BITS + _SEQUENCE_BITS
_SEQUENCE_MASK: Final = (1 << _SEQUENCE_BITS) - 1


class IdGenerator:
    """Hands out strictly increasing ids: milliseconds since 1970, node, counter.

    Args:
        node: 0..1023, different for processes that share a store.
        floor: the largest id already in the store; ids start above it even if the clock went back.
        now_ms: wall clock.
    """

    def __init__(self, node: int, floor: int = 0, now_ms: Callable[[], int] | None = None) -> None:
        if not 0 <= node < 1 << NODE_BITS:
            raise ValueError(f"node {node} is outside 0..{(1 << NODE_BITS) - 1}")
        self._node = node << _SEQUENCE_BITS
        self._now_ms = now_ms or _wall_clock_ms
        self._last_ms = floor >> _TIME_SHIFT
        self._sequence = _SEQUENCE_MASK if floor else -1

    def __call__(self) -> int:
        """Return the next id. A clock that stands still or goes back is outrun, never waited for."""
        now = self._now_ms()
        if now > self._last_ms:
            self._last_ms, self._sequence = now, 0
        elif self._sequence < _SEQUENCE_MASK:
            self._sequence += 1
        else:
            self._last_ms, self._sequence = self._last_ms + 1, 0
        return self._last_ms << _TIME_SHIFT | self._node | self._sequence


def id_at(time_ms: int) -> int:
    """Return an id that is larger than all made before that time, and not larger than those made since."""
    return max(time_ms, 0) << _TIME_SHIFT


def _wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000
