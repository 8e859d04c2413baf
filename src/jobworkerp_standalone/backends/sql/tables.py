"""The tables as they are now. Times are Unix milliseconds, flags are 0 or 1, enums are their numbers.

A change here goes together with a new script in ``migrations/versions`` and a new entry in
``migrate.REVISIONS``; a test compares both ways to the same schema.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    literal_column,
)

NAME_LENGTH = 255


class Bytes(LargeBinary):
    """Bytes as the driver gives them. Whoever reads a row looks at what it is, so that one with text fails alone."""

    cache_ok = True

    def result_processor(self, dialect: object, coltype: object) -> None:
        """Leave values as they are."""


metadata = MetaData()


def _id() -> BigInteger:
    """64 bits everywhere; SQLite wants to read INTEGER to use the row number itself."""
    return BigInteger().with_variant(Integer(), "sqlite")


def _flag(name: str) -> Column[Any]:
    return Column(name, SmallInteger, nullable=False)


def _settings_of_a_run() -> list[Column[Any]]:
    """Columns of everything that is frozen with a job; its results repeat them."""
    return [
        Column("worker_id", BigInteger, nullable=False),
        Column("channel", String(NAME_LENGTH), nullable=False),
        Column("queue_type", SmallInteger, nullable=False),
        Column("priority", SmallInteger, nullable=False),
        Column("run_after_ms", BigInteger, nullable=False),
        Column("enqueue_time_ms", BigInteger, nullable=False),
        Column("timeout_ms", BigInteger, nullable=False),
        Column("retried", Integer, nullable=False),
        _flag("recurring"),
        Column("streaming", SmallInteger, nullable=False),
        Column("using", String(NAME_LENGTH)),
        Column("uniq_key", String(NAME_LENGTH)),
        Column("args", Bytes, nullable=False),
        Column("metadata", Text),
        Column("response_type", SmallInteger, nullable=False),
        _flag("store_success"),
        _flag("store_failure"),
        _flag("broadcast_results"),
        Column("retry_policy", Text),
        Column("overrides", Text),
    ]


job = Table(
    "job",
    metadata,
    Column("id", _id(), primary_key=True, autoincrement=False),
    *_settings_of_a_run(),
    Column("due_ms", BigInteger, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("owner_id", BigInteger),
    _flag("running"),
    Column("deliveries", Integer, nullable=False),
)
"""Jobs that outlive the process. ``due_ms``: run_after_ms, or the enqueue time of a job to run at once.

``owner_id`` is the instance that holds the row, NULL for a free row. ``running``: an attempt has begun. The queue
index answers "free rows of a channel and a priority, by due time" from itself.
"""
Index("ix_job_queue", job.c.channel, job.c.owner_id, job.c.priority, job.c.due_ms)
Index("ix_job_worker", job.c.worker_id)
Index(
    "ix_job_owner",
    job.c.owner_id,
    sqlite_where=job.c.owner_id.is_not(None),
)
Index(
    "ux_job_uniq_key",
    job.c.uniq_key,
    unique=True,
    sqlite_where=job.c.uniq_key.is_not(None),
)

job_result = Table(
    "job_result",
    metadata,
    Column("id", _id(), primary_key=True, autoincrement=False),
    *_settings_of_a_run(),
    Column("job_id", BigInteger, nullable=False),
    Column("worker_name", String(NAME_LENGTH), nullable=False),
    Column("status", SmallInteger, nullable=False),
    Column("output", Bytes),
    Column("start_time_ms", BigInteger, nullable=False),
    Column("end_time_ms", BigInteger, nullable=False),
    Column("result_metadata", Text),
)
"""How attempts ended, complete in themselves: the worker may be changed or gone when they are read."""
Index("ix_job_result_job", job_result.c.job_id, job_result.c.end_time_ms)
Index("ix_job_result_worker", job_result.c.worker_id, job_result.c.end_time_ms)
Index("ix_job_result_end", job_result.c.end_time_ms)
Index(
    "ix_job_result_uniq_key",
    job_result.c.uniq_key,
    sqlite_where=job_result.c.uniq_key.is_not(None),
)

worker = Table(
    "worker",
    metadata,
    Column("id", _id(), primary_key=True, autoincrement=True),
    Column("name", String(NAME_LENGTH), nullable=False),
    Column("runner_id", BigInteger, nullable=False),
    Column("description", Text, nullable=False),
    Column("runner_settings", Bytes, nullable=False),
    Column("retry_policy", Text),
    Column("periodic_interval_ms", BigInteger, nullable=False),
    Column("channel", String(NAME_LENGTH), nullable=False),
    Column("queue_type", SmallInteger, nullable=False),
    Column("response_type", SmallInteger, nullable=False),
    _flag("store_success"),
    _flag("store_failure"),
    _flag("use_static"),
    _flag("broadcast_results"),
    Column("next_workers", Text, nullable=False),
    Column("cron", Text, nullable=False),
    Column("cron_timezone", Text, nullable=False),
    Column("cron_misfire", SmallInteger, nullable=False),
    _flag("allow_overlap"),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("periodic_from_end", SmallInteger, nullable=False, server_default="0"),
    sqlite_autoincrement=True,
)
"""Worker definitions. An id is never used twice, also not after its worker was deleted."""
Index("ux_worker_name", worker.c.name, unique=True)

change_count = Table(
    "change_count",
    metadata,
    Column("subject", String(NAME_LENGTH), primary_key=True, nullable=False),
    Column("number", BigInteger, nullable=False),
)
"""How often something was changed that every process keeps in memory; by the name of its table."""

runner = Table(
    "runner",
    metadata,
    Column("id", _id(), primary_key=True, autoincrement=False),
    Column("name", String(NAME_LENGTH), nullable=False),
    Column("type", SmallInteger, nullable=False),
    _flag("created"),
    Column("description", Text, nullable=False),
    Column("definition", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
)
"""Runner kinds that are not built in: which id belongs to a name, and what was asked for by Create (``created``)."""
Index("ux_runner_name", runner.c.name, unique=True)

OF_RUNS_AS_A_WHOLE = literal_column("key IN (':hears', ':waits')", Boolean)
"""Notes that are looked for by their key, which are few among many. A query must say this word for word."""
job_note = Table(
    "job_note",
    metadata,
    Column("id", _id(), primary_key=True, autoincrement=False),
    Column("run", String(NAME_LENGTH), nullable=False),
    Column("key", Text, nullable=False),
    Column("data", Bytes, nullable=False),
)
"""What jobs write down of how far they are, under the name of a run. Ids grow with time."""
Index("ix_job_note_run", job_note.c.run, job_note.c.id)
Index("ix_job_note_told", job_note.c.key, job_note.c.id, sqlite_where=OF_RUNS_AS_A_WHOLE)

opened_channel = Table(
    "opened_channel", metadata, Column("name", String(NAME_LENGTH), primary_key=True, nullable=False)
)
"""Channels that are not configured and that a job once had opened."""

worker_instance = Table(
    "worker_instance",
    metadata,
    Column("id", _id(), primary_key=True, autoincrement=False),
    Column("slot", Integer),
    Column("ip_address", String(NAME_LENGTH), nullable=False),
    Column("hostname", String(NAME_LENGTH), nullable=False),
    Column("channels", Text, nullable=False),
    Column("registered_at_ms", BigInteger, nullable=False),
    Column("last_heartbeat_ms", BigInteger, nullable=False),
    Column("lease_until_ms", BigInteger, nullable=False),
)
"""Processes that hold rows. ``slot``: number of the lock file that its process holds while it lives."""
