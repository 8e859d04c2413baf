"""Stores as processes open them, the clock that they go by, and rows for them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio

from jobworkerp_standalone.backends.sql.store import SqlStore, open_store
from jobworkerp_standalone.jobs.model import (
    Job,
    JobResult,
    Misfire,
    Overrides,
    Priority,
    QueueType,
    ResponseType,
    ResultStatus,
    RetryPolicy,
    RetryType,
    Rules,
    StreamingType,
    Worker,
)
from jobworkerp_standalone.ports import Instance, Store
from jobworkerp_standalone.settings import Settings

NOW = 1_700_000_000_000
LEASE_MS = 30_000
EVER = NOW + 10**12


@dataclass
class HandClock:
    """A clock that the test moves."""

    ms: int = NOW

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000

    async def sleep(self, seconds: float) -> None:
        self.ms += round(seconds * 1000)
        await anyio.lowlevel.checkpoint()


@asynccontextmanager
async def opened(
    path: Path, owner: int | None = 1, clock: HandClock | None = None, busy_timeout_ms: int = 5000
) -> AsyncGenerator[SqlStore, None]:
    """Open a store as one process would; registered as ``owner``."""
    settings = Settings(sqlite_path=str(path), job_lease_sec=LEASE_MS // 1000)
    async with open_store(settings, clock or HandClock(), busy_timeout_ms=busy_timeout_ms) as store:
        if owner is not None:
            await store.register(instance(owner))
        yield store


def instance(number: int, heartbeat_ms: int = NOW) -> Instance:
    return Instance(number, "127.0.0.1", "here", (("[default]", 4),), NOW, heartbeat_ms)


def job(number: int, **fields: Any) -> Job:
    return replace(Job(number, 1, b"", Rules(), NOW, channel="c", stored=True), **fields)


def result(number: int, of: Job, status: ResultStatus = ResultStatus.SUCCESS, **fields: Any) -> JobResult:
    return replace(JobResult(number, of, "w", status, b"out", NOW, NOW + 1), **fields)


async def lease(store: Store, *, until_ms: int = EVER, limit: int = 100, channel: str = "c") -> list[Job]:
    """Lease rows of one channel."""
    return [each.job for each in await store.lease_due(until_ms, {channel: limit})]


async def lease_one(store: Store) -> Job:
    (only,) = await lease(store)
    return only


FULL_POLICY = RetryPolicy(RetryType.EXPONENTIAL, 250, 4000, 7, 1.7)
FULL_JOB = Job(
    id=2**62 + 5,
    worker_id=2**40,
    args=bytes(range(256)),
    rules=Rules(ResponseType.DIRECT, True, True, True, FULL_POLICY),
    enqueue_time_ms=NOW - 5,
    channel="kanal ü\U0001f600",
    queue_type=QueueType.DB_ONLY,
    priority=Priority.LOW,
    timeout_ms=2**63 - 1,
    run_after_ms=2**63 - 1,
    using="method",
    streaming=StreamingType.INTERNAL,
    uniq_key="key 'quoted' \0 \N{SNOWMAN}",
    overrides=Overrides(ResponseType.NO_RESULT, False, True, None, RetryPolicy(RetryType.CONSTANT, 1, 2, 3, 0.5)),
    metadata={"a": "b", "x-bin": "\x7f", "ü": "\n"},
    retried=2**31,
    recurring=True,
    stored=True,
    fence=3,
    deliveries=2,
)
FULL_WORKER = Worker(
    id=0,
    name="wörker %_'",
    runner_id=2**40,
    description="several\nlines",
    runner_settings=b"\0\xff",
    retry_policy=FULL_POLICY,
    periodic_interval_ms=2**32 - 1,
    channel="other",
    queue_type=QueueType.WITH_BACKUP,
    response_type=ResponseType.DIRECT,
    store_success=True,
    store_failure=True,
    use_static=True,
    broadcast_results=True,
    next_workers=(3, 1, 2),
    cron="0 3 * * *",
    cron_timezone="Europe/Berlin",
    cron_misfire=Misfire.SKIP,
    allow_overlap=True,
    created_at_ms=NOW,
)
