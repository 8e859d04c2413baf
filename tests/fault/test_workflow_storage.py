"""A storage that fails under a durable workflow: nothing is lost, and nothing that was written down runs again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from jobworkerp_standalone.backends.sql.note_store import SqlNoteStore
from jobworkerp_standalone.jobs.errors import StorageError
from jobworkerp_standalone.ports.notes import Note
from jobworkerp_standalone.workflow import progress, store_retries
from tests.support.house import eventually
from tests.support.patience import PATIENCE_SEC
from tests.workflow.stage import Stage, open_stage
from tests.workflow.test_progress import noted

MORE_THAN_SOME_SECONDS = 2 * store_retries._TRIES


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tries follow each other closely."""
    monkeypatch.setattr(store_retries, "_FIRST_PAUSE_S", 0.001)


class Trouble:
    """A method of the store that fails for some calls.

    Args:
        method: of ``SqlNoteStore``.
        times: how often.
        meant: which calls fail, by their arguments.
    """

    def __init__(self, method: str, times: int, meant: Callable[..., bool] = lambda *_: True) -> None:
        self.method = method
        self.left = times
        self._meant = meant

    def begin(self, monkeypatch: pytest.MonkeyPatch) -> None:
        working: Any = getattr(SqlNoteStore, self.method)

        async def fail_or_work(store: SqlNoteStore, *args: Any) -> Any:
            if self.left and self._meant(*args):
                self.left -= 1
                raise StorageError("the disk is full; this is only a test")
            return await working(store, *args)

        monkeypatch.setattr(SqlNoteStore, self.method, fail_or_work)


def writes(key: str) -> Callable[..., bool]:
    """Mean the write of a record."""

    def meant(run: str, added: Sequence[Note], *more: Any) -> bool:
        del run, more
        return any(note.key == key for note in added)

    return meant


def noting(steps: Path, *tasks: str) -> str:
    """Return a workflow whose tasks write down that they ran; ``w`` waits for an hour."""
    wait = "{w: {wait: {hours: 1}}}"
    lines = [wait if name == "w" else f"{{{name}: {{run: {{shell: 'echo {name} >> {steps}'}}}}}}" for name in tasks]
    return f"do: [{', '.join(lines)}]"


def ran(steps: Path) -> list[str]:
    return steps.read_text().split()


async def stopped_while_it_waits(folder: Path, steps: Path) -> int:
    """Start a run, stop the daemon while it waits for an hour, and return its job."""
    async with open_stage(folder) as stage:
        job_id = await stage.start(noting(steps, "a", "w", "b"), {}, "kept")
        await eventually(lambda: noted(folder, "%/until") > 0)
    return job_id


def let_an_hour_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    an_hour_later = progress.now_ms() + 3_600_000
    monkeypatch.setattr(progress, "now_ms", lambda: an_hour_later)


async def resumed(stage: Stage, job_id: int) -> str:
    """Go on with a run and return how that ended."""
    await eventually(lambda: stage.house.daemon.engine.live.get(job_id) is None)
    return (await stage.result(await stage.resume(job_id), "kept")).status


async def test_what_a_run_has_behind_it_cannot_be_read_at_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = tmp_path / "steps"
    job_id = await stopped_while_it_waits(tmp_path, steps)
    let_an_hour_pass(monkeypatch)
    trouble = Trouble("notes", MORE_THAN_SOME_SECONDS)
    trouble.begin(monkeypatch)
    async with open_stage(tmp_path, keep=True) as stage:
        assert (await stage.result(job_id, "kept")).status == "Completed"
    assert (trouble.left, ran(steps)) == (0, ["a", "b"])


async def test_a_stop_while_it_cannot_be_read_gives_the_job_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = tmp_path / "steps"
    job_id = await stopped_while_it_waits(tmp_path, steps)
    trouble = Trouble("notes", 1_000_000)
    with monkeypatch.context() as broken:
        trouble.begin(broken)
        async with open_stage(tmp_path, keep=True):
            await eventually(lambda: trouble.left < 1_000_000)
    let_an_hour_pass(monkeypatch)
    async with open_stage(tmp_path, keep=True) as stage:
        assert (await stage.result(job_id, "kept")).status == "Completed"
    assert ran(steps) == ["a", "b"]


async def test_a_record_that_cannot_be_written_for_a_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps, trouble = tmp_path / "steps", Trouble("change_notes", 3, writes("/1"))
    trouble.begin(monkeypatch)
    async with open_stage(tmp_path) as stage:
        end = await stage.result(await stage.start(noting(steps, "a", "b", "c"), {}, "kept"), "kept")
    assert (end.status, trouble.left, ran(steps)) == ("Completed", 0, ["a", "b", "c"])


async def test_a_record_that_cannot_be_written_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run stops there, and what had been written down before counts when somebody goes on with it."""
    steps, trouble = tmp_path / "steps", Trouble("change_notes", store_retries._TRIES, writes("/1"))
    trouble.begin(monkeypatch)
    async with open_stage(tmp_path) as stage:
        job_id = await stage.start(noting(steps, "a", "b", "c"), {}, "kept")
        end = await stage.result(job_id, "kept")
        assert (end.job_status, "how far the run is could not be stored" in end.text) == ("MAX_RETRY", True), end
        assert await resumed(stage, job_id) == "Completed"
    assert ran(steps) == ["a", "b", "b", "c"]


async def test_a_write_that_is_cancelled_half_way_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has begun: the job ends behind it, and its task never runs again."""
    steps, begun, go = tmp_path / "steps", anyio.Event(), anyio.Event()
    working, meant = SqlNoteStore.change_notes, writes("/1")

    async def held_up(store: SqlNoteStore, run: str, added: Sequence[Note], *more: Any) -> None:
        if meant(run, added):
            begun.set()
            await go.wait()
        await working(store, run, added, *more)

    monkeypatch.setattr(SqlNoteStore, "change_notes", held_up)
    async with open_stage(tmp_path) as stage:
        job_id = await stage.start(noting(steps, "a", "b", "c"), {}, "kept")
        with anyio.fail_after(PATIENCE_SEC):
            await begun.wait()
        assert await stage.house.delete(job_id)
        live = stage.house.daemon.engine.live.get(job_id)
        assert live is not None, "it waits for the write"
        go.set()
        assert (await stage.result(job_id, "kept")).job_status == "CANCELLED"
        assert await resumed(stage, job_id) == "Completed"
    assert ran(steps) == ["a", "b", "c"]
