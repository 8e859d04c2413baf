"""Going on with a run is one step: neither a caller that hangs up nor the death of the process leaves half of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from grpclib.const import Status

from jobworkerp_standalone.backends.sql.tables import job, job_note, job_result
from jobworkerp_standalone.backends.sql.writer import Writer
from jobworkerp_standalone.backends.sql.writes import Step, Write
from jobworkerp_standalone.jobs.errors import StorageError
from tests.support.house import eventually, refused
from tests.support.wire_client import build
from tests.workflow.stage import WORKFLOW, Stage, open_stage
from tests.workflow.test_progress import ran as lines
from tests.workflow.test_run_owners import ended, step

Meant = Callable[[Step], bool]


class Pause:
    """The writer holds back a batch while it is written."""

    def __init__(self, meant: Meant) -> None:
        self._meant = meant
        self.begun = anyio.Event()
        self.over = anyio.Event()

    def begin(self, monkeypatch: pytest.MonkeyPatch) -> None:
        commit: Any = Writer._commit

        async def wait_and_commit(writer: Writer, batch: list[Any]) -> None:
            works = [queued.work for queued in batch]
            if any(self._meant(each) for work in works if isinstance(work, Write) for each in work.steps):
                self.begun.set()
                await self.over.wait()
            await commit(writer, batch)

        monkeypatch.setattr(Writer, "_commit", wait_and_commit)


def adds_a_row(each: Step) -> bool:
    return each.statement.table is job and "args" in each.values


def notes(key: str) -> Meant:
    return lambda each: each.statement.table is job_note and each.values.get("key") == key


@pytest.mark.parametrize("written", [notes(":wish"), adds_a_row, notes(":goes-on")], ids=["wish", "row", "successor"])
async def test_a_caller_that_hangs_up_in_the_middle_has_the_run_gone_on_with(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: Meant
) -> None:
    ran, house = tmp_path / "ran", stage.house
    text = f"do: [{{ask: {{set: {{q: 1}}, then: wait}}}}, {step(ran, 'pay')}]"
    first = await ended(stage, await stage.start(text, {}, "kept"), "Waiting", "kept")
    pause = Pause(written)
    pause.begin(monkeypatch)
    async with house.client.open("WorkflowService.Resume") as stream:
        request = build("jobworkerp.standalone.ResumeRequest", job_id={"value": first})
        await stream.send_message(request.SerializeToString(), end=True)
        await pause.begun.wait()
        await stream.cancel()
    await eventually(lambda: not house.daemon.edge.reception.open)
    pause.over.set()
    await eventually(lambda: ran.exists() and not list(house.daemon.engine.live.all()))
    assert lines(ran) == ["pay"]
    async with refused(Status.NOT_FOUND, f"the run of job {first} has completed"):
        await stage.resume(first)


class Death:
    """Nothing of this process gets to the disk any more, from the moment that a result is there."""

    def __init__(self) -> None:
        self.come = False

    def lurk(self, monkeypatch: pytest.MonkeyPatch) -> None:
        write: Any = Writer.write

        async def write_or_die(writer: Writer, *steps: Step, durable: bool = True) -> None:
            if self.come:
                raise StorageError("the process is dead; this is only a test")
            await write(writer, *steps, durable=durable)
            self.come = any(each.statement.table is job_result for each in steps)

        monkeypatch.setattr(Writer, "write", write_or_die)


@pytest.mark.parametrize("rules", [{}, {"queue_type": 1}], ids=["in memory", "durable"])
async def test_a_run_that_completed_is_known_to_have_as_soon_as_its_result_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rules: dict[str, Any]
) -> None:
    text = f"do: [{{ask: {{set: {{q: 1}}, then: wait}}}}, {step(tmp_path / 'ran', 'pay')}]"
    death = Death()
    async with open_stage(tmp_path) as stage:
        await stage.house.worker("told", WORKFLOW, broadcast_results=True, store_success=True, **rules)
        first = await ended(stage, await stage.start(text, {}, "told"), "Waiting", "told")
        with monkeypatch.context() as patch:
            death.lurk(patch)
            second = await stage.resume(first)
            await ended(stage, second, "Completed", "told")
    assert death.come
    async with open_stage(tmp_path, keep=True) as stage:
        assert await stage.waiting() == []
        for each in (first, second):
            async with refused(Status.NOT_FOUND, "has completed"):
                await stage.resume(each)
        assert lines(tmp_path / "ran") == ["pay"]
