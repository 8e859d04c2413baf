"""Two daemons on one database: what is changed through one holds for both."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from jobworkerp_standalone.jobs.errors import StorageError
from jobworkerp_standalone.jobs.model import Worker
from tests.support.house import PUPPET, STATUS, House, eventually, open_house
from tests.support.patience import PATIENCE_SEC
from tests.workflow.stage import open_stage

STORED: dict[str, Any] = {"store_success": True, "store_failure": True, "broadcast_results": True}
EVERY_SECOND = "* * * * * *"


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@pytest.fixture
async def houses(tmp_path: Path) -> AsyncGenerator[tuple[House, House]]:
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(open_house(tmp_path, JOB_QUEUE_FETCH_INTERVAL="50"))
        other = await stack.enter_async_context(open_house(tmp_path, JOB_QUEUE_FETCH_INTERVAL="50"))
        yield one, other


async def update(house: House, worker_id: int, name: str = "w", **fields: Any) -> None:
    data = {"name": name, "runner_id": {"value": PUPPET}, **fields}
    assert (await house.client.call("WorkerService.Update", id={"value": worker_id}, data=data)).is_success


def known(house: House, name: str) -> bool:
    return house.daemon.engine.catalog.find_by_name(name) is not None


async def ended(house: House, job_id: int) -> None:
    """Wait until a row is gone."""
    async with asyncio.timeout(PATIENCE_SEC):
        while await house.daemon.engine.store.find(job_id) is not None:  # noqa: ASYNC110 - a row tells nobody
            await asyncio.sleep(0.01)


async def test_a_worker_that_the_other_one_made_is_found_by_all_who_look_at_once(tmp_path: Path) -> None:
    async with open_house(tmp_path) as one, open_house(tmp_path) as other:
        await other.worker("w", response_type=1)
        async with asyncio.TaskGroup() as tasks:
            replies = [tasks.create_task(one.enqueue(b"x")) for _ in range(5)]
        assert [reply.result().result.data.status for reply in replies] == [STATUS["SUCCESS"]] * 5


async def test_a_worker_that_a_task_keeps_may_be_made_by_the_other_one_at_the_same_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_stage(tmp_path) as stage, open_house(tmp_path) as other:
        store, made = stage.house.daemon.engine.store, list[Worker]()
        add = store.add_worker

        async def add_later(worker: Worker) -> Worker:
            made.append(await other.daemon.engine.catalog.create(worker))
            return await add(worker)

        monkeypatch.setattr(store, "add_worker", add_later)
        options = {"useStatic": True}
        warm = {"name": "COMMAND", "arguments": {"command": "echo", "args": ["hi"]}, "options": options}
        end = await stage.run({"do": [{"a": {"run": {"runner": warm}}}]}, {})
        assert (end.status, len(made)) == ("Completed", 1), end.text


async def test_a_change_reaches_the_other_one(houses: tuple[House, House]) -> None:
    one, other = houses
    worker_id = await one.worker("w", response_type=1)
    await eventually(lambda: known(other, "w"))
    assert (await other.enqueue(b"x")).result.data.status == STATUS["SUCCESS"]
    await update(one, worker_id, "v", response_type=1, runner_settings=b"new")
    await eventually(lambda: known(other, "v"))
    assert not known(other, "w")
    await other.enqueue(b"x", worker="v")
    assert other.strings.loads[-1] == b"new", "a job ran with settings that are no longer true"


async def test_a_static_instance_of_the_old_definition_is_closed(houses: tuple[House, House]) -> None:
    one, other = houses
    worker_id = await one.worker("w", response_type=1, use_static=True)
    await eventually(lambda: known(other, "w"))
    await other.enqueue(b"x")
    assert (other.strings.loads, other.strings.closed) == ([b""], 0)
    await update(one, worker_id, response_type=1, use_static=True, runner_settings=b"new")
    await other.strings.until(lambda: other.strings.closed == 1)
    await other.enqueue(b"x")
    assert other.strings.loads == [b"", b"new"]


async def test_a_worker_that_was_deleted_is_gone_everywhere_and_its_jobs_end(houses: tuple[House, House]) -> None:
    one, other = houses
    worker_id = await one.worker("w", channel="narrow", **STORED)
    await eventually(lambda: known(other, "w"))
    await other.enqueue(b"wait")
    await other.strings.until(lambda: other.strings.running == 1)
    waiting = (await other.enqueue(b"behind")).id.value
    assert (await one.client.call("WorkerService.Delete", value=worker_id)).is_success
    await eventually(lambda: not known(other, "w"))
    await eventually(lambda: other.daemon.engine.live.get(waiting) is None)
    (result,) = await one.results(waiting)
    assert result.data.status == STATUS["FATAL_ERROR"]
    assert b"deleted" in result.data.output.items


async def test_names_that_were_exchanged_are_found_right(houses: tuple[House, House]) -> None:
    one, other = houses
    first, second = await one.worker("first"), await one.worker("second")
    await update(one, first, "between")
    await update(one, second, "first")
    await update(one, first, "second")
    catalog = other.daemon.engine.catalog
    await eventually(lambda: known(other, "first") and not known(other, "between"))
    for name, worker_id in (("first", second), ("second", first)):
        entry = catalog.find_by_name(name)
        assert entry is not None
        assert entry.worker.id == worker_id


async def test_a_row_that_one_holds_and_the_other_deletes_runs_nowhere(tmp_path: Path) -> None:
    async with open_house(tmp_path) as one, open_house(tmp_path) as other:
        await one.worker("w", queue_type=1, channel="narrow", **STORED)
        busy = (await one.enqueue(b"wait")).id.value
        await one.strings.until(lambda: one.strings.running == 1)
        held = (await one.enqueue(b"x", uniq_key="k")).id.value
        near = (await one.enqueue(b"near", run_after_time=now_ms() + 300)).id.value
        for job_id in (held, near):
            assert await other.delete(job_id)
            assert [each.data.status for each in await other.results(job_id)] == [STATUS["CANCELLED"]]
        one.strings.release.set()
        await eventually(lambda: len(one.daemon.engine.live) == 0)
        assert one.strings.ran == [b"wait"]
        assert other.strings.ran == []
        await ended(one, busy)


async def test_rows_run_by_the_definition_that_held_when_they_were_written(tmp_path: Path) -> None:
    """However short the time between the change and the job; the other daemon looks further ahead and so gets them."""
    async with (
        open_house(tmp_path, JOB_QUEUE_FETCH_INTERVAL="10") as one,
        open_house(tmp_path, JOB_QUEUE_FETCH_INTERVAL="100") as other,
    ):
        worker_id = await one.worker("w", queue_type=2, **STORED)
        await eventually(lambda: known(other, "w"))
        number = 0
        while not other.strings.ran or number < 5:
            number += 1
            assert number < 50, "the other daemon ran none of them"
            name = f"w{number}"
            await update(one, worker_id, name, queue_type=2, **STORED)
            due_ms = now_ms() + 120
            ids = [(await one.enqueue(b"x", worker=name, run_after_time=due_ms)).id.value for _ in range(8)]
            for job_id in ids:
                await ended(one, job_id)
                (result,) = await one.results(job_id)
                assert result.data.worker_name == name


async def test_a_schedule_that_both_know_of_follows_its_worker(houses: tuple[House, House]) -> None:
    one, other = houses
    worker_id = await one.worker("w", cron=EVERY_SECOND)
    job_id = (await one.enqueue(b"tick", uniq_key="k")).id.value
    await eventually(lambda: bool(one.strings.ran or other.strings.ran))
    await update(one, worker_id)
    before = len(one.strings.ran) + len(other.strings.ran)
    await ended(one, job_id)  # the schedule ends with its next run, whoever has it; one may be just beginning
    assert len(one.strings.ran) + len(other.strings.ran) <= before + 2


async def test_a_store_that_cannot_be_read_for_a_while_changes_nothing(
    houses: tuple[House, House], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = houses
    looks: list[int] = []

    async def fail() -> int:
        looks.append(1)
        raise StorageError("out of order")

    worker_id = await one.worker("w", response_type=1)
    await eventually(lambda: known(other, "w"))
    with monkeypatch.context() as broken:
        broken.setattr(other.daemon.engine.store, "worker_changes", fail)
        await update(one, worker_id, "v", response_type=1)
        await eventually(lambda: bool(looks))
        assert (await other.enqueue(b"x")).result.data.status == STATUS["SUCCESS"]
    await eventually(lambda: known(other, "v"))
