"""Brings a database to the schema of this version. Alembic is imported only where there is something to change."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from sqlalchemy import Column, Connection, MetaData, PrimaryKeyConstraint, String, Table, insert, inspect, select

from jobworkerp_standalone.backends.sql import tables
from jobworkerp_standalone.jobs.errors import SchemaTooNew, StorageError

_log = logging.getLogger(__name__)
REVISIONS: Final = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008")
"""Every revision in ``migrations/versions``, oldest first; a test compares the two."""
HEAD: Final = REVISIONS[-1]
_versions = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)


def bring_up_to_date(connection: Connection, where: str) -> None:
    """Create the schema in an empty database, upgrade an older one, leave a current one alone.

    Args:
        connection: in a transaction that excludes other writers, so that processes that start together do it once; in
            a thread that may be held up: what upgrades takes a while to import.
        where: names the database in messages.

    Raises:
        SchemaTooNew: a newer version of this program wrote it.
        StorageError: it belongs to another program.
    """
    found = _read_version(connection, where)
    if found is None:
        _create(connection)
    elif found != HEAD:
        _log.info("bringing %s from version %s to %s", where, found or "none", HEAD)
        upgrade(connection)


def migrations_folder() -> Path:
    """Return the folder of the Alembic scripts: inside the installed package, or beside ``src`` in a checkout."""
    package = Path(__file__).resolve().parents[2]
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parents[1] / "migrations"


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Run the scripts up to ``revision`` inside the transaction of ``connection``."""
    from alembic import command  # noqa: PLC0415 - costs a tenth of a second, seldom needed
    from alembic.config import Config  # noqa: PLC0415

    logging.getLogger("alembic").setLevel(logging.WARNING)  # one line of our own says it
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _read_version(connection: Connection, where: str) -> str | None:
    """Return the revision found, "" where no script has run yet, None for an empty database."""
    names = set(inspect(connection).get_table_names())
    if not names:
        return None
    found = connection.scalar(select(_versions.c.version_num)) if _versions.name in names else None
    if found is None:
        _refuse_foreign(names, where)
        return ""
    if found not in REVISIONS:
        raise SchemaTooNew(
            f"{where} has schema version {found}, and this version of the program knows only up to {HEAD}: "
            "start the newer version that wrote it, or choose another SQLITE_URL"
        )
    return found


def _refuse_foreign(names: set[str], where: str) -> None:
    taken = sorted(names & set(tables.metadata.tables))
    if taken:
        raise StorageError(
            f"{where} already has tables of another program ({', '.join(taken)}): choose another SQLITE_URL"
        )


def _create(connection: Connection) -> None:
    tables.metadata.create_all(connection, checkfirst=False)
    _versions.create(connection, checkfirst=False)
    connection.execute(insert(_versions).values(version_num=HEAD))
