"""Notes that tell of runs as a whole are found by their key."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Create the index ``ix_job_note_told``."""
    told = sa.literal_column("key IN (':hears', ':waits')")
    op.create_index("ix_job_note_told", "job_note", ["key", "id"], sqlite_where=told)
