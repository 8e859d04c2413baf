"""Runs without a daemon: the interpreter with notes in memory, which may die while it writes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import anyio

from jobworkerp_standalone.jobs.model import NO_METADATA
from jobworkerp_standalone.ports.notes import Note
from jobworkerp_standalone.runners.base import Call
from jobworkerp_standalone.runners.host import Host
from jobworkerp_standalone.settings import load_settings
from jobworkerp_standalone.workflow.load import load_text
from jobworkerp_standalone.workflow.resume import Beginning
from jobworkerp_standalone.workflow.workflow_job import Shared, WorkflowJob


class Crash(BaseException):
    """The process died."""


@dataclass
class Notes:
    """A journal in memory."""

    kept: dict[str, list[Note]] = field(default_factory=dict)
    durable: bool = True
    attempt: str = "0/0"
    goes_on: int | None = None
    watched: bool = False
    writes_left: int | None = None
    last: int = 0

    async def read(self, run: str) -> Sequence[Note]:
        """Return what is there."""
        return list(self.kept.get(run, ()))

    async def write(self, run: str, added: Sequence[tuple[str, bytes]], removed: Sequence[int]) -> Sequence[int]:
        """Write, and die where the time has come."""
        if self.writes_left is not None and self.writes_left <= 0:
            raise Crash  # whoever still writes is dead already
        notes = [note for note in self.kept.get(run, ()) if note.id not in removed]
        ids: list[int] = []
        for key, data in added:
            self.last += 1
            ids.append(self.last)
            notes.append(Note(self.last, key, data))
        self.kept[run] = notes
        if self.writes_left is not None:
            self.writes_left -= 1
            if self.writes_left <= 0:
                raise Crash
        return ids

    async def forget(self, run: str) -> None:
        """Forget."""
        self.kept.pop(run, None)

    def why_dropped(self, run: str) -> str:
        """Nothing is dropped."""
        return ""

    def number(self) -> int:
        """Return one above all that were used."""
        self.last += 1_000_000
        return self.last

    def relieve(self) -> None:
        """Nobody hears for a run that is dead."""

    def ended(self) -> None:
        """The run is over."""

    def tell(self, event: bytes) -> None:
        """Nobody watches."""


@dataclass
class Lives:
    """How a run ended after some deaths."""

    output: Any
    twice: list[str]
    """Keys of records that were written again in a later life."""


def _only_crashes(died: BaseException) -> bool:
    inner = died.exceptions if isinstance(died, BaseExceptionGroup) else ()
    return isinstance(died, Crash) or bool(inner and all(map(_only_crashes, inner)))


async def run_alone(document: Mapping[str, Any], given: Any) -> Any:
    """Run a document in one life and return its output."""
    return (await lives(document, given, [])).output


async def lives(
    document: Mapping[str, Any], given: Any, deaths: Sequence[int], context: Mapping[str, Any] = NO_METADATA
) -> Lives:
    """Run a document that dies after so many writes of each life."""
    text = json.dumps(document)
    begun = Beginning(load_text(text, bare=True).document, text, context)
    notes = Notes()
    twice: list[str] = []
    async with anyio.create_task_group() as tasks:
        host = Host(load_settings({}), tasks)
        shared = Shared(host)
        for death in [*deaths, None]:
            known = {note.key: note.id for note in notes.kept.get("job:1", ())}
            notes.writes_left = death
            nothing: Any = SimpleNamespace()
            call = Call(1, b"", metadata=NO_METADATA, children=nothing, journal=notes)
            try:
                run = await WorkflowJob(shared, call, begun, None).run(json.dumps(given))
            except (Crash, BaseExceptionGroup) as died:
                if not _only_crashes(died):
                    raise
                later = {note.key: note.id for note in notes.kept.get("job:1", ())}
                twice += [key for key in known if key in later and later[key] != known[key] and key[-1].isdigit()]
                continue
            await host.aclose()
            assert run.error is None, run.error
            return Lives(run.output, twice)
    raise AssertionError("the last life does not die")
