"""The names of workflow runs that jobs keep their own notes under: stores, engine and workflows know them."""

from __future__ import annotations

from typing import Final

OF_JOB: Final = "job:"
"""Begins the name; the id of the job ends it."""


def run_of_job(job_id: int) -> str:
    """Return the name under which a job keeps its notes."""
    return f"{OF_JOB}{job_id}"


def job_of_run(run: str) -> int | None:
    """Return the job that keeps its notes under a name; None where it is no such name."""
    number = run.removeprefix(OF_JOB)
    return int(number) if number != run and number.isascii() and number.isdigit() else None
