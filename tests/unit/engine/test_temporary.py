"""Workers that exist for one job, as text in its metadata."""

from __future__ import annotations

import json
from dataclasses import replace

from jobworkerp_standalone.engine.temporary import DEFINITION_KEY, definition_text, worker_of
from jobworkerp_standalone.jobs.model import Job, QueueType, ResponseType, RetryPolicy, RetryType, Rules, Worker

FULL = Worker(
    7,
    "made",
    3,
    runner_settings=b"\xff\x00",
    retry_policy=RetryPolicy(RetryType.EXPONENTIAL, 10, 100, 3, 1.5),
    channel="side",
    queue_type=QueueType.DB_ONLY,
    response_type=ResponseType.DIRECT,
    store_success=True,
    store_failure=True,
    broadcast_results=True,
    next_workers=(4, 5),
)


def read(text: str) -> Worker | None:
    return worker_of(Job(1, 7, b"", Rules(), 0, "side", metadata={DEFINITION_KEY: text}))


def test_all_that_counts_for_its_jobs_is_kept() -> None:
    assert read(definition_text(FULL)) == FULL
    plain = replace(FULL, retry_policy=None, next_workers=())
    assert read(definition_text(plain)) == plain


def test_a_text_without_rules_is_read() -> None:
    """Rows of an earlier version have such."""
    text = json.dumps({"name": "made", "runner_id": 3, "settings": "/wA="})
    assert read(text) == Worker(7, "made", 3, runner_settings=b"\xff\x00", channel="side")
