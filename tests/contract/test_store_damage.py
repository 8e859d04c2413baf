"""Rows that are damaged: each fails alone, and hides no other."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import closing
from dataclasses import fields, replace
from pathlib import Path

import pytest

from jobworkerp_standalone.backends.sql.store import SqlStore
from jobworkerp_standalone.jobs.model import ResultStatus
from jobworkerp_standalone.ports import ResultFilter, Settlement
from jobworkerp_standalone.ports.notes import HELD, Note
from tests.contract.scene import EVER, FULL_WORKER, NOW, instance, job, opened, result

DAMAGE = [
    ("metadata", "'{'"),
    ("metadata", "'[1]'"),
    ("metadata", "'{\"a\": 1}'"),
    ("overrides", "'{\"nobody\": 1}'"),
    ("retry_policy", "'null?'"),
    ("retry_policy", "'{\"type\": 77}'"),
    ("response_type", "77"),
    ("queue_type", "77"),
    ("streaming", "'x'"),
    ("run_after_ms", "'soon'"),
    ("enqueue_time_ms", "x'ff'"),
    ("args", "1.5"),
    ("args", "4611686018427387904"),
    ("run_after_ms", "1e300"),
    ('"using"', "x'ff'"),
    ("timeout_ms", "-1"),
    ("retried", "4294967296"),
    ("uniq_key", "x'ff'"),
]
OF_ROWS = [("fence", "'x'"), ("fence", "x'ff'"), ("fence", "'7x'"), ("deliveries", "'x'")]


@pytest.fixture
async def store(path: Path) -> AsyncGenerator[SqlStore, None]:
    async with opened(path) as store:
        yield store


def damage(path: Path, table: str, column: str, value: str, row: int) -> None:
    """Write what this program never writes."""
    with closing(sqlite3.connect(path)) as connection, connection:
        assert connection.execute(f"UPDATE {table} SET {column} = {value} WHERE id = {row}").rowcount == 1


@pytest.mark.parametrize(("column", "value"), [*DAMAGE, *OF_ROWS])
async def test_a_damaged_job_is_leased_as_such_beside_the_others(
    store: SqlStore, path: Path, column: str, value: str
) -> None:
    await store.add([job(1, metadata={"a": "b"}), job(2), job(3)], held=False)
    damage(path, "job", column, value, 2)
    leases = {each.job.id: each for each in await store.lease_due(EVER, {"c": 9})}
    assert sorted(leases) == [1, 2, 3]
    assert (leases[1].damage, leases[3].damage, leases[1].job.metadata) == ("", "", {"a": "b"})
    told = leases[2].damage
    assert told.startswith(f"row 2 of table job is damaged ({column.strip(chr(34))}: ")
    assert "enqueue the job again" in told
    for lease in leases.values():
        await store.settle(Settlement(lease.job))
    assert await store.count() == 0


async def test_the_log_tells_of_a_damaged_row_once(
    store: SqlStore, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await store.add([job(4711)], held=False)
    damage(path, "job", "metadata", "'{'", 4711)
    caplog.set_level(logging.ERROR)
    for _ in range(3):
        await store.listing(None, 0)
    (told,) = caplog.messages
    assert told.startswith("row 4711 of table job is damaged (metadata: ")


@pytest.mark.parametrize(("column", "value"), [*DAMAGE, *OF_ROWS, ("channel", "x'ff'")])
async def test_damaged_jobs_are_listed_found_and_deleted(store: SqlStore, path: Path, column: str, value: str) -> None:
    await store.add([job(1), job(2)], held=False)
    damage(path, "job", column, value, 2)
    assert [each.id for each in await store.listing(None, 0)] == [2, 1]
    assert [each.id for each in await store.of_worker(1)] == [1, 2]
    assert (await store.find(2) or job(0)).id == 2
    assert (await store.delete(2) or job(0)).id == 2
    assert await store.count() == 1


async def test_a_due_time_that_is_none_does_not_stop_the_others(store: SqlStore, path: Path) -> None:
    await store.add([job(1, channel="d"), job(2)], held=False)
    damage(path, "job", "due_ms", "'never'", 1)
    assert await store.next_due_ms(["c", "d"]) == NOW
    assert [each.job.id for each in await store.lease_due(EVER, {"c": 9, "d": 9})] == [2]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *DAMAGE,
        ("status", "77"),
        ("result_metadata", "'{'"),
        ("end_time_ms", "'x'"),
        ("output", "1"),
        ("output", "4611686018427387904"),
        ("worker_name", "x'ff'"),
    ],
)
async def test_damaged_results_are_listed(store: SqlStore, path: Path, column: str, value: str) -> None:
    for number in (1, 2):
        await store.add_result(result(number, replace(job(number), stored=False)))
    damage(path, "job_result", column, value, 2)
    found = await store.find_results(ResultFilter(), sort_by="id", ascending=True, limit=None, offset=0)
    assert [each.id for each in found] == [1, 2]
    assert found[0].status is ResultStatus.SUCCESS
    assert (await store.find_result(2)) is not None
    assert len(await store.results_of_job(2, 9)) == 1


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("retry_policy", "'{'"),
        ("next_workers", "'[\"x\"]'"),
        ("queue_type", "77"),
        ("cron_misfire", "'x'"),
        ("description", "x'ff'"),
        ("periodic_interval_ms", "1e300"),
        ("periodic_interval_ms", "-1"),
        ("runner_settings", "4611686018427387904"),
        ("cron", "'soon'"),
        ("cron", "x'ff'"),
        ("cron_timezone", "'Nowhere'"),
    ],
)
async def test_a_damaged_worker_hides_no_other(store: SqlStore, path: Path, column: str, value: str) -> None:
    first = await store.add_worker(FULL_WORKER)
    second = await store.add_worker(replace(FULL_WORKER, name="second"))
    damage(path, "worker", column, value, second.id)
    found = await store.all_workers()
    assert found[0] == first
    read = {each.name: getattr(found[1], each.name) for each in fields(second)}
    assert [name for name in read if read[name] != getattr(second, name)] == [column]


async def test_text_that_is_no_utf8_is_read_with_replacement_characters(store: SqlStore, path: Path) -> None:
    await store.add([job(1), job(2)], held=False)
    damage(path, "job", "metadata", "CAST(x'7b2261223a22ff227d' AS TEXT)", 2)
    assert [each.metadata for each in await store.listing(None, 0)] == [{"a": "\N{REPLACEMENT CHARACTER}"}, {}]


async def test_a_damaged_process_is_listed(store: SqlStore, path: Path) -> None:
    damage(path, "worker_instance", "channels", "'{'", 1)
    assert [replace(each, channels=()) for each in await store.instances()] == [replace(instance(1), channels=())]


@pytest.mark.parametrize(
    ("column", "value"), [("lease_until_ms", "'x'"), ("slot", "'" + "x" * 1000 + "'"), ("slot", "x'00'")]
)
async def test_a_damaged_process_does_not_keep_the_rows_of_others(
    store: SqlStore, path: Path, column: str, value: str
) -> None:
    await store.add([job(1)], held=True)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE worker_instance SET id = 2, slot = 1, lease_until_ms = 1")
        connection.execute("UPDATE job SET owner_id = 2")
        if column == "slot":
            connection.execute("UPDATE worker_instance SET lease_until_ms = ?", (1 << 62,))
        connection.execute(f"UPDATE worker_instance SET {column} = {value}")
    await store.register(instance(3))
    free = await store.reclaim_dead_owners() == 1
    assert free == (column == "lease_until_ms"), "one whose slot is unknown is gone when its lease is over"


@pytest.mark.parametrize("data", ["7", "1.5", "4611686018427387904", "'text'"])
async def test_a_damaged_note_is_read_beside_the_others(store: SqlStore, path: Path, data: str) -> None:
    await store.change_notes("job:1", [Note(1, "/0", b"{}"), Note(2, "/1", b"{}")], ())
    damage(path, "job_note", "data", data, 2)
    first, second = await store.notes("job:1")
    assert (first.data, second.data) == (b"{}", data.strip("'").encode())


@pytest.mark.parametrize(("column", "value"), [("key", "x'ff'"), ("data", "'nobody'"), ("data", "7")])
async def test_a_run_with_a_damaged_holder_is_held_by_nobody(
    store: SqlStore, path: Path, column: str, value: str
) -> None:
    await store.change_notes("job:1", [Note(1, HELD, b"2")], ())
    damage(path, "job_note", column, value, 1)
    assert await store.held_runs(["job:1"]) == set()
    assert await store.hold_run("job:1", 3)
