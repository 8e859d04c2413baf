"""Strategies for jobs, workers and their rules."""

from __future__ import annotations

from hypothesis import strategies as st

from jobworkerp_standalone.jobs.model import (
    Job,
    Priority,
    QueueType,
    ResponseType,
    ResultStatus,
    RetryPolicy,
    RetryType,
    Rules,
    Worker,
)

MAX_INT64 = 2**63 - 1
MAX_UINT32 = 2**32 - 1
YEAR_2020_MS = 1_577_836_800_000
YEAR_2035_MS = 2_051_222_400_000

moments = st.integers(YEAR_2020_MS, YEAR_2035_MS)
"""Unix milliseconds that a clock may show."""
bases = st.floats(1.0, 1e300, allow_nan=False, allow_infinity=False) | st.sampled_from([1.0, 1.5, 2.0, 10.0])
"""What an exponential policy may have."""
any_basis = bases | st.floats(allow_nan=False, allow_infinity=False)
"""What the other policies may have: it is not used."""
retry_counts = st.integers(0, 50) | st.integers(0, MAX_UINT32)


@st.composite
def policies(draw: st.DrawFn, max_retry: st.SearchStrategy[int] = retry_counts) -> RetryPolicy:
    """Every retry policy that a worker may have."""
    kind = draw(st.sampled_from(RetryType))
    return RetryPolicy(
        type=kind,
        interval_ms=draw(st.integers(0, 10_000) | st.integers(0, MAX_UINT32)),
        max_interval_ms=draw(st.just(0) | st.integers(0, MAX_UINT32)),
        max_retry=draw(max_retry),
        basis=draw(bases if kind is RetryType.EXPONENTIAL else any_basis),
    )


rules = st.builds(
    Rules,
    response_type=st.sampled_from(ResponseType),
    store_success=st.booleans(),
    store_failure=st.booleans(),
    broadcast_results=st.booleans(),
    retry_policy=st.none() | policies(),
)
periods = st.integers(1, 100_000) | st.integers(1, MAX_UINT32)
workers = st.builds(
    Worker,
    id=st.integers(1, 1000),
    name=st.text(min_size=1, max_size=20),
    runner_id=st.just(1),
    retry_policy=st.none() | policies(),
    periodic_interval_ms=st.just(0) | periods,
    queue_type=st.sampled_from(QueueType),
    response_type=st.sampled_from(ResponseType),
)
jobs = st.builds(
    Job,
    id=st.integers(1, MAX_INT64),
    worker_id=st.integers(1, 1000),
    args=st.binary(max_size=10),
    rules=rules,
    enqueue_time_ms=moments,
    queue_type=st.sampled_from(QueueType),
    priority=st.sampled_from(Priority),
    run_after_ms=st.just(0) | moments,
    retried=retry_counts,
    recurring=st.booleans(),
    stored=st.booleans(),
)
statuses = st.sampled_from(ResultStatus)
