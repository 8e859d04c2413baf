"""When a schedule runs next. Pure: the same question has the same answer, whatever happened in between."""

from __future__ import annotations

from typing import Final

from jobworkerp_standalone.jobs.cron import cron_schedule
from jobworkerp_standalone.jobs.model import Job, Misfire, Worker

_CORRECTION_MS: Final = 3_600_000
"""A clock set back by up to this repeats no time of a cron schedule; by more, it was wrong before."""


def next_run_ms(worker: Worker, previous_ms: int, now_ms: int) -> int | None:
    """Return the next time of a recurring ``worker`` after the run that was due at ``previous_ms``.

    A periodic schedule keeps its phase: times are ``previous + n * interval``. Times already past are skipped, and a
    clock set back by less than a period repeats none. A run
    that was retried was due when its last try was, so it shifts the phase. Where the period counts from the end of a
    run, ``now`` is that end. None where the worker no longer recurs,
    which ends the schedule.
    """
    if worker.cron:
        set_back = 0 < previous_ms - now_ms <= _CORRECTION_MS
        return cron_schedule(worker.cron, worker.cron_timezone).next_after_ms(previous_ms if set_back else now_ms)
    if worker.periodic_interval_ms <= 0:
        return None
    if worker.periodic_from_end:
        return now_ms + worker.periodic_interval_ms
    return _next_in_phase(worker.periodic_interval_ms, previous_ms, now_ms)


def first_run_ms(worker: Worker, requested_ms: int, now_ms: int) -> int:
    """Return the first time of a job that is fired from its row.

    A schedule with a period starts when the client asked for (a past time sets the phase), or now; one with cron at its
    first time from then on.
    """
    if worker.cron:
        return cron_schedule(worker.cron, worker.cron_timezone).next_after_ms(max(requested_ms - 1, now_ms))
    return requested_ms if requested_ms > 0 else now_ms


def retimed_ms(old: Worker, new: Worker, job: Job, now_ms: int) -> int:
    """Return when a schedule that waits for its next time runs, now that its worker changed from ``old`` to ``new``.

    What is due already stays due; a first run that the client asked for later comes no earlier than that.
    """
    due_ms = job.run_after_ms
    if _times(old) == _times(new) or not (old.recurring and new.recurring) or due_ms <= now_ms:
        return due_ms
    previous_ms = now_ms if old.cron else due_ms - old.periodic_interval_ms
    waits_for_first = (
        due_ms > (next_run_ms(old, now_ms, now_ms) or due_ms)
        if old.cron
        else not job.enqueue_time_ms <= previous_ms <= now_ms
    )
    return first_run_ms(new, due_ms, now_ms) if waits_for_first else next_run_ms(new, previous_ms, now_ms) or due_ms


def is_missed(worker: Worker, due_ms: int, now_ms: int, tolerance_ms: int) -> bool:
    """Whether a run is to be left out because nobody was there to start it within ``tolerance_ms`` of its time."""
    return worker.recurring and worker.cron_misfire is Misfire.SKIP and now_ms - due_ms > tolerance_ms


def upcoming_ms(worker: Worker, next_ms: int, count: int) -> list[int]:
    """Return the next ``count`` times of a schedule that is due at ``next_ms``, if no run takes too long."""
    times = [next_ms]
    while len(times) < count and (following := next_run_ms(worker, times[-1], times[-1])) is not None:
        times.append(following)
    return times


def _times(worker: Worker) -> tuple[int, str, str]:
    """Return what decides when a schedule runs."""
    return worker.periodic_interval_ms, worker.cron, worker.cron_timezone


def _next_in_phase(interval_ms: int, previous_ms: int, now_ms: int) -> int:
    if previous_ms - now_ms >= interval_ms:  # the clock was set back by whole periods: their times come again
        return now_ms + interval_ms - (now_ms - previous_ms) % interval_ms
    due_ms = previous_ms + interval_ms
    if now_ms > due_ms:
        due_ms += ((now_ms - due_ms) // interval_ms + 1) * interval_ms
    return due_ms
