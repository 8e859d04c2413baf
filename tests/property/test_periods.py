"""When a schedule runs next: in phase, not in the past, exactly one time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from jobworkerp_standalone.jobs.model import Job, Rules, Worker
from jobworkerp_standalone.jobs.periods import first_run_ms, next_run_ms, retimed_ms
from tests.property import values


def every(interval_ms: int) -> Worker:
    return Worker(1, "w", 1, periodic_interval_ms=interval_ms)


def next_of(interval_ms: int, previous_ms: int, now_ms: int) -> int:
    following = next_run_ms(every(interval_ms), previous_ms, now_ms)
    assert following is not None
    return following


@given(values.periods, values.moments, values.moments)
def test_the_next_run_is_in_phase_and_not_in_the_past(interval_ms: int, previous_ms: int, now_ms: int) -> None:
    following = next_of(interval_ms, previous_ms, now_ms)
    assert (following - previous_ms) % interval_ms == 0
    assert following > min(previous_ms, now_ms)
    assert following >= now_ms


@given(values.periods, values.moments, values.moments)
def test_a_schedule_that_is_late_skips_what_is_past_and_no_more(
    interval_ms: int, previous_ms: int, now_ms: int
) -> None:
    following = next_of(interval_ms, previous_ms, now_ms)
    if previous_ms - interval_ms < now_ms <= previous_ms + interval_ms:
        assert following == previous_ms + interval_ms
    else:
        assert now_ms < following <= now_ms + interval_ms


@given(values.periods, values.moments, st.lists(st.integers(0, 10**7), max_size=50))
def test_a_chain_of_runs_does_not_drift(interval_ms: int, first_ms: int, durations: list[int]) -> None:
    due, times = first_ms, [first_ms]
    for duration in durations:
        due = next_of(interval_ms, due, due + duration)
        times.append(due)
    assert all((each - first_ms) % interval_ms == 0 for each in times)
    assert times == sorted(set(times))


@given(values.periods, values.moments, st.integers(0, 1000))
def test_runs_shorter_than_the_period_miss_none(interval_ms: int, first_ms: int, late_ms: int) -> None:
    due = first_ms
    for number in range(1, 20):
        due = next_of(interval_ms, due, due + min(late_ms, interval_ms))
        assert due == first_ms + number * interval_ms


@given(values.moments, values.moments)
def test_a_worker_that_does_not_recur_has_no_next_run(previous_ms: int, now_ms: int) -> None:
    assert next_run_ms(every(0), previous_ms, now_ms) is None


@given(st.integers(0, values.MAX_INT64), values.moments)
def test_the_first_run_is_when_the_client_says_or_now(requested_ms: int, now_ms: int) -> None:
    assert first_run_ms(every(1000), requested_ms, now_ms) == (requested_ms or now_ms)


@given(values.periods, values.moments, st.integers(1, 10**12))
def test_a_clock_that_is_set_back_neither_stops_nor_shifts_a_schedule(
    interval_ms: int, previous_ms: int, step_ms: int
) -> None:
    now_ms = previous_ms - step_ms
    following = next_of(interval_ms, previous_ms, now_ms)
    assert now_ms < following < now_ms + 2 * interval_ms
    assert (following - previous_ms) % interval_ms == 0


@given(values.periods, values.moments, st.data())
def test_a_clock_that_is_set_back_by_less_than_a_period_repeats_no_run(
    interval_ms: int, previous_ms: int, data: st.DataObject
) -> None:
    step_ms = data.draw(st.integers(1, interval_ms - 1) if interval_ms > 1 else st.just(0))
    assert next_of(interval_ms, previous_ms, previous_ms - step_ms) == previous_ms + interval_ms


@given(values.periods, values.periods, values.moments, st.integers(0, 10), st.data())
def test_a_period_that_changes_counts_from_the_last_run(
    old_ms: int, new_ms: int, first_ms: int, runs: int, data: st.DataObject
) -> None:
    due_ms = first_ms + (runs + 1) * old_ms
    now_ms = data.draw(st.integers(due_ms - old_ms, due_ms - 1))
    waiting = Job(1, 1, b"", Rules(), first_ms, run_after_ms=due_ms, recurring=True)
    following = retimed_ms(every(old_ms), every(new_ms), waiting, now_ms)
    assert following == (due_ms if old_ms == new_ms else next_of(new_ms, due_ms - old_ms, now_ms))


@given(values.periods, values.periods, values.moments, st.data())
def test_a_first_run_that_was_asked_for_is_not_brought_forward(
    old_ms: int, new_ms: int, enqueued_ms: int, data: st.DataObject
) -> None:
    due_ms = enqueued_ms + data.draw(st.integers(0, old_ms - 1) | st.integers(2 * old_ms, 10 * old_ms))
    now_ms = enqueued_ms
    waiting = Job(1, 1, b"", Rules(), enqueued_ms, run_after_ms=due_ms, recurring=True)
    assert retimed_ms(every(old_ms), every(new_ms), waiting, now_ms) == due_ms


@given(values.periods, values.moments, values.moments)
def test_what_is_due_stays_due_and_what_does_not_recur_stays(period_ms: int, due_ms: int, now_ms: int) -> None:
    waiting = Job(1, 1, b"", Rules(), 0, run_after_ms=due_ms, recurring=True)
    assert retimed_ms(every(period_ms), every(0), waiting, now_ms) == due_ms
    assert retimed_ms(every(period_ms), every(period_ms + 1), waiting, max(due_ms, now_ms)) == due_ms
