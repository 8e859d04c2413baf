"""The first schema: jobs, results, workers, worker instances."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create all tables."""
    _job()
    _job_result()
    _worker()
    _worker_instance()


def _id() -> sa.BigInteger:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _settings_of_a_run() -> list[sa.Column[Any]]:
    return [
        sa.Column("worker_id", sa.BigInteger(), nullable=False),
        sa.Column("channel", sa.String(255), nullable=False),
        sa.Column("queue_type", sa.SmallInteger(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("run_after_ms", sa.BigInteger(), nullable=False),
        sa.Column("enqueue_time_ms", sa.BigInteger(), nullable=False),
        sa.Column("timeout_ms", sa.BigInteger(), nullable=False),
        sa.Column("retried", sa.Integer(), nullable=False),
        sa.Column("recurring", sa.SmallInteger(), nullable=False),
        sa.Column("streaming", sa.SmallInteger(), nullable=False),
        sa.Column("using", sa.String(255)),
        sa.Column("uniq_key", sa.String(255)),
        sa.Column("args", sa.LargeBinary(), nullable=False),
        sa.Column("metadata", sa.Text()),
        sa.Column("response_type", sa.SmallInteger(), nullable=False),
        sa.Column("store_success", sa.SmallInteger(), nullable=False),
        sa.Column("store_failure", sa.SmallInteger(), nullable=False),
        sa.Column("broadcast_results", sa.SmallInteger(), nullable=False),
        sa.Column("retry_policy", sa.Text()),
        sa.Column("overrides", sa.Text()),
    ]


def _where_present(column: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(f"{column} IS NOT NULL")}


def _job() -> None:
    op.create_table(
        "job",
        sa.Column("id", _id(), primary_key=True, autoincrement=False),
        *_settings_of_a_run(),
        sa.Column("due_ms", sa.BigInteger(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("owner_id", sa.BigInteger()),
        sa.Column("running", sa.SmallInteger(), nullable=False),
        sa.Column("rescued", sa.SmallInteger(), nullable=False),
        sa.Column("deliveries", sa.Integer(), nullable=False),
    )
    op.create_index("ix_job_queue", "job", ["channel", "owner_id", "priority", "due_ms"])
    op.create_index("ix_job_worker", "job", ["worker_id"])
    op.create_index("ix_job_owner", "job", ["owner_id"], **_where_present("owner_id"))
    op.create_index("ux_job_uniq_key", "job", ["uniq_key"], unique=True, **_where_present("uniq_key"))


def _job_result() -> None:
    op.create_table(
        "job_result",
        sa.Column("id", _id(), primary_key=True, autoincrement=False),
        *_settings_of_a_run(),
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("worker_name", sa.String(255), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("output", sa.LargeBinary()),
        sa.Column("start_time_ms", sa.BigInteger(), nullable=False),
        sa.Column("end_time_ms", sa.BigInteger(), nullable=False),
        sa.Column("result_metadata", sa.Text()),
    )
    op.create_index("ix_job_result_job", "job_result", ["job_id", "end_time_ms"])
    op.create_index("ix_job_result_worker", "job_result", ["worker_id", "end_time_ms"])
    op.create_index("ix_job_result_end", "job_result", ["end_time_ms"])
    op.create_index("ix_job_result_uniq_key", "job_result", ["uniq_key"], **_where_present("uniq_key"))


def _worker() -> None:
    op.create_table(
        "worker",
        sa.Column("id", _id(), primary_key=True, autoincrement=True),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("runner_id", sa.BigInteger(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("runner_settings", sa.LargeBinary(), nullable=False),
        sa.Column("retry_policy", sa.Text()),
        sa.Column("periodic_interval_ms", sa.BigInteger(), nullable=False),
        sa.Column("channel", sa.String(255), nullable=False),
        sa.Column("queue_type", sa.SmallInteger(), nullable=False),
        sa.Column("response_type", sa.SmallInteger(), nullable=False),
        sa.Column("store_success", sa.SmallInteger(), nullable=False),
        sa.Column("store_failure", sa.SmallInteger(), nullable=False),
        sa.Column("use_static", sa.SmallInteger(), nullable=False),
        sa.Column("broadcast_results", sa.SmallInteger(), nullable=False),
        sa.Column("next_workers", sa.Text(), nullable=False),
        sa.Column("cron", sa.Text(), nullable=False),
        sa.Column("cron_timezone", sa.Text(), nullable=False),
        sa.Column("cron_misfire", sa.SmallInteger(), nullable=False),
        sa.Column("allow_overlap", sa.SmallInteger(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ux_worker_name", "worker", ["name"], unique=True)


def _worker_instance() -> None:
    op.create_table(
        "worker_instance",
        sa.Column("id", _id(), primary_key=True, autoincrement=False),
        sa.Column("slot", sa.Integer()),
        sa.Column("ip_address", sa.String(255), nullable=False),
        sa.Column("hostname", sa.String(255), nullable=False),
        sa.Column("channels", sa.Text(), nullable=False),
        sa.Column("registered_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("last_heartbeat_ms", sa.BigInteger(), nullable=False),
        sa.Column("lease_until_ms", sa.BigInteger(), nullable=False),
    )
