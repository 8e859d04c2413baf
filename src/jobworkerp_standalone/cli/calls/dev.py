"""``workflow dev``: one daemon, a run for each time that the file is saved, from the first task that was changed."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, cast

from jobworkerp_standalone.cli.calls.place import Place, in_loop, opened
from jobworkerp_standalone.cli.calls.run import CANCELLING, Begin, NotWaiting, Report, Watch, tell
from jobworkerp_standalone.cli.calls.running import Wanted, checked_json, order_of
from jobworkerp_standalone.cli.calls.saving import Stamps, named_files, option_files, saved, stamps
from jobworkerp_standalone.cli.calls.workflow_file import load_file
from jobworkerp_standalone.cli.exits import Exit, Stop
from jobworkerp_standalone.cli.interrupts import Interrupts, interrupts
from jobworkerp_standalone.cli.progress import Progress, TaskState
from jobworkerp_standalone.cli.progress_views import Silent, View, ViewOptions, view_for, watched
from jobworkerp_standalone.cli.show import note
from jobworkerp_standalone.cli.typed import TypedLines
from jobworkerp_standalone.client import Client
from jobworkerp_standalone.client.workflows import (
    RUNNER,
    State,
    WorkflowOrder,
    WorkflowRun,
    WorkflowRuns,
    temporary_workflow_worker,
)

_LOOK_SEC: Final = 0.2
_GONE_LOOKS: Final = 5
"""Looks in a row at which the file is not there, before it is said to be gone: some editors put another one there."""
_SETTLE_SEC: Final = 0.05
"""Pause without a change after which saving is taken to be over."""
_OWN: Final = ("do", "output")
"""What may change in a document without making tasks that ran already run again."""
_CHECKPOINTS: Final = {"checkpointing": {"enabled": True, "storage": "memory"}}
_PLAIN: Final = ("continue", "exit", "end", "wait")


@dataclass(frozen=True, slots=True)
class Version:
    """A version of the file that was run, and how far its run came."""

    order: WorkflowOrder
    definition: Mapping[str, Any]
    files: Stamps
    """The files that the document names."""
    places: Sequence[Path]
    """Where they are looked for."""
    done: Mapping[str, TaskState] = field(default_factory=dict[str, TaskState])
    """How those tasks of the outermost list ended that did, by their position."""
    waits_at: str | None = None
    """The position of the task that waits for what somebody types; it has not put out anything that counts."""

    def go_on_after(self, following: Version) -> str | None:
        """Return the last task that need not run again in the next version; None where all must."""
        order, definition = following.order, following.definition
        if (order.input, order.context) != (self.order.input, self.order.context) or _jumps(definition):
            return None
        if self._differs(following, _beside_tasks(self.definition), _beside_tasks(definition)):
            return None
        last: str | None = None
        for number, (old, new) in enumerate(zip(self.definition["do"], definition["do"], strict=False)):
            position = f"/ROOT/do/{number}/{next(iter(new))}"
            state = self.done.get(position) if position != self.waits_at else None
            if state not in (TaskState.COMPLETED, TaskState.SKIPPED) or self._differs(following, old, new):
                break
            if state is TaskState.COMPLETED:
                last = position
        return last

    def _differs(self, following: Version, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
        """Whether a part of the document, or a file that it names, is another one in the next version."""
        named = named_files(new, self.places)
        return old != new or any(self.files.get(file) != following.files.get(file) for file in named)

    def up_to(self, position: str) -> dict[str, TaskState]:
        """Return how the tasks ended that stand before a position, and the one there."""
        places = [f"/ROOT/do/{number}/{next(iter(each))}" for number, each in enumerate(self.definition["do"])]
        return {each: self.done[each] for each in places[: places.index(position) + 1] if each in self.done}


def develop(wanted: Wanted) -> int:
    """Run a file whenever it is saved, until an interrupt; return the exit code."""
    place = Place(None, None, (Path(wanted.file).resolve().parent,))
    return in_loop(_develop(wanted, place))


async def _develop(wanted: Wanted, place: Place) -> int:
    with interrupts() as heard:
        async with opened(place, Silent()) as client:
            runner = await client.schemas.runner(RUNNER)
            async with temporary_workflow_worker(client, runner, for_one_job=False) as worker_id:
                runs = WorkflowRuns(client, runner, worker_id)
                return await Workbench(wanted, place, client, runs, heard).work()


class Workbench:
    """Runs one version after the other."""

    def __init__(self, wanted: Wanted, place: Place, client: Client, runs: WorkflowRuns, heard: Interrupts) -> None:
        self._wanted = wanted
        self._place = place
        self._client = client
        self._runs = runs
        self._heard = heard
        self._report = Report(file=wanted.file, view=ViewOptions(), without_input=not wanted.input)
        self._execution = uuid.uuid4().hex
        self._before: Version | None = None
        """The last version whose run began."""
        self._waits: int | None = None
        """The job of the last run, where that waits."""
        self._typed = TypedLines()
        self._seen: Stamps = {}
        """The files that the version depends on, as they were when it was read."""

    async def work(self) -> int:
        """Run and wait for the next version until somebody interrupts that."""
        while True:
            self._seen = stamps([Path(self._wanted.file), *option_files(self._wanted.input, self._wanted.context)])
            try:
                await self._version()
            except Stop as stop:
                note(f"error: {stop.message}")
            if self._heard.first.is_set():
                return Exit.INTERRUPTED
            if not await self._until_saved():
                return Exit.OK

    async def _until_saved(self) -> bool:
        """Wait for another version; a run that waits goes on meanwhile with what is typed. False: interrupted."""
        self._typed.forget()
        self._invite()
        while self._waits is not None and not saved(self._seen):
            changed, typed = asyncio.ensure_future(self._saved()), asyncio.ensure_future(self._typed.line())
            try:
                await asyncio.wait([changed, typed], return_when=asyncio.FIRST_COMPLETED)
                if changed.done() or (line := typed.result()) is None:
                    return await changed
            finally:
                changed.cancel()
                typed.cancel()
                await asyncio.wait([changed, typed])
            await self._go_on(self._waits, line)
            if self._heard.first.is_set():
                return False
        return await self._saved()

    def _invite(self) -> None:
        """Say what is waited for."""
        if saved(self._seen):
            return
        note(f"waiting for {self._wanted.file} to be saved; Ctrl-C ends this")
        if self._waits is not None:
            note("or type what the task that waits puts out (JSON; nothing: as it is) and Enter, to go on with the run")

    async def _go_on(self, job_id: int, payload: str) -> None:
        """Go on with a run that waits."""
        try:
            checked_json("what was typed", payload or "null")
        except Stop as stop:
            note(f"error: {stop.message}; type it again")
            return
        run, progress = await self._shown(lambda runs: runs.resume(job_id, payload or None))
        if run is not None and self._before is not None:
            done = {**self._before.done, **_ended(progress)}
            self._before = replace(self._before, done=done, waits_at=_waits_at(run))
        if not self._heard.first.is_set():
            self._invite()

    async def _saved(self, say: Callable[[str], None] = note) -> bool:
        """Wait until a file is another one than it was; False: until somebody interrupted that."""
        file, looks = Path(self._wanted.file), 0
        while not saved(self._seen):
            if await self._interrupted_within(_LOOK_SEC):
                return False
            looks = looks + 1 if stamps([file])[file] is None else 0
            if looks == _GONE_LOOKS and self._seen[file] is not None:
                say(f"{file} is gone; it is run again when it is back")
                self._seen = {**self._seen, file: None}
        now, before = stamps(self._seen), self._seen
        while now != before:
            if await self._interrupted_within(_SETTLE_SEC):
                return False
            now, before = stamps(self._seen), now
        return True

    async def _interrupted_within(self, limit_sec: float) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._heard.first.wait(), limit_sec)
        return self._heard.first.is_set()

    async def _version(self) -> None:
        loaded = await asyncio.to_thread(load_file, self._wanted.file, bare=self._wanted.bare, warn=True)
        self._report, document = replace(self._report, text=loaded.text), loaded.document
        definition, places = dict(document.definition), (Path.cwd(), *self._place.roots)
        order = replace(order_of(self._wanted, document), execution_id=self._execution)
        files = stamps(await asyncio.to_thread(lambda: list(named_files(definition, places))))
        self._seen = {**files, **self._seen}
        version = Version(order, definition, files, places)
        after = self._before.go_on_after(version) if self._before is not None else None
        if after is not None:
            note(f"going on after {after.removeprefix('/ROOT')}: nothing is changed up to there")
        order = replace(order, document=json.dumps({**definition, **_CHECKPOINTS}), go_on_after=after)
        run, progress = await self._shown(lambda runs: runs.start(order))
        if run is None:
            return
        if run.state is State.INVALID:  # it cannot go on from there: the next one begins anew
            self._before = None
            return
        kept = self._before.up_to(after) if self._before is not None and after is not None else {}
        self._before = replace(version, done={**kept, **_ended(progress)}, waits_at=_waits_at(run))

    async def _shown(self, begin: Begin) -> tuple[WorkflowRun | None, Progress]:
        progress, report, asked = Progress(), self._report, Interrupts()
        watch = Watch(view_for(report.view, progress, report.file), progress, asked, self._place)
        self._waits = None
        ending = asyncio.ensure_future(self._end_early(asked, watch.view))
        try:
            with watched(watch.view):
                run = await watch.follow(self._client, self._runs, begin)
        except NotWaiting:
            return None, progress
        finally:
            ending.cancel()
            await asyncio.wait([ending])
        if run.state is not State.CANCELLED or self._heard.first.is_set():
            tell(report, progress, run, self._place)
            self._waits = run.job_id if run.state is State.WAITING else None
        return run, progress

    async def _end_early(self, asked: Interrupts, view: View) -> None:
        """End the run when a file is saved meanwhile, or somebody interrupts."""
        if await self._saved(view.say):
            asked.why = "saved: the run begins again"
            asked.first.set()
            await self._heard.first.wait()
            view.say(CANCELLING)
        asked.first.set()
        await self._heard.again.wait()
        asked.again.set()


def _ended(progress: Progress) -> dict[str, TaskState]:
    """Return how the tasks of the outermost list ended."""
    return {each.position: each.state for each in progress.lines() if each.depth == 0}


def _waits_at(run: WorkflowRun) -> str | None:
    return run.position if run.state is State.WAITING else None


def _jumps(definition: Mapping[str, Any]) -> bool:
    """Whether a task of the outermost list names the one that follows, so that their order is not that of the text."""
    for entry in cast("list[Mapping[str, Any]]", definition["do"]):
        for task in entry.values():
            if not isinstance(task, Mapping):
                continue
            members = cast("Mapping[str, Any]", task)
            cases = cast("list[Mapping[str, Any]]", members.get("switch") or [])
            catch = cast("Mapping[str, Any]", members.get("catch") or {})
            inside = (case.get("then") for each in cases for case in each.values())
            directives = [members.get("then"), catch.get("then"), *inside]
            if any(each is not None and each not in _PLAIN for each in directives):
                return True
    return False


def _beside_tasks(definition: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in definition.items() if key not in _OWN}
