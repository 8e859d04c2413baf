"""Retry arithmetic against exact fractions."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from hypothesis import example, given
from hypothesis import strategies as st

from jobworkerp_standalone.jobs import retry
from jobworkerp_standalone.jobs.model import RetryPolicy, RetryType
from tests.property import values

RELATIVE_ERROR = Fraction(1, 2**40)
"""Floats are used for powers; at most this much is lost over 50 multiplications."""
few = st.integers(0, 50)


def exact_delay(policy: RetryPolicy, retried: int) -> Fraction:
    """Return the delay of the specification, without rounding and without a limit of size."""
    interval = Fraction(policy.interval_ms)
    if policy.type is RetryType.LINEAR:
        interval *= retried + 1
    elif policy.type is RetryType.EXPONENTIAL:
        interval *= Fraction(policy.basis) ** retried
    if policy.max_interval_ms > 0:
        interval = min(interval, Fraction(policy.max_interval_ms))
    return min(interval, Fraction(retry.MAX_DELAY_MS))


@given(values.policies(), few)
@example(RetryPolicy(RetryType.EXPONENTIAL, interval_ms=0, basis=1e300), 2)
@example(RetryPolicy(RetryType.EXPONENTIAL, interval_ms=1, basis=2.0), 63)
def test_the_formula(policy: RetryPolicy, retried: int) -> None:
    exact = exact_delay(policy, retried)
    assert abs(retry.delay_ms(policy, retried) - exact) <= Fraction(1, 2) + exact * RELATIVE_ERROR


@given(values.policies(), values.retry_counts)
@example(RetryPolicy(RetryType.EXPONENTIAL, interval_ms=0, basis=2.0), 2000)
def test_bounds(policy: RetryPolicy, retried: int) -> None:
    delay = retry.delay_ms(policy, retried)
    assert isinstance(delay, int)
    assert 0 <= delay <= retry.MAX_DELAY_MS
    if policy.max_interval_ms > 0:
        assert delay <= policy.max_interval_ms
    if policy.interval_ms == 0:
        assert delay == 0


@given(values.policies(), values.retry_counts, values.retry_counts)
def test_delays_never_shrink(policy: RetryPolicy, one: int, other: int) -> None:
    earlier, later = sorted((one, other))
    assert retry.delay_ms(policy, earlier) <= retry.delay_ms(policy, later)


@given(values.policies(), values.retry_counts)
def test_a_cap_only_cuts(policy: RetryPolicy, retried: int) -> None:
    uncapped = retry.delay_ms(replace(policy, max_interval_ms=0), retried)
    capped = retry.delay_ms(policy, retried)
    assert capped == (min(uncapped, policy.max_interval_ms) if policy.max_interval_ms else uncapped)


@given(st.integers(1, values.MAX_UINT32), st.floats(1.001, 1e300), st.integers(10**6, values.MAX_UINT32))
def test_growth_saturates(interval_ms: int, basis: float, retried: int) -> None:
    policy = RetryPolicy(RetryType.EXPONENTIAL, interval_ms, basis=basis)
    assert retry.delay_ms(policy, retried) == retry.MAX_DELAY_MS


@given(values.policies(), values.retry_counts)
def test_retries_are_counted(policy: RetryPolicy, retried: int) -> None:
    allowed = retry.allows(policy, retried)
    assert allowed == (policy.type is not RetryType.NONE and retried < policy.max_retry)
    assert not retry.allows(replace(policy, max_retry=0), retried)
    assert not retry.allows(replace(policy, type=RetryType.NONE), retried)
    assert not retry.allows(None, retried)
