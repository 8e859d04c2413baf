"""A storage that fails for a while: callers hear it, and no job is lost, stuck or forgotten when it works again."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from grpclib.const import Status

from jobworkerp_standalone.backends.sql.store import SqlStore
from jobworkerp_standalone.engine import completer
from jobworkerp_standalone.jobs.errors import StorageError
from jobworkerp_standalone.ports import ResultFilter
from tests.support.house import STATUS, House, eventually, open_house, refused
from tests.support.patience import PATIENCE_SEC

SUCCESS = STATUS["SUCCESS"]
NORMAL, WITH_BACKUP, DB_ONLY = range(3)
EVERYTHING = ResultFilter()
CONSTANT = 3
LONG = 1_000_000


@pytest.fixture
async def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    monkeypatch.setattr(completer, "_FIRST_PAUSE_S", 0.001)
    async with open_house(tmp_path, JOB_QUEUE_FETCH_INTERVAL="20") as house:
        await house.worker("normal", queue_type=NORMAL, store_success=True, store_failure=True)
        await house.worker("backup", queue_type=WITH_BACKUP, store_success=True, store_failure=True)
        await house.worker("row", queue_type=DB_ONLY, store_success=True, store_failure=True)
        await house.worker("ticking", periodic_interval=40, store_success=True)
        yield house


class Trouble:
    """A method of the store that fails."""

    def __init__(self) -> None:
        self.failed = 0


@contextmanager
def trouble(house: House, method: str, times: int = LONG) -> Iterator[Trouble]:
    """Have a method of the store fail ``times`` times, at most until the end of the block."""
    store: Any = house.daemon.engine.store
    working: Callable[..., Any] = getattr(store, method)
    seen = Trouble()

    async def fail_or_work(*args: Any, **fields: Any) -> Any:
        if seen.failed < times:
            seen.failed += 1
            raise StorageError("the disk is full; this is only a test")
        return await working(*args, **fields)

    setattr(store, method, fail_or_work)
    try:
        yield seen
    finally:
        delattr(store, method)


def store_of(house: House) -> SqlStore:
    store = house.daemon.engine.store
    assert isinstance(store, SqlStore)
    return store


async def until_settled(house: House, results: int) -> None:
    """Wait until no job is left and as many results are stored."""
    store = store_of(house)
    with anyio.move_on_after(PATIENCE_SEC):
        while (  # noqa: ASYNC110 - a database sets no events
            len(house.daemon.engine.live) or await store.count() or await store.count_results(EVERYTHING) < results
        ):
            await anyio.sleep(0.005)
    assert ([*house.daemon.engine.live.all()], await store.listing(None, 0)) == ([], [])
    assert await store.count_results(EVERYTHING) == results


@pytest.mark.parametrize("worker", ["backup", "row"])
async def test_an_enqueue_that_cannot_be_stored_is_refused_as_a_whole(house: House, worker: str) -> None:
    with trouble(house, "add") as seen:
        async with refused(Status.UNAVAILABLE, "storage"):
            await house.enqueue(worker=worker, uniq_key="k")
    assert seen.failed == 1
    await house.enqueue(worker=worker, uniq_key="k")
    await until_settled(house, results=1)
    assert house.strings.ran == [b"x"]


async def test_a_full_disk_stops_only_what_needs_it(house: House) -> None:
    await house.worker("plain", response_type=1)

    def limit(pages: int) -> Callable[[Any], object]:
        return lambda connection: connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")

    await store_of(house)._database.transact(limit(1))
    async with refused(Status.UNAVAILABLE, "storage"):
        await house.enqueue(b"x" * LONG, "backup")
    assert (await house.enqueue(b"x" * LONG, "plain")).result.data.status == SUCCESS
    await store_of(house)._database.transact(limit(2**30))
    await house.enqueue(b"y" * LONG, "backup")
    await until_settled(house, results=1)


@pytest.mark.parametrize("worker", ["backup", "row"])
async def test_a_job_whose_start_cannot_be_noted_is_not_stuck(house: House, worker: str) -> None:
    with trouble(house, "mark_running", times=3) as seen:
        for number in range(4):
            await house.enqueue(b"%d" % number, worker)
        await eventually(lambda: seen.failed == 3)
        await until_settled(house, results=4)
    assert sorted({*house.strings.ran}) == [b"0", b"1", b"2", b"3"]


MOMENT, WHILE = 3, completer._WRITE_TRIES
"""How often the storage fails: fewer times than somebody waits for it in a slot, or more."""
short_or_long = pytest.mark.parametrize("times", [MOMENT, WHILE], ids=["moment", "while"])
durable = pytest.mark.parametrize("worker", ["backup", "row"])


@durable
@short_or_long
async def test_an_end_that_cannot_be_stored_is_stored_later(house: House, worker: str, times: int) -> None:
    with trouble(house, "settle", times) as seen:
        await house.enqueue(worker=worker)
        await eventually(lambda: seen.failed == times)
        await until_settled(house, results=1)
    assert house.strings.ran == [b"x"]


@short_or_long
async def test_a_schedule_goes_on_when_the_storage_is_back(house: House, times: int) -> None:
    with trouble(house, "settle", times) as seen:
        await house.enqueue(worker="ticking")
        await eventually(lambda: seen.failed == times)
        so_far = len(house.strings.ran)
        await house.strings.until(lambda: len(house.strings.ran) > so_far + 2)


@durable
@short_or_long
@pytest.mark.parametrize("interval", [1, 100], ids=["near", "far"])
async def test_a_retry_that_cannot_be_stored_is_made_all_the_same(
    house: House, worker: str, interval: int, times: int
) -> None:
    policy = {"type": CONSTANT, "interval": interval, "max_retry": 2}
    with trouble(house, "settle", times) as seen:
        job_id = (await house.enqueue(b"flaky 2", worker, overrides={"retry_policy": policy})).id.value
        await eventually(lambda: seen.failed == times)
        await until_settled(house, results=3)
    assert [each.data.retried for each in await house.results(job_id)] == [2, 1, 0]
    assert house.strings.ran == [b"flaky 2"] * 3


@short_or_long
async def test_a_far_retry_of_a_volatile_job_is_not_lost(house: House, times: int) -> None:
    policy = {"type": CONSTANT, "interval": 100, "max_retry": 2}
    with trouble(house, "settle", times) as seen:
        await house.enqueue(b"flaky 2", "normal", overrides={"retry_policy": policy})
        await eventually(lambda: seen.failed == times)
        await until_settled(house, results=3)
    assert house.strings.ran == [b"flaky 2"] * 3


@durable
async def test_an_end_that_was_never_stored_is_stored_at_the_stop(tmp_path: Path, worker: str) -> None:
    async with open_house(tmp_path) as house:
        await house.worker(worker, queue_type={"backup": WITH_BACKUP, "row": DB_ONLY}[worker], store_success=True)
        with trouble(house, "settle") as seen:
            job_id = (await house.enqueue(worker=worker)).id.value
            await eventually(lambda: seen.failed > 0)
    async with open_house(tmp_path) as house:
        await until_settled(house, results=1)
        assert [each.data.status for each in await house.results(job_id)] == [SUCCESS]


@pytest.mark.parametrize("method", ["lease_due", "next_due_ms", "reclaim_dead_owners", "heartbeat"])
async def test_duties_go_on_when_the_storage_is_back(house: House, method: str) -> None:
    with trouble(house, method, times=3):
        now = house.daemon.engine.clock.now_ms()
        for number in range(1, 5):
            await house.enqueue(b"%d" % number, "normal", run_after_time=now + 30 * number)
        await until_settled(house, results=4)
    await house.enqueue(worker="row")
    await until_settled(house, results=5)


async def test_a_delete_that_cannot_be_stored_is_told_and_can_be_repeated(house: House) -> None:
    later = house.daemon.engine.clock.now_ms() + LONG
    job_id = (await house.enqueue(worker="normal", run_after_time=later, uniq_key="k")).id.value
    with trouble(house, "delete"):
        async with refused(Status.UNAVAILABLE, "storage"):
            await house.delete(job_id)
    assert await house.delete(job_id)
    await until_settled(house, results=1)
    await house.enqueue(worker="normal", uniq_key="k")
    await until_settled(house, results=2)


async def test_a_worker_that_cannot_be_stored_is_not_there(house: House) -> None:
    with trouble(house, "add_worker"):
        async with refused(Status.UNAVAILABLE, "storage"):
            await house.worker("new")
    assert not (await house.client.call("WorkerService.FindByName", name="new")).HasField("data")
    await house.worker("new")
    with trouble(house, "remove_worker"):
        async with refused(Status.UNAVAILABLE, "storage"):
            await house.client.call("WorkerService.Delete", value=(await house.worker("newer")))
    assert (await house.client.call("WorkerService.FindByName", name="newer")).HasField("data")


async def test_a_damaged_row_is_set_aside_alone(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        await house.worker("row", queue_type=DB_ONLY, store_success=True, store_failure=True)
        await house.worker("first", response_type=1)
        jobs = [await house.enqueue(args, "row", run_after_time=1 << 50) for args in (b"a", b"b", b"c")]
        ids = [each.id.value for each in jobs]
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite3")) as database, database:
        database.execute("UPDATE job SET run_after_ms = 1, due_ms = 1")
        database.execute("UPDATE job SET metadata = '{' WHERE id = ?", (ids[1],))
        database.execute("UPDATE worker SET next_workers = '{' WHERE name = 'first'")
    async with open_house(tmp_path) as house:
        await house.strings.until(lambda: sorted(house.strings.ran) == [b"a", b"c"])
        await eventually(lambda: len(house.daemon.engine.live) == 0)
        (result,) = await house.results(ids[1])
        assert result.data.status == STATUS["FATAL_ERROR"]
        text = result.data.output.items.decode()
        assert f"row {ids[1]} of table job is damaged (metadata: " in text
        assert "enqueue the job again" in text
        assert (await house.client.call("JobService.Count")).total == 0
        assert len((await house.client.items("WorkerService.FindList")).items) == 2
