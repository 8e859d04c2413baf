"""Whether the last holder of a row died is told by nothing but the count of deliveries."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Drop the column ``rescued``."""
    op.drop_column("job", "rescued")
