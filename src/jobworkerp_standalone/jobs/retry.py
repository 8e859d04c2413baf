"""Retry arithmetic: whether a failed attempt is tried again, and after how long."""

from __future__ import annotations

import math
from typing import Final

from jobworkerp_standalone.jobs.model import RetryPolicy, RetryType

MAX_DELAY_MS: Final = 2**63 - 1
"""Delays saturate here instead of overflowing."""


def delay_ms(policy: RetryPolicy, retried: int) -> int:
    """Return the wait before the next attempt, where ``retried`` counts the retries already made."""
    interval = policy.interval_ms
    if policy.type is RetryType.LINEAR:
        delay = interval * (retried + 1)
    elif policy.type is RetryType.EXPONENTIAL:
        delay = _exponential(interval, policy.basis, retried)
    else:
        delay = interval
    if policy.max_interval_ms > 0:
        delay = min(delay, policy.max_interval_ms)
    return min(delay, MAX_DELAY_MS)


def allows(policy: RetryPolicy | None, retried: int) -> bool:
    """Whether one more attempt may follow after ``retried`` retries."""
    return policy is not None and policy.type is not RetryType.NONE and retried < policy.max_retry


def _exponential(interval_ms: int, basis: float, retried: int) -> int:
    if interval_ms == 0:
        return 0
    try:
        delay = interval_ms * math.pow(basis, retried)
    except OverflowError:
        return MAX_DELAY_MS
    return round(delay) if delay < MAX_DELAY_MS else MAX_DELAY_MS
