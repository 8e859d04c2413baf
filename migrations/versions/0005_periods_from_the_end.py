"""Periods of workers may count from the end of a run."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the column ``periodic_from_end``."""
    op.add_column("worker", sa.Column("periodic_from_end", sa.SmallInteger(), nullable=False, server_default="0"))
