"""Processes on one database see what others changed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the table ``change_count``."""
    op.create_table(
        "change_count",
        sa.Column("subject", sa.String(255), primary_key=True, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
    )
