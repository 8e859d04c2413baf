"""Everything that is particular to SQLite: connections, pragmas, batches in the driver's thread, error texts."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, lru_cache
from typing import Any, Final, cast

from sqlalchemy import Connection, Delete, Engine, Insert, Update, create_engine, event, exc
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.pool import QueuePool, StaticPool

from jobworkerp_standalone.backends.sql.writes import Conflict, RowMissing, Step, Write
from jobworkerp_standalone.jobs.errors import StorageError

BATCH: Final = "BATCH"
"""Not SQL: what a ``BatchConnection`` is asked to execute when its parameters are writes."""
OPERATION: Final = "OPERATION"
"""Not SQL either: its parameters are a function over a Core connection, and whether its commit must be on disk."""
_JOURNAL_SIZE_LIMIT: Final = 64 * 1024 * 1024
READERS: Final = 4
"""Most reads at once."""
_PRIMARY_CODE: Final = 0xFF
_REMEDIES: Final = {
    sqlite3.SQLITE_BUSY: "another program keeps it locked; close that program and try again",
    sqlite3.SQLITE_LOCKED: "another program keeps it locked; close that program and try again",
    sqlite3.SQLITE_FULL: "the disk is full; free some space, nothing of this write was stored",
    sqlite3.SQLITE_IOERR: "the disk reports an input/output error; check the device and the free space",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; restore it from a backup or choose another SQLITE_URL",
    sqlite3.SQLITE_NOTADB: "the file is not a SQLite database; choose another SQLITE_URL",
    sqlite3.SQLITE_READONLY: "the file cannot be written to; check its permissions or choose another SQLITE_URL",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened; check that its directory exists and can be written to",
    sqlite3.SQLITE_TOOBIG: "a value is larger than the database can keep",
}


class BatchConnection(sqlite3.Connection):
    """A driver connection that takes much work as one call: one change of threads, one transaction, one sync.

    ``execute(BATCH, writes)`` answers with one outcome for each write through ``fetchall``: None, or the exception
    that undid it. A failing write leaves its neighbours alone. ``execute(OPERATION, (function, durable))`` answers
    with what the function returned.
    """

    durable_level: str = "FULL"
    """Value of ``PRAGMA synchronous`` for writes that must be on disk."""

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """Execute one statement, a batch of writes, or an operation."""
        if sql is BATCH:
            outcomes = self._commit(list(cast("Iterable[Write]", parameters)))
        elif sql is OPERATION:
            outcomes = [self._operate(*parameters)]
        else:
            return super().execute(sql, parameters)
        cursor = self.cursor(_Outcomes)
        cursor.outcomes = outcomes
        return cursor

    def _operate(self, operation: Callable[[Connection], object], durable: bool) -> object:
        with self._durability(durable=durable), self._core.begin() as connection:
            return operation(connection)

    @cached_property
    def _core(self) -> Engine:
        """Core on this very connection, in the thread of the driver."""
        engine = create_engine("sqlite://", creator=lambda: self, poolclass=StaticPool, hide_parameters=True)
        event.listen(engine, "begin", _begin)
        return engine

    def _commit(self, writes: Sequence[Write]) -> list[Exception | None]:
        try:
            return self._transaction(writes)
        except Exception as error:
            if len(writes) == 1 or primary_code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                return [error] * len(writes)
            return [outcome for write in writes for outcome in self._commit([write])]

    def _transaction(self, writes: Sequence[Write]) -> list[Exception | None]:
        with self._durability(durable=any(write.durable for write in writes)):
            try:
                super().execute("BEGIN IMMEDIATE")
                outcomes = [self._outcome(write) for write in writes]
                super().execute("COMMIT")
            finally:
                if self.in_transaction:
                    self.rollback()
        return outcomes

    @contextmanager
    def _durability(self, *, durable: bool) -> Iterator[None]:
        """Leave out the sync of a commit that need not be on disk."""
        if durable or self.durable_level != "FULL":
            yield
            return
        super().execute("PRAGMA synchronous=NORMAL")
        try:
            yield
        finally:
            super().execute("PRAGMA synchronous=FULL")

    def _outcome(self, write: Write) -> Exception | None:
        try:
            if len(write.steps) == 1:
                self._step(write.steps[0])
            else:
                self._steps(write.steps)
        except Exception as error:
            if not self.in_transaction:
                raise  # SQLite itself gave up the whole transaction
            return error
        return None

    def _steps(self, steps: Sequence[Step]) -> None:
        super().execute("SAVEPOINT one_write")
        try:
            for step in steps:
                self._step(step)
        except Exception:
            if self.in_transaction:
                super().execute("ROLLBACK TO one_write")
                super().execute("RELEASE one_write")
            raise
        super().execute("RELEASE one_write")

    def _step(self, step: Step) -> None:
        text, constants = prepared(step.statement)
        cursor = super().execute(text, {**constants, **step.values} if constants else step.values)
        if step.one_row and cursor.rowcount != 1:
            raise RowMissing


class _Outcomes(sqlite3.Cursor):
    """The answer to a batch or an operation."""

    outcomes: list[Any]

    def fetchall(self) -> list[Any]:
        return self.outcomes


@lru_cache
def prepared(statement: Insert | Update | Delete) -> tuple[str, Mapping[str, Any]]:
    """Return the SQL text of a Core statement with named parameters, and the values that it brings along itself."""
    compiled = statement.compile(dialect=SQLiteDialect_pysqlite(paramstyle="named"))
    return str(compiled), {name: bind.value for name, bind in compiled.binds.items() if not bind.required}


def open_for_writing(path: str, synchronous: str, busy_timeout_ms: int) -> BatchConnection:
    """Open the single connection that writes, to be used in any one thread."""
    connection = sqlite3.connect(
        path,
        timeout=busy_timeout_ms / 1000,
        isolation_level=None,
        check_same_thread=False,
        factory=BatchConnection,
    )
    connection.text_factory = _text
    try:
        connection.durable_level = synchronous
        for pragma in (
            "journal_mode=WAL",
            f"synchronous={synchronous}",
            f"journal_size_limit={_JOURNAL_SIZE_LIMIT}",
            "secure_delete=FAST",
        ):
            connection.execute(f"PRAGMA {pragma}").close()
    except BaseException:
        connection.close()
        raise
    return connection


def reading_engine(path: str, busy_timeout_ms: int) -> Engine:
    """Return an engine with a small pool of connections that cannot write, to be used in threads."""

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            path, timeout=busy_timeout_ms / 1000, isolation_level=None, check_same_thread=False
        )
        connection.text_factory = _text
        connection.execute("PRAGMA query_only=ON").close()
        return connection

    return create_engine(
        "sqlite://",
        creator=connect,
        isolation_level="AUTOCOMMIT",
        hide_parameters=True,
        poolclass=QueuePool,
        pool_size=READERS,
        max_overflow=0,
        pool_reset_on_return=None,
    )


def _text(data: bytes) -> str:
    """Return text also where it is damaged: the driver would refuse the whole answer for one value."""
    return str(data, "utf-8", "replace")


def primary_code(error: BaseException) -> int:
    """Return SQLite's primary result code, 0 where the error has none."""
    return getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE


def translate(error: Exception, path: str) -> Exception:
    """Return our exception for one of the driver's or SQLAlchemy's; our own pass unchanged."""
    cause = error.orig if isinstance(error, exc.DBAPIError) and error.orig is not None else error
    if isinstance(cause, (StorageError, RowMissing, Conflict)):
        return cause
    if isinstance(cause, sqlite3.IntegrityError):
        return Conflict(str(cause))
    remedy = _REMEDIES.get(primary_code(cause))
    return StorageError(f"database {path}: {remedy} ({cause})" if remedy else f"database {path}: {cause}")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
