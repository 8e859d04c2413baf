"""Channels that running jobs opened are opened again at the next start."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Create the table ``opened_channel``."""
    op.create_table("opened_channel", sa.Column("name", sa.String(255), primary_key=True, nullable=False))
