"""Runs the scripts on the connection, and inside the transaction, of whoever upgrades (``backends.sql.migrate``).

A new script: copy the newest one in ``versions`` under the next number, set ``revision`` and ``down_revision``,
write ``upgrade``; then add the number to ``migrate.REVISIONS`` and change ``tables.py`` alike. Scripts that were
released are never changed, and there is no way down.
"""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
