"""The state table of a live job, and what follows an attempt: no step too many, none too few, no job lost."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from jobworkerp_standalone.engine.live import LiveJobs
from jobworkerp_standalone.jobs import lifecycle
from jobworkerp_standalone.jobs.lifecycle import Event, Finish, RepeatAt, RetryAt, after_attempt
from jobworkerp_standalone.jobs.model import Job, JobStatus, ResultStatus, RetryPolicy, RetryType, Rules, Worker
from tests.property import values

ALLOWED = {
    (JobStatus.PENDING, Event.START): JobStatus.RUNNING,
    (JobStatus.RUNNING, Event.HANDOFF): JobStatus.WAIT_RESULT,
    # Another attempt or another run waits again.
    (JobStatus.RUNNING, Event.RETRY): JobStatus.PENDING,
    (JobStatus.RUNNING, Event.REPEAT): JobStatus.PENDING,
    (JobStatus.WAIT_RESULT, Event.RETRY): JobStatus.PENDING,
    (JobStatus.WAIT_RESULT, Event.REPEAT): JobStatus.PENDING,
    # A client may delete a job at any time, also twice.
    (JobStatus.PENDING, Event.CANCEL): JobStatus.CANCELLING,
    (JobStatus.RUNNING, Event.CANCEL): JobStatus.CANCELLING,
    (JobStatus.WAIT_RESULT, Event.CANCEL): JobStatus.CANCELLING,
    (JobStatus.CANCELLING, Event.CANCEL): JobStatus.CANCELLING,
}
ENDED_STATUSES = frozenset(ResultStatus) - {ResultStatus.ERROR_AND_RETRY}
some_job = Job(1, 1, b"", Rules(), 1000)


@pytest.mark.parametrize(("status", "event"), list(product(JobStatus, Event)), ids=lambda each: each.name)
def test_every_step_of_the_table(status: JobStatus, event: Event) -> None:
    assert lifecycle.step(status, event) is ALLOWED.get((status, event))


@given(st.lists(st.sampled_from(Event)), st.data())
def test_a_deleted_job_never_starts_again(events: list[Event], data: st.DataObject) -> None:
    live = LiveJobs().add(some_job, 0)
    for number, event in enumerate(events):
        live.advance(event, number)
    live.advance(Event.CANCEL, len(events))
    assert live.status is JobStatus.CANCELLING
    for event in data.draw(st.lists(st.sampled_from(Event))):
        live.advance(event, 0)
        assert live.status is JobStatus.CANCELLING


@given(st.lists(st.sampled_from(Event)))
def test_a_refused_step_changes_nothing(events: list[Event]) -> None:
    live = LiveJobs().add(some_job, 7)
    for now, event in enumerate(events, 100):
        before = replace(live)
        if not live.advance(event, now):
            assert live == before
            continue
        assert live.updated_at_ms == now
        if live.status is JobStatus.RUNNING:
            assert live.start_time_ms == now
        elif live.status is JobStatus.PENDING:
            assert (live.start_time_ms, live.pending_time_ms) == (None, now)


@given(st.lists(st.sampled_from(Event)))
def test_a_run_begins_only_from_waiting(events: list[Event]) -> None:
    live = LiveJobs().add(some_job, 0)
    for event in events:
        before = live.status
        live.advance(event, 1)
        if live.status is JobStatus.RUNNING:
            assert before in (JobStatus.PENDING, JobStatus.RUNNING)
        assert live.status is not JobStatus.UNKNOWN


def may_retry(job: Job) -> bool:
    policy = job.rules.retry_policy
    return policy is not None and policy.type is not RetryType.NONE and job.retried < policy.max_retry


@given(values.jobs, values.statuses, values.moments, st.none() | values.workers, st.booleans())
def test_an_attempt_is_followed_by_exactly_one_thing(
    job: Job, status: ResultStatus, end_ms: int, worker: Worker | None, retriable: bool
) -> None:
    step = after_attempt(job, status, end_ms, worker, retriable=retriable)
    again = status is ResultStatus.ERROR_AND_RETRY and retriable and may_retry(job)
    goes_on = job.recurring and worker is not None and worker.periodic_interval_ms > 0
    assert isinstance(step, RetryAt) == again
    assert isinstance(step, RepeatAt) == (goes_on and not again)
    assert isinstance(step, Finish) == (not goes_on and not again)


@given(values.jobs, values.statuses, values.moments, st.none() | values.workers, st.booleans())
def test_what_waits_for_the_end_hears_of_it(
    job: Job, status: ResultStatus, end_ms: int, worker: Worker | None, retriable: bool
) -> None:
    step = after_attempt(job, status, end_ms, worker, retriable=retriable)
    if isinstance(step, RetryAt):
        assert step.status is ResultStatus.ERROR_AND_RETRY
    else:
        assert step.status in ENDED_STATUSES
        assert step.status is (ResultStatus.MAX_RETRY if status is ResultStatus.ERROR_AND_RETRY else status)


@given(values.jobs, values.statuses, values.moments, st.none() | values.workers, st.booleans())
def test_what_follows_is_never_in_the_past(
    job: Job, status: ResultStatus, end_ms: int, worker: Worker | None, retriable: bool
) -> None:
    step = after_attempt(job, status, end_ms, worker, retriable=retriable)
    if not isinstance(step, Finish):
        assert end_ms <= step.run_after_ms <= values.MAX_INT64


@given(values.jobs, values.policies(max_retry=st.integers(0, 20)), values.moments)
def test_a_job_that_always_fails_runs_once_more_than_its_retries(job: Job, policy: RetryPolicy, start_ms: int) -> None:
    job = replace(job, rules=replace(job.rules, retry_policy=policy), retried=0, recurring=False)
    end_ms, runs = start_ms, 0
    while True:
        runs += 1
        assert runs <= policy.max_retry + 1
        step = after_attempt(job, ResultStatus.ERROR_AND_RETRY, end_ms, None)
        if not isinstance(step, RetryAt):
            break
        assert step.run_after_ms >= end_ms
        end_ms = min(step.run_after_ms + 1, values.MAX_INT64)
        job = replace(job, retried=job.retried + 1, run_after_ms=step.run_after_ms)
    assert step == Finish(ResultStatus.MAX_RETRY)
    assert runs == (1 if policy.type is RetryType.NONE else policy.max_retry + 1)


@given(values.jobs, values.workers, st.lists(values.statuses, min_size=1, max_size=30), values.moments)
def test_a_schedule_outlives_every_outcome(
    job: Job, worker: Worker, outcomes: list[ResultStatus], start_ms: int
) -> None:
    assume(worker.periodic_interval_ms > 0)
    job, end_ms = replace(job, recurring=True, run_after_ms=start_ms, retried=0), start_ms
    for status in outcomes:
        step = after_attempt(job, status, end_ms, worker)
        assert not isinstance(step, Finish)
        end_ms = min(step.run_after_ms, values.YEAR_2035_MS)
        retried = job.retried + 1 if isinstance(step, RetryAt) else 0
        job = replace(job, run_after_ms=end_ms, retried=retried)


@given(values.jobs, values.statuses, values.moments)
def test_a_deleted_schedule_ends(job: Job, status: ResultStatus, end_ms: int) -> None:
    assert isinstance(after_attempt(job, status, end_ms, None, retriable=False), Finish)
