"""How jobs are kept, queued, leased and forgotten."""

from __future__ import annotations

import os
from dataclasses import dataclass

from jobworkerp_standalone.settings.parsing import choice, counts, flag, names, number, setting, sqlite_path


@dataclass(frozen=True, kw_only=True)
class JobSettings:
    """How jobs are kept, queued, leased and forgotten."""

    storage_type: str = setting(
        "STORAGE_TYPE",
        choice("Standalone", "Scalable"),
        "Standalone",
        "Standalone: one process with embedded storage. Scalable: not available in this version.",
    )
    sqlite_path: str = setting(
        "SQLITE_URL",
        sqlite_path,
        "jobworkerp.sqlite3",
        "sqlite:// and the path of the database file; sqlite::memory: keeps nothing.",
        shown="sqlite://jobworkerp.sqlite3",
    )
    sqlite_synchronous: str = setting(
        "SQLITE_SYNCHRONOUS",
        choice("FULL", "NORMAL", "OFF"),
        "FULL",
        "FULL: an accepted durable job survives a power cut. NORMAL: it survives a crash of the process.",
    )
    storage_restore_at_startup: bool = setting(
        "STORAGE_RESTORE_AT_STARTUP",
        flag,
        True,
        "Accepted for compatibility: durable jobs are always restored.",
        aliases=("STORAGE_REFLESH_FROM_RDB",),
    )
    worker_default_concurrency: int = setting(
        "WORKER_DEFAULT_CONCURRENCY",
        number(0, 100_000),
        max(os.cpu_count() or 1, 4),
        "Slots of the default channel. 0 closes it.",
        shown="CPUs, at least 4",
    )
    worker_default_channel_disabled: bool = setting(
        "WORKER_DEFAULT_CHANNEL_DISABLED", flag, False, "Close the default channel."
    )
    worker_channels: tuple[str, ...] = setting("WORKER_CHANNELS", names, (), "Further channels, separated by commas.")
    worker_channel_concurrencies: tuple[int, ...] = setting(
        "WORKER_CHANNEL_CONCURRENCIES", counts, (), "Slots of those channels, in the same order."
    )
    job_queue_expire_job_result_seconds: int = setting(
        "JOB_QUEUE_EXPIRE_JOB_RESULT_SECONDS",
        number(1, 10**9),
        3600,
        "How long a broadcast result is kept in memory for late listeners.",
    )
    result_retention_max_bytes: int = setting(
        "RESULT_RETENTION_MAX_BYTES",
        number(0),
        64 * 1024 * 1024,
        "Memory for results kept for late listeners; the oldest go first.",
    )
    stream_store_max_bytes: int = setting(
        "STREAM_STORE_MAX_BYTES",
        number(0),
        1024 * 1024,
        "How much of a stream is kept: for late listeners, and folded into a stored result.",
    )
    job_queue_fetch_interval_ms: int = setting(
        "JOB_QUEUE_FETCH_INTERVAL", number(1, 3_600_000), 1000, "How far ahead due rows are leased, in ms."
    )
    job_queue_channel_capacity: int = setting(
        "JOB_QUEUE_CHANNEL_CAPACITY",
        number(1),
        10_000,
        "Waiting jobs per channel and priority.",
        aliases=("JOB_QUEUE_CHANNEL_BUFFER_SIZE",),
    )
    job_queue_full_wait_ms: int = setting(
        "JOB_QUEUE_FULL_WAIT_MS", number(0), 5000, "How long an enqueue waits for room before RESOURCE_EXHAUSTED."
    )
    job_lease_sec: int = setting("JOB_LEASE_SEC", number(1, 86_400), 30, "Lease of a row; renewed at half of it.")
    job_max_deliveries: int = setting(
        "JOB_MAX_DELIVERIES",
        number(1, 1_000_000),
        5,
        "Runs of one job that may end with the death of the process before it is set aside; counted anew when a "
        "workflow gets on.",
    )
    job_status_indexing: bool = setting(
        "JOB_STATUS_RDB_INDEXING", flag, True, "Answer searches over live jobs; false answers UNIMPLEMENTED."
    )
    job_status_retention_hours: int = setting(
        "JOB_STATUS_RETENTION_HOURS", number(0, 1_000_000), 24, "Default cut-off of the status Cleanup call."
    )
    shutdown_grace_sec: int = setting(
        "SHUTDOWN_GRACE_SEC", number(0, 1_000_000), 30, "Time that running jobs get to finish after the first signal."
    )
    worker_instance_enabled: bool = setting(
        "WORKER_INSTANCE_ENABLED", flag, True, "Show this process in the list of worker instances."
    )
    worker_instance_timeout_sec: int = setting(
        "WORKER_INSTANCE_TIMEOUT_SEC", number(1), 90, "An older heartbeat makes an instance inactive."
    )
