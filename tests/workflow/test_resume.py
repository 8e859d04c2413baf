"""Who may go on with a run, and from where: what cannot be is refused before anything runs."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from grpclib.const import Status

from jobworkerp_standalone.jobs.errors import StorageError
from jobworkerp_standalone.jobs.model import JobStatus
from jobworkerp_standalone.ports.notes import HELD
from jobworkerp_standalone.schema.messages import message_class
from jobworkerp_standalone.workflow import progress
from tests.support.house import eventually, refused
from tests.support.patience import PATIENCE_SEC
from tests.workflow.stage import WORKFLOW, Stage, document, open_stage
from tests.workflow.test_progress import ASK, change, noted

LONG = "do: [{a: {set: {x: 1}}}, {w: {wait: {hours: 1}}}]"
FAULTY = "do: [{a: {set: {x: 1}}}, {bad: {raise: {error: {type: 'https://x.org/e', status: 500}}}}]"
ASKING = "do: [{ask: {set: {x: 1}, then: wait}}, {bad: {raise: {error: {type: 'https://x.org/e', status: 500}}}}]"
_SETTINGS: Any = message_class("jobworkerp.runner.WorkflowRunnerSettings")
AN_HOUR = {"type": 3, "interval": 3_600_000, "max_retry": 3}


@asynccontextmanager
async def with_far_retries(folder: Path) -> AsyncIterator[Stage]:
    """Start a daemon whose worker ``late`` tries again an hour later."""
    async with open_stage(folder) as stage:
        await stage.house.worker(
            "late", WORKFLOW, queue_type=1, broadcast_results=True, store_failure=True, retry_policy=AN_HOUR
        )
        yield stage


async def rows(stage: Stage) -> list[int]:
    """Return the jobs that have a row."""
    return [job.id for job in await stage.house.daemon.engine.store.listing(None, 0)]


async def faulted_once(stage: Stage, job_id: int) -> None:
    """Wait until a job has only its row left, in which it waits for its next attempt."""
    engine = stage.house.daemon.engine
    with anyio.fail_after(PATIENCE_SEC):
        while (row := await engine.store.find(job_id)) is None or row.retried == 0:
            pass
    await eventually(lambda: engine.live.get(job_id) is None)


class TestAJobThatHasNotEnded:
    async def test_waits_for_a_far_retry(self, tmp_path: Path) -> None:
        async with with_far_retries(tmp_path) as stage:
            job_id = await stage.start(FAULTY, {}, "late")
            await faulted_once(stage, job_id)
            async with refused(Status.FAILED_PRECONDITION, f"job {job_id} has not ended", "delete it"):
                await stage.resume(job_id)
            assert await rows(stage) == [job_id]
            await stage.house.delete(job_id)
            await stage.resume(job_id)

    async def test_is_run_by_another_daemon(self, tmp_path: Path) -> None:
        async with open_stage(tmp_path) as stage:
            job_id = await stage.start(LONG, {}, "kept")
            engine = stage.house.daemon.engine
            with anyio.fail_after(PATIENCE_SEC):
                while len(await engine.store.notes(f"job:{job_id}")) < 3:
                    pass
            async with open_stage(tmp_path, keep=True) as beside:
                async with refused(Status.FAILED_PRECONDITION, f"job {job_id} has not ended", "goes on by itself"):
                    await beside.resume(job_id)
                assert await rows(beside) == [job_id]

    async def test_is_run_by_another_daemon_without_a_row(self, tmp_path: Path) -> None:
        """The other daemon sees nothing but what the run wrote down; once it has ended, anybody may go on with it."""
        text = LONG.replace("x: 1}", "x: 1}, checkpoint: true")
        async with open_stage(tmp_path) as stage, open_stage(tmp_path, keep=True) as beside:
            job_id = await stage.start(f"checkpointing: {{enabled: true}}\n{text}", {})
            engine = stage.house.daemon.engine
            with anyio.fail_after(PATIENCE_SEC):
                while "/0" not in (keys := {note.key for note in await engine.store.notes(f"job:{job_id}")}):
                    pass
            async with refused(Status.FAILED_PRECONDITION, f"job {job_id} already, or runs it", "end it there"):
                await beside.resume(job_id)
            assert await stage.house.delete(job_id)
            with anyio.fail_after(PATIENCE_SEC):
                while HELD in (keys := {note.key for note in await engine.store.notes(f"job:{job_id}")}):
                    pass
            assert "/0" in keys
            assert await beside.house.delete(await beside.resume(job_id))

    async def test_goes_on_with_another_that_was_resumed(self, tmp_path: Path) -> None:
        """The process that made it is gone, and only its row knows with which run it goes on."""
        async with with_far_retries(tmp_path) as stage:
            job_id = await stage.start(ASKING, {}, "late")
            assert (await stage.result(job_id, "late")).status == "Waiting"
            await eventually(lambda: stage.house.daemon.engine.live.get(job_id) is None)
            second = await stage.resume(job_id)
            await faulted_once(stage, second)
        async with open_stage(tmp_path, keep=True) as stage:
            async with refused(Status.FAILED_PRECONDITION, f"job {second} goes on with job {job_id} already"):
                await stage.resume(job_id)
            await stage.house.delete(second)
            async with refused(Status.FAILED_PRECONDITION, f"go on with job {second}"):
                await stage.resume(job_id)
            await stage.resume(second)


async def test_a_job_that_answers_its_caller_is_not_durable(tmp_path: Path) -> None:
    """Whatever its queue type: its caller is gone with the daemon."""
    async with open_stage(tmp_path) as stage:
        await stage.house.worker("answers", WORKFLOW, queue_type=1, response_type=1)
        async with anyio.create_task_group() as calls:
            calls.start_soon(stage.run, LONG, {}, "answers")
            engine = stage.house.daemon.engine
            await eventually(lambda: any(live.status is JobStatus.RUNNING for live in engine.live.all()))
            (live,) = engine.live.all()
            assert (live.job.stored, await rows(stage), noted(tmp_path, "%")) == (False, [], 0)
            calls.cancel_scope.cancel()


async def test_nothing_is_kept_of_a_child_that_its_parent_has_ended(tmp_path: Path) -> None:
    """Its parent starts another one where somebody goes on with it."""
    arguments = {"workflow_data": document(LONG), "input": "{}"}
    child = {"name": "WORKFLOW", "arguments": arguments, "options": {"queueType": "WITH_BACKUP"}}
    async with open_stage(tmp_path) as stage:
        job_id = await stage.start({"do": [{"c": {"run": {"runner": child}}}]}, {}, "kept")
        await eventually(lambda: noted(tmp_path, "%/until") > 0)
        assert await stage.house.delete(job_id)
        assert (await stage.result(job_id, "kept")).job_status == "CANCELLED"
        await eventually(lambda: noted(tmp_path, "run") == 1)
        assert await stage.house.daemon.engine.store.notes(f"job:{job_id}"), "somebody may go on with the parent"


async def test_nothing_is_kept_of_a_child_that_failed(tmp_path: Path) -> None:
    """The same: it is of no use that a part of it is done."""
    arguments = {"workflow_data": document(FAULTY), "input": "{}"}
    child = {"name": "WORKFLOW", "arguments": arguments, "options": {"queueType": "WITH_BACKUP"}}
    async with open_stage(tmp_path) as stage:
        job_id = await stage.start({"do": [{"c": {"run": {"runner": child}}}]}, {}, "kept")
        assert (await stage.result(job_id, "kept")).status == "Faulted"
        await eventually(lambda: noted(tmp_path, "run") == 1)
        assert await stage.house.daemon.engine.store.notes(f"job:{job_id}"), "somebody may go on with the parent"


@pytest.mark.parametrize("ends", ["completes", "is ended"])
async def test_what_a_durable_run_wrote_down_goes_in_the_same_step_as_its_row(
    tmp_path: Path, ends: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that nothing stays where the daemon is killed after it."""
    arguments = {"workflow_data": document("do: [{a: {set: {x: 1}}}]" if ends == "completes" else LONG), "input": "{}"}
    child = {"name": "WORKFLOW", "arguments": arguments, "options": {"queueType": "WITH_BACKUP"}}
    async with open_stage(tmp_path) as stage:
        monkeypatch.setattr(stage.house.daemon.engine.live, "on_left", lambda *_: None)
        job_id = await stage.start({"do": [{"c": {"run": {"runner": child}}}]}, {}, "kept")
        if ends == "is ended":
            await eventually(lambda: noted(tmp_path, "%/until") > 0)
            assert await stage.house.delete(job_id)
        await stage.result(job_id, "kept")
        assert noted(tmp_path, "run") == (0 if ends == "completes" else 1)


async def test_a_child_that_waits_when_it_is_tried_once_more_can_be_gone_on_with(tmp_path: Path) -> None:
    tried = tmp_path / "tried"
    fails_once = f"[ -e {tried} ] || {{ touch {tried}; exit 1; }}"
    shell = {"command": "sh", "args": ["-c", fails_once], "treatNonzeroAsError": True}
    text = {
        "do": [{"a": {"run": {"shell": shell}}}, {"ask": {"set": {"x": 1}, "then": "wait"}}, {"b": {"set": {"y": 2}}}]
    }
    arguments = {"workflow_data": document(text), "input": "{}"}
    retry = {"type": 3, "interval": 10, "max_retry": 1}
    async with open_stage(tmp_path) as stage:
        await stage.house.worker("child", WORKFLOW, queue_type=1, retry_policy=retry)
        parent = {"do": [{"c": {"run": {"worker": {"name": "child", "arguments": arguments}}}}]}
        assert (await stage.result(await stage.start(parent, {}, "kept"), "kept")).status == "Completed"
        (job_id,) = await stage.waiting()
        await stage.resume(job_id)


@pytest.mark.parametrize("checkpointing", [True, False])
async def test_a_position_of_an_execution_of_which_nothing_is_kept(
    stage: Stage, tmp_path: Path, checkpointing: bool
) -> None:
    ran = tmp_path / "ran"
    text: dict[str, Any] = {"do": [{"a": {"run": {"shell": f"echo a >> {ran}"}}}, {"b": {"set": {"y": 2}}}]}
    if checkpointing:
        text["checkpointing"] = {"enabled": True}
    end = await stage.run(text, {}, execution_id="never", from_checkpoint={"position": "/ROOT/do/0/a"})
    assert (end.job_status, "nothing is kept of execution 'never'" in end.text) == ("OTHER_ERROR", True), end
    assert not ran.exists(), "nothing ran"


async def test_a_checkpoint_without_a_position(stage: Stage) -> None:
    given = {"data": {"workflow": {"name": "flow", "input": "{}"}, "task": {"output": json.dumps({"x": 1})}}}
    end = await stage.run(LONG, {}, execution_id="e", from_checkpoint=given)
    assert (end.job_status, "position of from_checkpoint is missing" in end.text) == ("OTHER_ERROR", True), end


class TestWhatIsKnownWhenItIsAskedFor:
    @pytest.fixture
    async def waiting(self, stage: Stage) -> int:
        job_id = await stage.start(ASK, {})
        assert (await stage.result(job_id)).status == "Waiting"
        await eventually(lambda: stage.house.daemon.engine.live.get(job_id) is None)
        return job_id

    @pytest.mark.parametrize(
        "place", ["/ROOT/do/9/zz", "/ROOT/do/0/zz", "/do/0", "nowhere", "", "/ROOT/do/\u0661/go", "/ROOT/do/01/go"]
    )
    async def test_a_position_that_the_workflow_does_not_have(self, stage: Stage, waiting: int, place: str) -> None:
        async with refused(
            Status.INVALID_ARGUMENT, f"from_position {place!r}", "has no task at that place", "name one"
        ):
            await stage.resume(waiting, from_position=place)
        assert waiting in await stage.waiting(), "nothing went on with it"

    @pytest.mark.parametrize("place", ["/do/0/s/switch/0/a", "/do/0/s/if", "/do/1/ask/set/do/0/x", "/do/1/ask/do/0/x"])
    async def test_a_position_of_what_is_no_task(self, stage: Stage, place: str) -> None:
        tasks = [
            {"s": {"switch": [{"a": {"when": "${ true }", "then": "ask"}}]}},
            {"ask": {"set": {"do": [{"x": {"set": {"y": 1}}}]}, "then": "wait"}},
            {"go": {"set": {"done": True}}},
        ]
        job_id = await stage.start({"do": tasks}, {})
        assert (await stage.result(job_id)).status == "Waiting"
        await eventually(lambda: stage.house.daemon.engine.live.get(job_id) is None)
        async with refused(Status.INVALID_ARGUMENT, f"from_position {place!r}", "has no task at that place"):
            await stage.resume(job_id, from_position=place)

    async def test_a_position_in_a_function(self, stage: Stage, waiting: int) -> None:
        async with refused(Status.INVALID_ARGUMENT, "inside of a function", "name the task that was to use that"):
            await stage.resume(waiting, from_position="/ROOT/use/functions/f/do/0/a")

    async def test_a_payload_that_no_task_waits_for(self, stage: Stage, waiting: int) -> None:
        async with refused(Status.INVALID_ARGUMENT, "no task waits for the payload", "leave it out"):
            await stage.resume(waiting, from_position="/ROOT/do/0/ask", payload="1")
        assert waiting in await stage.waiting()

    async def test_a_payload_that_has_no_utf8_is_handed_on_as_it_is(self, stage: Stage, waiting: int) -> None:
        end = await stage.result(await stage.resume(waiting, payload='{"q": "\\ud800"}'))
        assert (end.status, end.output) == ("Completed", {"seen": "name", "got": "\ud800"})

    async def test_the_document_is_in_the_settings(self, stage: Stage) -> None:
        await stage.worker("asking", ASK, response_type=0, broadcast_results=True, store_success=True)
        job_id = await stage.start("", {}, "asking")
        await stage.result(job_id, "asking")
        await eventually(lambda: stage.house.daemon.engine.live.get(job_id) is None)
        async with refused(Status.INVALID_ARGUMENT, "/ROOT/do/7/no"):
            await stage.resume(job_id, from_position="/ROOT/do/7/no")


async def changed(stage: Stage, name: str, text: str, **context: Any) -> None:
    """Give a stored worker another document."""
    client = stage.house.client
    found = (await client.call("WorkerService.FindByName", name=name)).data
    settings = _SETTINGS.FromString(found.data.runner_settings)
    settings.workflow_data, settings.workflow_context = document(text), json.dumps(context)
    found.data.runner_settings = settings.SerializeToString()
    await client.call("WorkerService.Update", found)


def noting(steps: Path, names: str, *between: str) -> str:
    """Return a workflow whose tasks write down that they ran, with others after the first of them."""
    tasks = [f"{{{name}: {{run: {{shell: 'echo {name} >> {steps}'}}}}}}" for name in names.split()]
    return f"do: [{', '.join([tasks[0], *between, *tasks[1:]])}, {{end: {{set: {{by: '${{ $by }}'}}}}}}]"


class TestAWorkerWhoseDocumentIsChanged:
    """A run goes on with what it began with; the next one has the new document."""

    @staticmethod
    async def interrupted(folder: Path, steps: Path, following: str, **context: Any) -> int:
        """Start a run that waits for an hour, change its worker, stop the daemon, and return the job of the run."""
        old = noting(steps, "a1 b1", "{w: {wait: {hours: 1}}}")
        async with open_stage(folder) as stage:
            await stage.worker("stored", old, '{"by":"old"}', response_type=0, queue_type=1, broadcast_results=True)
            job_id = await stage.start("", {}, "stored")
            await eventually(lambda: noted(folder, "%/until") > 0)
            await changed(stage, "stored", following, **context)
        return job_id

    async def test_while_its_run_is_interrupted(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        steps = tmp_path / "steps"
        job_id = await self.interrupted(tmp_path, steps, noting(steps, "a2 b2 c2"), by="new")
        an_hour_later = progress.now_ms() + 3_600_000
        monkeypatch.setattr(progress, "now_ms", lambda: an_hour_later)
        async with open_stage(tmp_path, keep=True) as stage:
            assert (await stage.result(job_id, "stored")).output == {"by": "old"}
            assert steps.read_text().split() == ["a1", "b1"]
            await stage.result(await stage.start("", {}, "stored"), "stored")
            assert steps.read_text().split() == ["a1", "b1", "a2", "b2", "c2"]

    async def test_while_its_run_waits(self, stage: Stage, tmp_path: Path) -> None:
        steps = tmp_path / "steps"
        old = noting(steps, "a1 b1", "{w: {set: {x: 1}, then: wait}}")
        await stage.worker("asks", old, '{"by":"old"}', response_type=0, broadcast_results=True, store_success=True)
        job_id = await stage.start("", {}, "asks")
        assert (await stage.result(job_id, "asks")).status == "Waiting"
        await changed(stage, "asks", noting(steps, "a2 b2 c2"), by="new")
        end = await stage.result(await stage.resume(job_id), "asks")
        assert (end.output, steps.read_text().split()) == ({"by": "old"}, ["a1", "b1"])

    async def test_to_one_that_is_not_valid(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The job ends, and nothing is lost: once the worker can run at all, somebody can go on with the run."""
        steps = tmp_path / "steps"
        job_id = await self.interrupted(tmp_path, steps, "do: [{a: {nothing: known}}]")
        an_hour_later = progress.now_ms() + 3_600_000
        monkeypatch.setattr(progress, "now_ms", lambda: an_hour_later)
        async with open_stage(tmp_path, keep=True) as stage:
            assert (await stage.result(job_id, "stored")).job_status == "FATAL_ERROR"
            await changed(stage, "stored", noting(steps, "a2 b2 c2"), by="new")
            await eventually(lambda: stage.house.daemon.engine.live.get(job_id) is None)
            end = await stage.result(await stage.resume(job_id), "stored")
            assert (end.output, steps.read_text().split()) == ({"by": "old"}, ["a1", "b1"])


class TestATaskThatWasSkipped:
    """It stays skipped where the run goes on: what its condition looked at may be otherwise by now."""

    @pytest.fixture
    def skipped(self, tmp_path: Path) -> str:
        late = "{c: {if: '${ $ENV.DEMO_GO == \"1\" }', run: {shell: 'echo c >> STEPS'}}}"
        inner = late.replace("c:", "d:").replace("echo c", "echo d")
        return f"{late}, {{in: {{do: [{inner}, {{e: {{set: {{x: 1}}}}}}]}}}}".replace("STEPS", f"{tmp_path}/steps")

    @pytest.fixture(autouse=True)
    def not_yet(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("DEMO_GO", raising=False)

    async def test_while_the_run_waits(self, tmp_path: Path, skipped: str, monkeypatch: pytest.MonkeyPatch) -> None:
        text = f"do: [{skipped}, {{ask: {{set: {{q: 1}}, then: wait}}}}, {{end: {{set: {{done: true}}}}}}]"
        async with open_stage(tmp_path, WORKFLOW_ENV_ALLOW="DEMO_*") as stage:
            job_id = await stage.start(text, {})
            assert (await stage.result(job_id)).status == "Waiting"
        monkeypatch.setenv("DEMO_GO", "1")
        async with open_stage(tmp_path, keep=True, WORKFLOW_ENV_ALLOW="DEMO_*") as stage:
            end = await stage.result(await stage.resume(job_id))
            assert (end.output, (tmp_path / "steps").exists()) == ({"done": True}, False)

    async def test_before_one_that_failed(self, tmp_path: Path, skipped: str, monkeypatch: pytest.MonkeyPatch) -> None:
        bad = "{bad: {raise: {error: {type: 'https://x.org/e', status: 500}}}}"
        async with open_stage(tmp_path, WORKFLOW_ENV_ALLOW="DEMO_*") as stage:
            only = skipped[: skipped.index(", {in")]
            job_id = await stage.start(f"do: [{{a: {{set: {{x: 1}}}}}}, {only}, {bad}]", {}, "kept")
            assert (await stage.result(job_id, "kept")).status == "Faulted"
        monkeypatch.setenv("DEMO_GO", "1")
        async with open_stage(tmp_path, keep=True, WORKFLOW_ENV_ALLOW="DEMO_*") as stage:
            assert (await stage.result(await stage.resume(job_id), "kept")).status == "Faulted"
            assert not (tmp_path / "steps").exists()
            again = await stage.resume(job_id, from_position="/ROOT/do/1/c")
            assert (await stage.result(again, "kept")).status == "Faulted"
            assert (tmp_path / "steps").read_text().split() == ["c"], "that was asked for"

    async def test_it_is_written_down_with_what_comes_next(self, tmp_path: Path, skipped: str) -> None:
        async with open_stage(tmp_path, WORKFLOW_ENV_ALLOW="DEMO_*") as stage:
            job_id = await stage.start(f"do: [{skipped}, {{w: {{wait: {{hours: 1}}}}}}]", {}, "kept")
            await eventually(lambda: noted(tmp_path, "%/until") > 0)
            notes = await stage.house.daemon.engine.store.notes(f"job:{job_id}")
            places = {note.key: json.loads(note.data).get("skipped", False) for note in notes if note.key[0] == "/"}
            assert places == {"/0": True, "/1": False, "/2/until": False}, (
                "what was inside went with the task around it"
            )


class TestRecordsThatAreDamaged:
    @pytest.fixture
    async def failed(self, tmp_path: Path) -> AsyncIterator[tuple[Stage, int, Path]]:
        """Give a run that stopped at its last task, once."""
        steps, stop = tmp_path / "steps", tmp_path / "stop"
        stop.touch()
        last = f"{{last: {{run: {{shell: {{command: 'test ! -e {stop}', treatNonzeroAsError: true}}}}}}}}"
        async with open_stage(tmp_path) as stage:
            text = noting(steps, "a b c").replace("{end:", f"{last}, {{end:")
            job_id = await stage.start(text, {}, "kept", workflow_context={"by": 1})
            assert (await stage.result(job_id, "kept")).status == "Faulted"
            stop.unlink()
            yield stage, job_id, tmp_path

    @pytest.mark.parametrize("data", [b"{", b"[1]", b'{"at":"/do/1/b"}', b'{"at":"/do/1/b","output":1,"then":"/no"}'])
    async def test_are_named_and_the_rest_is_of_use(self, failed: tuple[Stage, int, Path], data: bytes) -> None:
        stage, job_id, folder = failed
        change(folder, f"UPDATE job_note SET data = x'{data.hex()}' WHERE run = 'job:{job_id}' AND key = '/1'")
        said = (f"what job {job_id} wrote down", "the record /1", "/ROOT/do/0/a" if b"/do" not in data else "/do/1/b")
        async with refused(Status.INVALID_ARGUMENT, *said, "with from_position of an earlier task"):
            await stage.resume(job_id)
        async with refused(Status.INVALID_ARGUMENT, *said):
            await stage.resume(job_id, from_position="/ROOT/do/3/last")
        again = await stage.result(await stage.resume(job_id, from_position="/ROOT/do/0/a"), "kept")
        assert (again.status, again.output) == ("Completed", {"by": 1}), again
        assert (folder / "steps").read_text().split() == ["a", "b", "c", "a", "b", "c"]

    async def test_at_the_beginning(self, failed: tuple[Stage, int, Path]) -> None:
        stage, job_id, folder = failed
        change(folder, f"UPDATE job_note SET data = x'7b7d' WHERE run = 'job:{job_id}' AND key = 'run'")
        async with refused(Status.INVALID_ARGUMENT, "the record run", "id is missing", "started anew"):
            await stage.resume(job_id)

    async def test_of_the_job_itself(self, failed: tuple[Stage, int, Path]) -> None:
        stage, job_id, folder = failed
        change(folder, f"UPDATE job_note SET data = x'7b' WHERE run = 'job:{job_id}' AND key = ':job'")
        async with refused(Status.FAILED_PRECONDITION, f"what was kept of job {job_id}", "start a new job"):
            await stage.resume(job_id)

    async def test_of_a_run_that_goes_on_by_itself(self, tmp_path: Path) -> None:
        async with open_stage(tmp_path) as stage:
            job_id = await stage.start(LONG, {}, "kept")
            await eventually(lambda: noted(tmp_path, "%/until") > 0)
        change(tmp_path, "UPDATE job_note SET data = x'22' WHERE key = '/0'")
        async with open_stage(tmp_path, keep=True) as stage:
            end = await stage.result(job_id, "kept")
            assert (end.job_status, f"what job {job_id} wrote down" in end.text) == ("OTHER_ERROR", True), end
            assert noted(tmp_path, "/1/until") == 1, "the rest is kept"

    async def test_of_what_is_heard_for_a_run(self, tmp_path: Path) -> None:
        async with open_stage(tmp_path) as stage:
            job_id = await stage.start("do: [{l: {listen: {to: {one: {with: {type: t.a}}}}}}]", {}, "kept")
            await eventually(lambda: noted(tmp_path, ":hears") > 0)
        change(tmp_path, "UPDATE job_note SET data = x'7b7d' WHERE key = ':hears'")
        async with open_stage(tmp_path, keep=True) as stage:
            end = await stage.result(job_id, "kept")
            assert ("the record :hears" in end.text, "types is missing" in end.text) == (True, True), end

    async def test_of_one_that_waits_among_others(self, tmp_path: Path) -> None:
        async with open_stage(tmp_path) as stage:
            jobs = [await stage.start(ASK, {}) for _ in range(2)]
            for job_id in jobs:
                await stage.result(job_id)
            change(tmp_path, f"UPDATE job_note SET data = x'7b' WHERE key = ':waits' AND run = 'job:{jobs[0]}'")
            assert set(await stage.waiting()) == set(jobs)


async def test_a_run_that_waited_when_its_process_died_is_told_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had told that it waits, and the end of its job was not stored yet: it does so once more."""

    async def fail(_settlement: object) -> None:
        raise StorageError("the process is about to die")

    async with open_stage(tmp_path) as stage:
        store = stage.house.daemon.engine.store
        monkeypatch.setattr(store, "settle", fail)
        job_id = await stage.start("do: [{ask: {set: {q: 1}, then: wait}}, {end: {set: {ok: 1}}}]", {}, "kept")
        with anyio.fail_after(PATIENCE_SEC):
            while not noted(tmp_path, ":waits"):  # noqa: ASYNC110 - a database sets no events
                await anyio.sleep(0.01)
    async with open_stage(tmp_path, keep=True) as stage:
        assert (await stage.result(job_id, "kept")).status == "Waiting"
        assert await stage.waiting() == [job_id]
        assert noted(tmp_path, ":waits") == 1


@pytest.mark.parametrize("run", ["'elsewhere'", "1.5", "x'ff'", "''"])
async def test_a_run_without_a_job_hides_no_other(tmp_path: Path, run: str) -> None:
    async with open_stage(tmp_path) as stage:
        jobs = [await stage.start(ASK, {}) for _ in range(2)]
        for job_id in jobs:
            assert (await stage.result(job_id)).status == "Waiting"
        await eventually(lambda: len(stage.house.daemon.engine.live) == 0)
        change(tmp_path, f"UPDATE job_note SET run = {run} WHERE key = ':waits' AND run = 'job:{jobs[0]}'")
        assert await stage.waiting() == [jobs[1]]
