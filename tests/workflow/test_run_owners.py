"""A run belongs to the latest job that has kept what it did: earlier ones say so, and nothing is done twice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

import anyio
import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from jobworkerp_standalone.jobs.errors import StorageError
from jobworkerp_standalone.jobs.model import Job
from tests.support.clocks import SteppedClock
from tests.support.house import eventually, open_house, refused
from tests.support.patience import PATIENCE_SEC
from tests.workflow.stage import WORKFLOW, Stage, open_stage
from tests.workflow.test_progress import ran as lines

HOUR = "{long: {wait: {hours: 1}}}"


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    return tmp_path / "ran"


def step(ran: Path, name: str) -> str:
    return f"{{{name}: {{run: {{shell: 'echo {name} >> {ran}'}}}}}}"


def twice(ran: Path) -> str:
    """Return a workflow that asks before it pays, and before it ships."""
    ask, again = "{ask: {set: {q: 1}, then: wait}}", "{ask2: {set: {q: 2}, then: wait}}"
    return f"do: [{ask}, {step(ran, 'pay')}, {again}, {step(ran, 'ship')}, {{end: {{set: {{ok: 1}}}}}}]"


def failing(ran: Path, stop: Path) -> str:
    """Return a workflow that asks, pays, and fails while a file is there."""
    last = f"{{last: {{run: {{shell: {{command: 'test ! -e {stop}', treatNonzeroAsError: true}}}}}}}}"
    return f"do: [{{ask: {{set: {{q: 1}}, then: wait}}}}, {step(ran, 'pay')}, {last}]"


async def ended(stage: Stage, job_id: int, status: str, worker: str = "loose") -> int:
    """Wait until a job has ended so, and has left the engine."""
    assert (await stage.result(job_id, worker)).status == status
    await left(stage, job_id)
    return job_id


async def left(stage: Stage, job_id: int) -> None:
    await eventually(lambda: stage.house.daemon.engine.live.get(job_id) is None)


async def in_time(holds: Callable[[], Awaitable[bool]]) -> None:
    with anyio.fail_after(PATIENCE_SEC):
        while not await holds():
            pass


@pytest.mark.parametrize("worker", ["loose", "kept"])
async def test_an_earlier_job_names_the_one_that_waits_and_later_that_all_is_done(
    tmp_path: Path, ran: Path, worker: str
) -> None:
    async with open_stage(tmp_path) as stage:
        first = await ended(stage, await stage.start(twice(ran), {}, worker), "Waiting", worker)
        second = await ended(stage, await stage.resume(first, payload="1"), "Waiting", worker)
        for wish in ({"payload": "1"}, {}, {"from_position": "/ROOT/do/1/pay"}):
            async with refused(Status.FAILED_PRECONDITION, f"go on with job {second}"):
                await stage.resume(first, **wish)
        assert await stage.waiting() == [second]
    async with open_stage(tmp_path, keep=True) as stage:
        async with refused(Status.FAILED_PRECONDITION, f"go on with job {second}"):
            await stage.resume(first, payload="1")
        third = await ended(stage, await stage.resume(second, payload="1"), "Completed", worker)
        await in_time(lambda: _completed(stage, third))
        for each in (first, second):
            async with refused(Status.NOT_FOUND, f"the run of job {each} has completed: job {third}"):
                await stage.resume(each, payload="1")
        async with refused(Status.NOT_FOUND, str(third), "has completed"):
            await stage.resume(third)
        assert (lines(ran), await stage.waiting()) == (["pay", "ship"], [])
    async with open_stage(tmp_path, keep=True) as stage:
        assert await stage.waiting() == []
        async with refused(Status.NOT_FOUND, f"the run of job {first} has completed: job {third}"):
            await stage.resume(first, payload="1")


async def _completed(stage: Stage, job_id: int) -> bool:
    return [note.key for note in await stage.house.daemon.engine.store.notes(f"job:{job_id}")] == [":went-on"]


async def test_a_run_with_a_name_that_has_completed_does_not_wait_again(stage: Stage, ran: Path) -> None:
    text = f"do: [{{ask: {{set: {{q: 1}}, then: wait}}}}, {step(ran, 'pay')}]"
    first = await ended(stage, await stage.start(text, {}, execution_id="named"), "Waiting")
    second = await ended(stage, await stage.resume(first), "Completed")
    async with refused(Status.FAILED_PRECONDITION, f"go on with job {second}"):
        await stage.resume(first)
    await in_time(lambda: _waits_no_longer(stage, first))
    assert lines(ran) == ["pay"]


async def _waits_no_longer(stage: Stage, job_id: int) -> bool:
    return job_id not in await stage.waiting()


async def _is_waiting_long(stage: Stage, job_id: int) -> bool:
    return any(note.key.endswith("/until") for note in await stage.house.daemon.engine.store.notes(f"job:{job_id}"))


class TestALaterJobThatFailed:
    async def test_keeps_the_run_where_it_is_durable(self, stage: Stage, tmp_path: Path, ran: Path) -> None:
        stop = tmp_path / "stop"
        stop.touch()
        first = await ended(stage, await stage.start(failing(ran, stop), {}, "kept"), "Waiting", "kept")
        second = await ended(stage, await stage.resume(first), "Faulted", "kept")
        async with refused(Status.FAILED_PRECONDITION, f"go on with job {second}", "from_position"):
            await stage.resume(first)
        await in_time(lambda: _waits_no_longer(stage, first))
        stop.unlink()
        third = await ended(stage, await stage.resume(second), "Completed", "kept")
        await in_time(lambda: _completed(stage, third))
        async with refused(Status.NOT_FOUND, f"the run of job {first} has completed: job {third}"):
            await stage.resume(first, from_position="/ROOT/do/1/pay")
        assert lines(ran) == ["pay"]

    async def test_does_not_hinder_that_the_run_begins_again_at_a_position(
        self, stage: Stage, tmp_path: Path, ran: Path
    ) -> None:
        stop = tmp_path / "stop"
        stop.touch()
        first = await ended(stage, await stage.start(failing(ran, stop), {}, "kept"), "Waiting", "kept")
        second = await ended(stage, await stage.resume(first), "Faulted", "kept")
        stop.unlink()
        third = await stage.resume(first, from_position="/ROOT/do/1/pay")
        await ended(stage, third, "Completed", "kept")
        assert lines(ran) == ["pay", "pay"], "that was asked for"
        await in_time(lambda: _completed(stage, third))
        async with refused(Status.NOT_FOUND, f"the run of job {second} has completed: job {third}"):
            await stage.resume(second)

    async def test_leaves_the_run_to_the_earlier_one_where_it_kept_nothing(
        self, stage: Stage, tmp_path: Path, ran: Path
    ) -> None:
        stop = tmp_path / "stop"
        stop.touch()
        first = await ended(stage, await stage.start(failing(ran, stop), {}), "Waiting")
        await ended(stage, await stage.resume(first), "Faulted")
        assert first in await stage.waiting()
        stop.unlink()
        await ended(stage, await stage.resume(first), "Completed")

    async def test_keeps_the_run_where_it_reached_a_checkpoint(self, stage: Stage, tmp_path: Path, ran: Path) -> None:
        stop = tmp_path / "stop"
        stop.touch()
        text = "checkpointing: {enabled: true}\n" + failing(ran, stop).replace("{pay: {", "{pay: {checkpoint: true, ")
        first = await ended(stage, await stage.start(text, {}), "Waiting")
        second = await ended(stage, await stage.resume(first, payload="1"), "Faulted")
        async with refused(Status.FAILED_PRECONDITION, f"go on with job {second}"):
            await stage.resume(first, payload="1")
        await in_time(lambda: _waits_no_longer(stage, first))
        stop.unlink()
        await ended(stage, await stage.resume(second), "Completed")
        assert lines(ran) == ["pay"]

    async def test_keeps_the_run_where_it_was_cancelled(self, stage: Stage, ran: Path) -> None:
        text = f"do: [{{ask: {{set: {{q: 1}}, then: wait}}}}, {step(ran, 'pay')}, {HOUR}]"
        first = await ended(stage, await stage.start(text, {}, "kept"), "Waiting", "kept")
        second = await stage.resume(first)
        await in_time(lambda: _is_waiting_long(stage, second))
        assert await stage.house.delete(second)
        await left(stage, second)
        async with refused(Status.FAILED_PRECONDITION, f"go on with job {second}"):
            await stage.resume(first)
        await in_time(lambda: _waits_no_longer(stage, first))
        third = await stage.resume(second)
        await stage.house.delete(third)
        assert lines(ran) == ["pay"]

    async def test_that_kept_something_counts_whoever_came_after_it_and_kept_nothing(
        self, tmp_path: Path, ran: Path
    ) -> None:
        stop = tmp_path / "stop"
        stop.touch()
        async with open_stage(tmp_path, WORKER_DEFAULT_CONCURRENCY="1") as stage:
            first = await ended(stage, await stage.start(failing(ran, stop), {}, "kept"), "Waiting", "kept")
            second = await ended(stage, await stage.resume(first), "Faulted", "kept")
            in_the_way = await stage.start(f"do: [{HOUR}]", {}, "kept")
            await in_time(lambda: _is_waiting_long(stage, in_the_way))
            third = await stage.resume(first, from_position="/ROOT/do/1/pay")
            await stage.house.delete(third)
            await left(stage, third)
            async with refused(Status.FAILED_PRECONDITION, f"go on with job {second}"):
                await stage.resume(first)
            stop.unlink()
            fourth = await stage.resume(second)
            await stage.house.delete(in_the_way)
            await ended(stage, fourth, "Completed", "kept")
            assert lines(ran) == ["pay"]

    async def test_goes_on_with_one_of_two_who_ask_at_once(self, stage: Stage, tmp_path: Path, ran: Path) -> None:
        stop = tmp_path / "stop"
        stop.touch()
        first = await ended(stage, await stage.start(failing(ran, stop), {}, "kept"), "Waiting", "kept")
        second = await ended(stage, await stage.resume(first), "Faulted", "kept")
        stop.unlink()
        answers: list[int] = []
        refusals: list[str] = []

        async def ask(job_id: int, **wish: str) -> None:
            try:
                answers.append(await stage.resume(job_id, **wish))
            except GRPCError as error:
                refusals.append(str(error.message))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(ask, first, from_position="/ROOT/do/1/pay"))
            tasks.start_soon(ask, second)
        assert (len(answers), len(refusals)) == (1, 1)
        await ended(stage, answers[0], "Completed", "kept")


async def test_a_job_whose_start_was_not_answered_goes_on_alone(
    stage: Stage, ran: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its row is there, whatever became of who made it: the daemon was killed, or the store's answer was lost."""
    store = stage.house.daemon.engine.store
    add = store.add

    async def add_and_fail(jobs: Sequence[Job], *, held: bool = False) -> None:
        await add(jobs, held=held)
        raise StorageError("the connection broke")

    first = await ended(stage, await stage.start(twice(ran), {}, "kept"), "Waiting", "kept")
    with monkeypatch.context() as patch:
        patch.setattr(store, "add", add_and_fail)
        async with refused(Status.UNAVAILABLE, "the storage does not answer"):
            await stage.resume(first)
    (row,) = await store.listing(None, 0)
    async with refused(Status.FAILED_PRECONDITION, f"job {row.id} goes on with job {first} already"):
        await stage.resume(first)


async def test_a_run_whose_worker_was_deleted_keeps_the_rules_of_its_worker(tmp_path: Path, ran: Path) -> None:
    policy = {"type": 3, "interval": 10, "max_retry": 2}
    rules = {"queue_type": 1, "store_success": True, "store_failure": True, "retry_policy": policy}
    async with open_stage(tmp_path) as stage:
        house = stage.house
        worker_id = await house.worker("gone", WORKFLOW, broadcast_results=True, **rules)
        text = f"do: [{{ask: {{set: {{q: 1}}, then: wait}}}}, {step(ran, 'pay')}, {HOUR}]"
        first = await ended(stage, await stage.start(text, {}, "gone"), "Waiting", "gone")
        await house.client.call("WorkerService.Delete", value=worker_id)
        second = await stage.resume(first)
        await in_time(lambda: _is_waiting_long(stage, second))
        (row,) = await house.daemon.engine.store.listing(None, 0)
        kept = row.rules.retry_policy
        assert (row.id, row.rules.store_success, row.rules.store_failure) == (second, True, True)
        assert (kept and kept.max_retry, int(row.queue_type)) == (2, 1)
        await house.delete(second)
        await in_time(lambda: _is_stored(stage, second))


async def _is_stored(stage: Stage, job_id: int) -> bool:
    found = await stage.house.client.items("JobResultService.FindListByJobId", job_id={"value": job_id})
    return bool(found.items)


async def test_what_was_kept_is_gone_once_it_is_older_than_the_setting_says(tmp_path: Path) -> None:
    an_hour = "3600"
    async with open_stage(tmp_path, WORKFLOW_CHECKPOINT_EXPIRE_SEC=an_hour) as stage:
        job_id = await stage.start("do: [{ask: {set: {x: 1}, then: wait}}, {end: {set: {y: 1}}}]", {})
        assert (await stage.result(job_id)).status == "Waiting"
        await stage.house.daemon.engine.journals.expire()
        assert await stage.waiting() == [job_id]
    later = SteppedClock(step_ms=3_601_000)
    async with open_house(tmp_path, clock=later, origins=(), WORKFLOW_CHECKPOINT_EXPIRE_SEC=an_hour) as house:
        stage = Stage(house)
        await stage.house.daemon.engine.journals.expire()
        assert await stage.waiting() == []
        async with refused(Status.NOT_FOUND, f"nothing is kept of job {job_id}"):
            await stage.resume(job_id)
