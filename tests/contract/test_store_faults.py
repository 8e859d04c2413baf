"""The promises of ``ports.Store`` when things go wrong: writes that share a commit, callers and disks that fail."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from sqlalchemy import Column, Integer, MetaData, Table, insert

from jobworkerp_standalone.backends.sql import sqlite
from jobworkerp_standalone.backends.sql.store import SqlStore
from jobworkerp_standalone.backends.sql.writes import Step, Write
from jobworkerp_standalone.jobs.errors import DuplicateKey, JobworkerpError, LeaseLost, StorageError
from jobworkerp_standalone.jobs.model import Worker
from jobworkerp_standalone.ports import ResultFilter, Settlement
from tests.contract.scene import NOW, HandClock, job, lease, opened, result

SOON_MS = 50
"""How long these stores wait for a lock."""


@pytest.fixture
async def store(path: Path) -> AsyncGenerator[SqlStore, None]:
    async with opened(path, busy_timeout_ms=SOON_MS) as store:
        yield store


@contextmanager
def sentence(*parts: str, error: type[Exception] = StorageError) -> Iterator[None]:
    """Expect an error whose text is one line and has all ``parts``."""
    with pytest.raises(error) as raised:
        yield
    text = str(raised.value)
    assert "\n" not in text
    assert "sqlalche.me" not in text
    assert [part for part in parts if part not in text] == [], text


def on_disk(path: Path, query: str) -> list[Any]:
    """Ask the file itself, as another program would."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def on_file(path: Path) -> bytes:
    return path.read_bytes()


def write(path: Path, content: bytes) -> None:
    """Change a file in place, under whoever has it open."""
    with path.open("r+b" if path.exists() else "wb") as file:
        file.write(content)


# ---------------------------------------------------------------- writes that share a commit


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Collect the size of every batch that is committed."""
    sizes: list[int] = []
    original = sqlite.BatchConnection._transaction

    def counted(connection: Any, writes: Any) -> Any:
        sizes.append(len(writes))
        return original(connection, writes)

    monkeypatch.setattr(sqlite.BatchConnection, "_transaction", counted)
    return sizes


async def test_writes_that_come_together_share_commits(store: SqlStore, path: Path, commits: list[int]) -> None:
    async def add(number: int) -> None:
        await store.add([job(number)], held=False)
        assert on_disk(path, f"SELECT count(*) FROM job WHERE id = {number}") == [(1,)]

    async with anyio.create_task_group() as tasks:
        for number in range(1, 301):
            tasks.start_soon(add, number)
    assert sum(commits) == 300
    assert len(commits) < 30


async def test_each_write_of_a_commit_stands_or_falls_alone(store: SqlStore) -> None:
    await store.add([job(1000, uniq_key="taken"), *(job(number) for number in range(1001, 1011))], held=True)
    outcomes: dict[int, type[Exception] | None] = {}

    async def attempt(number: int) -> None:
        try:
            if number % 3 == 0:
                await store.add([job(number), job(number + 500, uniq_key="taken")], held=False)
            elif number % 3 == 1:
                await store.settle(Settlement(job(number), result(number, job(number)), new_jobs=(job(number + 500),)))
            else:
                await store.add([job(number), job(number + 500)], held=False)
        except JobworkerpError as error:
            outcomes[number] = type(error)
        else:
            outcomes[number] = None

    async with anyio.create_task_group() as tasks:
        for number in range(1, 301):
            tasks.start_soon(attempt, number)
    wanted = {0: DuplicateKey, 1: LeaseLost, 2: None}
    assert outcomes == {number: wanted[number % 3] for number in range(1, 301)}
    kept = {each.id for each in await store.listing(None, 0)} - set(range(1000, 1011))
    assert kept == {each for number in range(2, 301, 3) for each in (number, number + 500)}
    assert await store.count_results(ResultFilter()) == 0


async def test_keys_are_given_once_among_many_callers(store: SqlStore) -> None:
    refused: list[int] = []
    added: list[int] = []

    async def attempt(number: int) -> None:
        try:
            await store.add([job(number, uniq_key=f"k{number % 5}")], held=False)
        except DuplicateKey as error:
            refused.append(error.holder)
        else:
            added.append(number)

    async with anyio.create_task_group() as tasks:
        for number in range(1, 101):
            tasks.start_soon(attempt, number)
    assert len(added) == 5
    assert set((await store.keys()).values()) == set(added) == set(refused)


async def test_a_caller_that_hangs_up_leaves_the_store_in_order(store: SqlStore) -> None:
    async def add(number: int, scope: anyio.CancelScope) -> None:
        with scope:
            await store.add([job(number)], held=False)

    scopes = [anyio.CancelScope() for _ in range(50)]
    async with anyio.create_task_group() as tasks:
        for number, scope in enumerate(scopes, 1):
            tasks.start_soon(add, number, scope)
        await anyio.lowlevel.checkpoint()
        for scope in scopes[::2]:
            scope.cancel()
    kept = {each.id for each in await store.listing(None, 0)}
    assert set(range(2, 51, 2)) <= kept
    await store.add([job(100)], held=False)
    assert len(await lease(store)) == len(kept) + 1


async def test_what_is_queued_at_the_end_is_written(path: Path) -> None:
    async with anyio.create_task_group() as tasks, opened(path) as store:
        for number in range(1, 101):
            tasks.start_soon(_add_held, store, number)
        await anyio.lowlevel.checkpoint()
    assert on_disk(path, "SELECT count(*) FROM job") == [(100,)]


async def _add_held(store: SqlStore, number: int) -> None:
    await store.add([job(number)], held=True)


async def test_a_closed_store_says_so(path: Path) -> None:
    async with opened(path) as store:
        pass
    with sentence("closed"):
        await store.add([job(1)], held=False)
    with sentence("closed"):
        await store.count()


@contextmanager
def batches(path: Path, level: str) -> Iterator[sqlite3.Connection]:
    """Open a driver connection of the kind that the store writes with."""
    factory = type("Connection", (sqlite.BatchConnection,), {"durable_level": level})
    with closing(sqlite3.connect(path, factory=factory, isolation_level=None, timeout=0.01)) as connection:
        connection.execute(f"PRAGMA synchronous={level}")
        yield connection


RELAXED = Write((), durable=False)
parent = Table("parent", MetaData(), Column("id", Integer, primary_key=True))
child = Table("child", parent.metadata, Column("id", Integer, primary_key=True), Column("parent", Integer))


@pytest.mark.parametrize(("level", "number"), [("FULL", 2), ("NORMAL", 1), ("OFF", 0)])
async def test_a_failed_write_leaves_the_durability_as_it_was(path: Path, level: str, number: int) -> None:
    with batches(path, level) as connection:

        def outcomes(*writes: Write) -> list[Exception | None]:
            found = connection.execute(sqlite.BATCH, writes).fetchall()
            assert connection.execute("PRAGMA synchronous").fetchone() == (number,)
            assert not connection.in_transaction
            return found

        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("CREATE TABLE parent (id INTEGER PRIMARY KEY)")
        connection.execute(
            "CREATE TABLE child (id INTEGER PRIMARY KEY, parent REFERENCES parent DEFERRABLE INITIALLY DEFERRED)"
        )
        assert outcomes(RELAXED) == [None]
        with locked(path):
            (busy,) = outcomes(RELAXED)
        assert busy is not None
        assert sqlite.primary_code(busy) == sqlite3.SQLITE_BUSY
        fails_at_commit = Write((Step(insert(child), {"id": 1, "parent": 9}),), durable=False)
        good = Write((Step(insert(parent), {"id": 1}),), durable=False)
        (alone,) = outcomes(fails_at_commit)
        assert isinstance(alone, sqlite3.IntegrityError)
        assert [type(each) for each in outcomes(good, fails_at_commit)] == [type(None), sqlite3.IntegrityError]
    assert on_disk(path, "SELECT (SELECT count(*) FROM parent), (SELECT count(*) FROM child)") == [(1, 0)]


# ---------------------------------------------------------------- other programs, full disks, broken files


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep the database locked for writing, as another program might."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


async def test_a_locked_database_can_be_read_and_written_later(store: SqlStore, path: Path) -> None:
    await store.add([job(1)], held=False)
    (held,) = await lease(store)
    with locked(path):
        for attempt in (
            store.add([job(2)], held=False),
            store.settle(Settlement(held)),
            store.mark_running(held),
            store.release([held]),
            store.lease_due(NOW, {"c": 1}),
            store.add_worker(Worker(0, "w", 1)),
            store.add_result(result(5, held)),
            store.delete_results(ResultFilter()),
            store.heartbeat(1, NOW, 1000),
        ):
            with sentence(str(path), "locked", "try again"):
                await attempt
        assert await store.find(1) == held
        assert await store.count() == 1
    await store.settle(Settlement(held))
    await store.add([job(2)], held=False)
    assert [each.id for each in await store.listing(None, 0)] == [2]


async def test_a_short_lock_is_waited_for(path: Path) -> None:
    async with opened(path) as store, anyio.create_task_group() as tasks:
        with locked(path):
            tasks.start_soon(_add_held, store, 1)
            while not store._database._writer._queue:
                await anyio.lowlevel.checkpoint()
            while store._database._writer._queue:
                await anyio.lowlevel.checkpoint()
        tasks.start_soon(_add_held, store, 2)
    assert on_disk(path, "SELECT count(*) FROM job") == [(2,)]


async def test_a_database_locked_at_start(path: Path) -> None:
    async with opened(path):
        pass
    with locked(path), sentence(str(path), "locked"):
        async with opened(path, busy_timeout_ms=SOON_MS):
            pass


async def limit_pages(store: SqlStore, pages: int) -> None:
    """Have the database be full at a number of pages, as a full disk would have it."""
    await store._database.transact(lambda connection: connection.exec_driver_sql(f"PRAGMA max_page_count={pages}"))


async def test_a_full_disk(store: SqlStore, path: Path) -> None:
    await store.add([job(1)], held=False)
    (held,) = await lease(store)
    await limit_pages(store, 1)
    big = b"x" * 1_000_000
    with sentence(str(path), "disk is full", "free some space"):
        await store.add([job(2), job(3, args=big)], held=False)
    with sentence(str(path), "disk is full", "free some space"):
        await store.settle(Settlement(held, result(5, job(1, args=big)), new_jobs=(job(4),)))
    with sentence(str(path), "disk is full", "free some space"):
        await store.add_worker(Worker(0, "w", 1, runner_settings=big))
    outcomes: list[bool] = []

    async def add(number: int) -> None:
        try:
            await store.add([job(number, args=big if number % 2 else b"")], held=False)
        except StorageError:
            outcomes.append(False)
        else:
            outcomes.append(True)

    async with anyio.create_task_group() as tasks:
        for number in range(10, 20):
            tasks.start_soon(add, number)
    assert sorted(outcomes) == [False] * 5 + [True] * 5
    assert {each.id for each in await store.listing(None, 0)} == {1, 10, 12, 14, 16, 18}
    await limit_pages(store, 2**30)
    await store.settle(Settlement(held, result(5, job(1, args=big)), new_jobs=(job(4),)))
    assert await store.find_result(5) is not None
    assert on_disk(path, "PRAGMA integrity_check") == [("ok",)]


async def test_a_file_that_is_no_database(path: Path) -> None:
    diary = "dear diary, " * 1000
    write(path, diary.encode())
    with sentence(str(path), "not a SQLite database", "SQLITE_URL"):
        async with opened(path):
            pass
    assert on_file(path) == diary.encode()


async def test_a_file_damaged_while_it_is_open(store: SqlStore, path: Path) -> None:
    await store.add([job(number, args=bytes(2000)) for number in range(1, 200)], held=False)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    write(path, on_file(path)[:4096] + b"\xa5" * (len(on_file(path)) - 4096))
    with sentence(str(path), "damaged", "backup"):
        await store.listing(None, 0)
    with sentence(str(path), "damaged"):
        for number in range(1000, 1010):
            await store.add([job(number, args=bytes(2000))], held=False)


@pytest.mark.parametrize("where", ["missing/jobs.sqlite3", "."])
async def test_a_place_where_no_database_can_be(tmp_path: Path, where: str) -> None:
    with sentence(str(tmp_path), "SQLITE_URL"):
        async with opened(tmp_path / where):
            pass


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    tmp_path.chmod(0o500)
    return tmp_path


async def test_a_folder_that_cannot_be_written_to(sealed: Path) -> None:
    with sentence(str(sealed), "SQLITE_URL"):
        async with opened(sealed / "jobs.sqlite3"):
            pass


async def test_values_no_database_takes(store: SqlStore) -> None:
    with sentence("database"):
        await store.add([job(2**64)], held=False)
    with sentence("database"):
        await store.add([job(1, uniq_key="\ud800")], held=False)
    assert await store.count() == 0


# ---------------------------------------------------------------- processes that start together


async def test_many_processes_start_on_an_empty_file(path: Path) -> None:
    nodes: set[int] = set()
    async with AsyncExitStack() as stack:
        ready = [anyio.Event() for _ in range(8)]
        leave = anyio.Event()

        async def start(number: int) -> None:
            async with opened(path, number, HandClock()) as store:
                nodes.add(store.node)
                await store.add([job(number)], held=True)
                ready[number - 1].set()
                await leave.wait()

        tasks = await stack.enter_async_context(anyio.create_task_group())
        for number in range(1, 9):
            tasks.start_soon(start, number)
        for each in ready:
            await each.wait()
        leave.set()
    assert len(nodes) == 8
    assert on_disk(path, "SELECT count(*) FROM job") == [(8,)]
    assert not list(path.parent.glob("*.lock"))


async def test_nothing_is_given_back_without_a_write(store: SqlStore, path: Path) -> None:
    """A process that stops is not held up by a database that is locked."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        await store.release([])
        with sentence("locked"):
            await store.release([job(1)])
