"""What runs wrote down is bounded where memory alone holds it; nothing goes that a run needs in order to go on."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import anyio
import pytest
from grpclib.const import Status

from jobworkerp_standalone import CallFailed, JobWorkerp, State, WorkflowRun
from jobworkerp_standalone.settings import SettingsError, load_settings
from tests.support.house import eventually, refused
from tests.support.patience import PATIENCE_SEC
from tests.workflow.stage import HEAD, Stage, open_stage
from tests.workflow.test_progress import ran as lines
from tests.workflow.test_run_owners import HOUR, ended, failing, left, step

SETTING = "WORKFLOW_CHECKPOINT_MAX_COUNT"
ASK = "{ask: {set: {q: 1}, then: wait}}"


def in_memory(folder: Path, most: int) -> AbstractAsyncContextManager[Stage]:
    """Start a daemon that keeps nothing on disk, and so many records in memory."""
    return open_stage(folder, SQLITE_URL="sqlite::memory:", WORKFLOW_CHECKPOINT_MAX_COUNT=str(most))


def count(stage: Stage) -> int:
    """Return how many records are kept."""
    there = stage.house.daemon.engine.store.notes_in_memory
    assert there is not None, "the store is in memory"
    return there


async def soon(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something holds. A store in memory answers at once, so others get their turn here."""
    with anyio.fail_after(PATIENCE_SEC):
        while not await holds():  # noqa: ASYNC110 - what is waited for tells nobody
            await anyio.sleep(0.001)


def mend(stop: Path) -> None:
    """Let what faulted until now complete."""
    stop.unlink()


async def faulted(stage: Stage, text: str) -> int:
    """Run a durable workflow that pays, and faults: it leaves three records."""
    return await ended(stage, await stage.start(text, {}, "kept"), "Faulted", "kept")


async def waits(stage: Stage, text: str = f"do: [{ASK}, {{end: {{set: {{ok: 1}}}}}}]", **args: str) -> int:
    """Run a workflow until it waits: it leaves four records, and with an execution one more."""
    return await ended(stage, await stage.start(text, {}, **args), "Waiting")


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    return tmp_path / "ran"


@pytest.fixture
def stop(tmp_path: Path) -> Path:
    """While this file is there, ``paying`` faults."""
    stop = tmp_path / "stop"
    stop.touch()
    return stop


@pytest.fixture
def paying(ran: Path, stop: Path) -> str:
    return failing(ran, stop).replace(f"{ASK}, ", "")


class TestRunsThatHaveEnded:
    async def test_the_oldest_go_first_and_their_resume_names_the_setting(
        self, tmp_path: Path, ran: Path, stop: Path, paying: str
    ) -> None:
        async with in_memory(tmp_path, 7) as stage:
            first, second, third = [await faulted(stage, paying) for _ in range(3)]
            await eventually(lambda: count(stage) <= 7)
            async with refused(
                Status.NOT_FOUND, f"of job {first} any more", f"more than 7 records ({SETTING})", "start the workflow"
            ):
                await stage.resume(first)
            mend(stop)
            for job_id in (second, third):
                await ended(stage, await stage.resume(job_id), "Completed", "kept")
            assert lines(ran) == ["pay"] * 3

    async def test_runs_that_were_cancelled_go_too(self, tmp_path: Path) -> None:
        async with in_memory(tmp_path, 7) as stage:
            text = f"checkpointing: {{enabled: true}}\ndo: [{{a: {{set: {{x: 1}}, checkpoint: true}}}}, {HOUR}]"
            jobs: list[int] = []
            for _ in range(3):
                jobs.append(await stage.start(text, {}))
                await soon(lambda: _has_kept(stage, jobs[-1], 3))
                assert await stage.house.delete(jobs[-1])
                await left(stage, jobs[-1])
            await eventually(lambda: count(stage) == 6)
            async with refused(Status.NOT_FOUND, SETTING):
                await stage.resume(jobs[0])

    async def test_the_latest_stays_however_large_it_is(self, tmp_path: Path, stop: Path, paying: str) -> None:
        async with in_memory(tmp_path, 1) as stage:
            first, second = [await faulted(stage, paying) for _ in range(2)]
            await eventually(lambda: count(stage) == 3)
            mend(stop)
            async with refused(Status.NOT_FOUND, SETTING):
                await stage.resume(first)
            await ended(stage, await stage.resume(second), "Completed", "kept")

    async def test_runs_that_completed_are_not_among_them(self, tmp_path: Path, stop: Path, paying: str) -> None:
        text = "checkpointing: {enabled: true}\ndo: [{a: {set: {x: 1}, checkpoint: true}}]"
        async with in_memory(tmp_path, 3) as stage:
            job_id = await faulted(stage, paying)
            for worker in ("kept", "loose") * 2:
                done = await ended(stage, await stage.start(text, {}, worker), "Completed", worker)
                await eventually(lambda done=done: done not in stage.house.daemon.engine.journals._retention)
            assert count(stage) == 3
            mend(stop)
            await ended(stage, await stage.resume(job_id), "Completed", "kept")

    async def test_jobs_that_went_on_with_one_another_go_together(
        self, tmp_path: Path, ran: Path, stop: Path, paying: str
    ) -> None:
        """Else the earlier one would know of none that has done its work."""
        async with in_memory(tmp_path, 9) as stage:
            first = await ended(stage, await stage.start(failing(ran, stop), {}, "kept"), "Waiting", "kept")
            second = await ended(stage, await stage.resume(first), "Faulted", "kept")
            await soon(lambda: _is_told(stage, first, second))
            await faulted(stage, paying)
            await eventually(lambda: count(stage) == 3)
            mend(stop)
            for job_id in (first, second):
                async with refused(Status.NOT_FOUND, SETTING):
                    await stage.resume(job_id, from_position="/ROOT/do/1/pay")
            assert lines(ran) == ["pay", "pay"]


async def _has_kept(stage: Stage, job_id: int, records: int) -> bool:
    return len(await stage.house.daemon.engine.store.notes(f"job:{job_id}")) == records


async def _is_told(stage: Stage, first: int, second: int) -> bool:
    notes = await stage.house.daemon.engine.store.notes(f"job:{first}")
    keys = {note.key: note.data for note in notes}
    return keys.get(":goes-on") == str(second).encode() and not keys.keys() & {":waits", ":held"}


class TestWhatARunNeeds:
    async def test_runs_that_wait_stay_and_the_log_says_so_once(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.WARNING)
        async with in_memory(tmp_path, 10) as stage:
            jobs = [await waits(stage) for _ in range(5)]
            assert (count(stage), await stage.waiting()) == (20, jobs[::-1])
            said = [record.getMessage() for record in caplog.records if SETTING in record.getMessage()]
            assert len(said) == 1
            assert said[0].startswith(f"memory holds 11 records of workflow runs, more than {SETTING} (10)")
            for job_id in jobs:
                end = await stage.result(await stage.resume(job_id, payload="2"))
                assert (end.status, end.output) == ("Completed", {"ok": 1})

    async def test_a_run_that_has_not_ended_stays(self, tmp_path: Path, ran: Path, paying: str) -> None:
        async with in_memory(tmp_path, 5) as stage:
            text = f"do: [{', '.join(step(ran, f's{number}') for number in range(9))}, {HOUR}]"
            living = await stage.start(text, {}, "kept")
            await eventually(lambda: count(stage) == 12)
            dropped, _ = [await faulted(stage, paying) for _ in range(2)]
            await eventually(lambda: count(stage) == 15)
            async with refused(Status.NOT_FOUND, SETTING):
                await stage.resume(dropped)
            assert await stage.house.delete(living)
            await left(stage, living)
            again = await stage.resume(living)
            await eventually(lambda: count(stage) > 15)  # it has taken over what the first one did, and goes on
            assert lines(ran) == [f"s{number}" for number in range(9)] + ["pay"] * 2
            assert await stage.house.delete(again)
            await left(stage, again)

    async def test_a_run_that_somebody_goes_on_with_stays(self, tmp_path: Path, ran: Path, paying: str) -> None:
        """The job that goes on keeps nothing of its own until it has a checkpoint, and may fail before."""
        text = f"do: [{{a: {{set: {{x: 1}}, checkpoint: true}}}}, {step(ran, 'again')}, {HOUR}]"
        async with in_memory(tmp_path, 7) as stage:
            jobs = [await stage.start(f"checkpointing: {{enabled: true}}\n{text}", {})]
            for times in range(1, 4):
                await eventually(lambda times=times: ran.exists() and lines(ran).count("again") == times)
                for _ in range(3):
                    await faulted(stage, paying)
                assert await stage.house.delete(jobs[-1])
                await left(stage, jobs[-1])
                jobs.append(await stage.resume(jobs[0]))
            assert await stage.house.delete(jobs[-1])
            await left(stage, jobs[-1])

    async def test_of_a_run_that_waits_again_and_again_what_the_last_job_wrote_stays(
        self, tmp_path: Path, ran: Path
    ) -> None:
        async with in_memory(tmp_path, 12) as stage:
            asks = [
                f"{{ask{number}: {{set: {{q: {number}}}, then: wait}}}}, {step(ran, f's{number}')}"
                for number in range(6)
            ]
            jobs = [await waits(stage, f"do: [{', '.join(asks)}]")]
            for number in range(5):
                jobs.append(await ended(stage, await stage.resume(jobs[-1]), "Waiting"))
                assert lines(ran) == [f"s{each}" for each in range(number + 1)]
            await eventually(lambda: count(stage) <= 15)
            async with refused(Status.NOT_FOUND, SETTING, "went on with it: go on with that one"):
                await stage.resume(jobs[0])
            await ended(stage, await stage.resume(jobs[-1]), "Completed")
            assert lines(ran) == [f"s{number}" for number in range(6)]


class TestExecutions:
    TEXT = "checkpointing: {enabled: true}\ndo: [{a: {set: {x: 1}}}, {b: {set: {x: 2}}}]"

    async def test_one_that_was_dropped_is_told_with_the_setting(self, tmp_path: Path) -> None:
        async with in_memory(tmp_path, 6) as stage:
            for name in ("first", "second"):
                await ended(stage, await stage.start(self.TEXT, {}, execution_id=name), "Completed")
            await eventually(lambda: count(stage) == 5)
            place = {"position": "/ROOT/do/0/a"}
            end = await stage.run(self.TEXT, {}, execution_id="first", from_checkpoint=place)
            assert "nothing is kept of execution 'first' of workflow 'flow'" in end.text
            assert f"memory held more than 6 records ({SETTING})" in end.text
            end = await stage.run(self.TEXT, {}, execution_id="second", from_checkpoint=place)
            assert (end.status, end.output) == ("Completed", {"x": 2})

    async def test_a_name_is_of_the_last_run_that_had_it(self, tmp_path: Path) -> None:
        async with in_memory(tmp_path, 6) as stage:
            for _ in range(3):
                await ended(stage, await stage.start(self.TEXT, {}, execution_id="same"), "Completed")
            await eventually(lambda: count(stage) == 5)
            end = await stage.run(self.TEXT, {}, execution_id="same", from_checkpoint={"position": "/ROOT/do/0/a"})
            assert (end.status, end.output) == ("Completed", {"x": 2})


class TestTheSetting:
    @pytest.mark.parametrize(("most", "told"), [("4", SETTING), (None, "go on with job")])
    async def test_it_counts_in_a_program_that_has_it_in_its_environment(
        self, monkeypatch: pytest.MonkeyPatch, most: str | None, told: str
    ) -> None:
        document = {"do": [{f"ask{number}": {"set": {"q": number}, "then": "wait"}} for number in range(3)]}
        if most is not None:
            monkeypatch.setenv(SETTING, most)
        async with JobWorkerp(environment=os.environ) as jw:
            first = await jw.run_workflow({"document": dict(HEAD), **document})
            second = await jw.resume(first)
            assert second.state is State.WAITING
            await soon(lambda: _is_refused(jw, first, told))
            assert (await jw.resume(second)).state is State.COMPLETED

    async def test_it_does_not_count_where_there_is_a_database(
        self, tmp_path: Path, ran: Path, stop: Path, paying: str
    ) -> None:
        async with open_stage(tmp_path, WORKFLOW_CHECKPOINT_MAX_COUNT="1") as stage:
            jobs = [await faulted(stage, paying) for _ in range(3)]
            mend(stop)
            for job_id in jobs:
                await ended(stage, await stage.resume(job_id), "Completed", "kept")
            assert lines(ran) == ["pay"] * 3

    @pytest.mark.parametrize("value", ["0", "-1", "many"])
    def test_a_value_that_is_no_count_is_refused(self, value: str) -> None:
        with pytest.raises(SettingsError, match=f"^{SETTING}='?{value}"):
            load_settings({SETTING: value})


async def _is_refused(jw: JobWorkerp, run: WorkflowRun, told: str) -> bool:
    with pytest.raises(CallFailed) as caught:
        await jw.resume(run)
    return told in str(caught.value)
