"""When a schedule runs next."""

from __future__ import annotations

from jobworkerp_standalone.jobs.model import Worker


def next_run_ms(worker: Worker, previous_ms: int, now_ms: int) -> int | None:
    """Return the next time of a recurring ``worker`` after the run that was due at ``previous_ms``.

    A periodic schedule keeps its phase: times are ``previous + n * interval``, and those already past are
    skipped. None where the worker no longer recurs, which ends the schedule.
    """
    if worker.periodic_interval_ms <= 0:
        return None
    interval = worker.periodic_interval_ms
    due = previous_ms + interval
    if now_ms > due:
        due += ((now_ms - due) // interval + 1) * interval
    return due


def first_run_ms(requested_ms: int, now_ms: int) -> int:
    """Return the first due time of a schedule: what the client asked for (a past time sets the phase), or now."""
    return requested_ms if requested_ms > 0 else now_ms
