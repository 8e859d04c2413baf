"""The scripts in ``migrations/`` and the tables in the code are two ways to one schema."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Inspector, create_engine, event, inspect

from jobworkerp_standalone.backends.sql import migrate, tables
from jobworkerp_standalone.backends.sql.database import Access, open_database
from jobworkerp_standalone.jobs.errors import SchemaTooNew, StorageError

Schema = dict[str, Any]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.sqlite3"


async def start(path: Path) -> None:
    """Open the database as the program does at its start, and close it."""
    async with open_database(Access(str(path))):
        pass


def run(path: Path, change: Callable[[Connection], object]) -> None:
    """Change a database in one transaction, with the tools of the scripts."""
    engine = create_engine(f"sqlite:///{path}")
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    try:
        with engine.begin() as connection:
            change(connection)
    finally:
        engine.dispose()


def sql(path: Path, *statements: str) -> list[Any]:
    """Run statements as another program would; the rows of the last one."""
    with closing(sqlite3.connect(path)) as connection, connection:
        return [connection.execute(each).fetchall() for each in statements][-1]


def schema(path: Path) -> Schema:
    """Return everything about the tables of a database that matters."""
    found: Schema = {}

    def read(connection: Connection) -> None:
        inspector = inspect(connection)
        for name in inspector.get_table_names():
            found[name] = _table(connection, inspector, name)

    run(path, read)
    return found


def _table(connection: Connection, inspector: Inspector, name: str) -> Schema:
    (definition,) = connection.exec_driver_sql("SELECT sql FROM sqlite_schema WHERE name = ?", (name,)).scalars()
    return {
        "columns": [{**column, "type": repr(column["type"])} for column in inspector.get_columns(name)],
        "primary key": inspector.get_pk_constraint(name),
        "never reuses ids": "AUTOINCREMENT" in definition,
        "strict": definition.rstrip().endswith("STRICT"),
        "foreign keys": inspector.get_foreign_keys(name),
        "unique": inspector.get_unique_constraints(name),
        "checks": inspector.get_check_constraints(name),
        "indexes": {index["name"]: _index(connection, index) for index in inspector.get_indexes(name)},
    }


def _index(connection: Connection, index: Any) -> Schema:
    condition = index["dialect_options"].get("sqlite_where")
    columns = connection.exec_driver_sql(f"PRAGMA index_xinfo({index['name']})").all()
    return {
        "columns": [(column.name, column.desc, column.coll) for column in columns if column.key],
        "unique": index["unique"],
        "where": str(condition),
    }


def at_revision(path: Path, revision: str) -> None:
    """Make a database as the version of the program made it that knew the scripts up to ``revision``."""
    run(path, lambda connection: migrate.upgrade(connection, revision))


def scripts() -> list[str]:
    config = Config()
    config.set_main_option("script_location", str(migrate.migrations_folder()))
    return [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()][::-1]


async def test_a_fresh_database_is_what_the_scripts_make(path: Path, tmp_path: Path) -> None:
    migrated = tmp_path / "migrated.sqlite3"
    await start(path)
    at_revision(migrated, "head")
    assert schema(path) == schema(migrated)
    assert {*schema(path)} == {*tables.metadata.tables, "alembic_version"}
    assert sql(path, "SELECT version_num FROM alembic_version") == [(migrate.HEAD,)]


def test_the_comparison_sees_every_difference(path: Path, tmp_path: Path) -> None:
    at_revision(path, "head")
    differences = (
        "CREATE INDEX i ON job (channel)",
        "DROP INDEX ix_job_worker",
        "DROP INDEX ux_job_uniq_key; CREATE INDEX ux_job_uniq_key ON job (uniq_key) WHERE uniq_key IS NOT NULL",
        "DROP INDEX ux_job_uniq_key; CREATE UNIQUE INDEX ux_job_uniq_key ON job (uniq_key)",
        "DROP INDEX ix_job_result_job; CREATE INDEX ix_job_result_job ON job_result (end_time_ms, job_id)",
        "ALTER TABLE job ADD COLUMN extra INTEGER",
        "ALTER TABLE job RENAME COLUMN args TO arguments",
        "ALTER TABLE job DROP COLUMN overrides; ALTER TABLE job ADD COLUMN overrides VARCHAR(9)",
        "DROP TABLE worker_instance",
    )
    for number, difference in enumerate(differences):
        changed = tmp_path / f"{number}.sqlite3"
        changed.write_bytes(path.read_bytes())
        sql(changed, *difference.split("; "))
        assert schema(changed) != schema(path), difference


def test_the_program_knows_every_script() -> None:
    assert scripts() == list(migrate.REVISIONS)
    assert scripts()[-1] == migrate.HEAD


@pytest.mark.parametrize("revision", migrate.REVISIONS)
async def test_a_database_of_every_version_is_brought_up_to_date(
    path: Path, tmp_path: Path, revision: str, caplog: pytest.LogCaptureFixture
) -> None:
    at_revision(path, revision)
    sql(path, _insert_worker(path))
    fresh = tmp_path / "fresh.sqlite3"
    await start(fresh)
    caplog.set_level("INFO")
    caplog.clear()
    await start(path)
    told = [each.getMessage() for each in caplog.records if each.name.startswith("alembic") or "version" in each.msg]
    assert told == (
        [] if revision == migrate.HEAD else [f"bringing database {path} from version {revision} to {migrate.HEAD}"]
    )
    assert schema(path) == schema(fresh)
    assert sql(path, "SELECT id, name FROM worker") == [(77, "kept")]


async def test_tables_of_others_stay(path: Path, tmp_path: Path) -> None:
    sql(path, "CREATE TABLE notes (text)", "INSERT INTO notes VALUES ('dear diary')")
    fresh = tmp_path / "fresh.sqlite3"
    await start(fresh)
    await start(path)
    found = schema(path)
    del found["notes"]
    assert found == schema(fresh)
    assert sql(path, "SELECT text FROM notes") == [("dear diary",)]


async def test_a_current_database_is_left_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await start(path)
    monkeypatch.setattr(migrate, "upgrade", None)
    monkeypatch.setattr(migrate, "_create", None)
    await start(path)


async def test_a_newer_database_is_refused(path: Path) -> None:
    await start(path)
    sql(path, "UPDATE alembic_version SET version_num = '9999'", "ALTER TABLE job ADD COLUMN from_the_future")
    before = sql(path, "SELECT sql FROM sqlite_schema")
    with pytest.raises(SchemaTooNew) as refusal:
        await start(path)
    text = str(refusal.value)
    assert all(part in text for part in (str(path), "9999", migrate.HEAD, "newer version", "SQLITE_URL"))
    assert "\n" not in text
    assert sql(path, "SELECT sql FROM sqlite_schema") == before
    assert sql(path, "SELECT version_num FROM alembic_version") == [("9999",)]


async def test_a_database_of_another_program_is_refused(path: Path) -> None:
    sql(path, "CREATE TABLE job (mine)", "INSERT INTO job VALUES (1)")
    with pytest.raises(StorageError, match=r"tables of another program \(job\): choose another SQLITE_URL"):
        await start(path)
    assert schema(path).keys() == {"job"}
    assert sql(path, "SELECT * FROM job") == [(1,)]


@pytest.mark.parametrize("tables_before", [(), ("CREATE TABLE notes (text)",)], ids=["creating", "upgrading"])
async def test_a_change_that_breaks_off_leaves_nothing_behind(
    path: Path, tables_before: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sql(path, *tables_before, "SELECT 1")
    before = schema(path)

    def breaking(change: Callable[[Connection], None]) -> Callable[[Connection], None]:
        def change_and_break(connection: Connection) -> None:
            change(connection)
            raise OSError("power cut")

        return change_and_break

    with monkeypatch.context() as patch:
        patch.setattr(migrate, "upgrade", breaking(migrate.upgrade))
        patch.setattr(migrate, "_create", breaking(migrate._create))
        with pytest.raises(StorageError, match="power cut"):
            await start(path)
    assert schema(path) == before
    await start(path)
    assert {*schema(path)} == {*before, *tables.metadata.tables, "alembic_version"}


def test_the_scripts_are_found_beside_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (migrate.migrations_folder() / "env.py").is_file()
    package = tmp_path / "jobworkerp_standalone"
    (package / "migrations").mkdir(parents=True)
    monkeypatch.setattr(migrate, "__file__", str(package / "backends" / "sql" / "migrate.py"))
    assert migrate.migrations_folder() == package / "migrations"


def _insert_worker(path: Path) -> str:
    """Return a statement that adds a worker, whatever columns the table has at its revision."""
    columns = [row[1:3] for row in sql(path, "PRAGMA table_info(worker)")]
    values = {"id": "77", "name": "'kept'"}
    fillers = [
        values.get(name, "x''" if kind == "BLOB" else "''" if kind in ("TEXT", "VARCHAR(255)") else "0")
        for name, kind in columns
    ]
    return f"INSERT INTO worker ({', '.join(name for name, _ in columns)}) VALUES ({', '.join(fillers)})"
