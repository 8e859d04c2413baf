"""Rows that are damaged: each fails alone, and hides no other."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from jobworkerp_standalone.backends.sql.store import SqlStore
from jobworkerp_standalone.jobs.model import ResultStatus
from jobworkerp_standalone.ports import ResultFilter
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
]


@pytest.fixture
async def store(path: Path) -> AsyncGenerator[SqlStore, None]:
    async with opened(path) as store:
        yield store


def damage(path: Path, table: str, column: str, value: str, row: int) -> None:
    """Write what this program never writes."""
    with closing(sqlite3.connect(path)) as connection, connection:
        assert connection.execute(f"UPDATE {table} SET {column} = {value} WHERE id = {row}").rowcount == 1


@pytest.mark.parametrize(("column", "value"), DAMAGE)
async def test_a_damaged_job_is_leased_as_such_beside_the_others(
    store: SqlStore, path: Path, column: str, value: str
) -> None:
    await store.add([job(1, metadata={"a": "b"}), job(2), job(3)], held=False)
    damage(path, "job", column, value, 2)
    leases = {each.job.id: each for each in await store.lease_due(EVER, {"c": 9})}
    assert sorted(leases) == [1, 2, 3]
    assert (leases[1].damage, leases[3].damage, leases[1].job.metadata) == ("", "", {"a": "b"})
    told = leases[2].damage
    assert told.startswith(f"row 2 of table job is damaged ({column}: ")
    assert "enqueue the job again" in told


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


@pytest.mark.parametrize(("column", "value"), DAMAGE)
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
    [*DAMAGE, ("status", "77"), ("result_metadata", "'{'"), ("end_time_ms", "'x'"), ("output", "1")],
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
    [("retry_policy", "'{'"), ("next_workers", "'[\"x\"]'"), ("queue_type", "77"), ("cron_misfire", "'x'")],
)
async def test_a_damaged_worker_hides_no_other(store: SqlStore, path: Path, column: str, value: str) -> None:
    first = await store.add_worker(FULL_WORKER)
    second = await store.add_worker(replace(FULL_WORKER, name="second"))
    damage(path, "worker", column, value, second.id)
    found = await store.all_workers()
    assert found[0] == first
    assert (found[1].name, found[1].cron, found[1].runner_settings) == ("second", second.cron, second.runner_settings)


async def test_text_that_is_no_utf8_is_read_with_replacement_characters(store: SqlStore, path: Path) -> None:
    await store.add([job(1), job(2)], held=False)
    damage(path, "job", "metadata", "CAST(x'7b2261223a22ff227d' AS TEXT)", 2)
    assert [each.metadata for each in await store.listing(None, 0)] == [{"a": "\N{REPLACEMENT CHARACTER}"}, {}]


async def test_a_damaged_process_is_listed(store: SqlStore, path: Path) -> None:
    damage(path, "worker_instance", "channels", "'{'", 1)
    assert [replace(each, channels=()) for each in await store.instances()] == [replace(instance(1), channels=())]
