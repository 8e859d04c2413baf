"""Going on with a run is one step: neither a caller that hangs up nor the death of the process leaves half of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from grpclib.const import Status

from jobworkerp_standalone.backends.sql.tables import job, job_note
from jobworkerp_standalone.backends.sql.writer import Writer
from jobworkerp_standalone.backends.sql.writes import Step, Write
from tests.support.house import eventually, refused
from tests.support.wire_client import build
from tests.workflow.stage import Stage
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
