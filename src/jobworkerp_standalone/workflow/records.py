"""Progress that is written down."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import anyio

from jobworkerp_standalone.jobs.errors import Retryable
from jobworkerp_standalone.runners.bus import Keep
from jobworkerp_standalone.runners.interest import NOTHING, Interest
from jobworkerp_standalone.runners.journal import HEARD, HEARS, Journal, Relieved
from jobworkerp_standalone.workflow.errors import WorkflowError
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.json_writer import json_text
from jobworkerp_standalone.workflow.model.tasks import Task
from jobworkerp_standalone.workflow.model.values import Directive
from jobworkerp_standalone.workflow.progress import Known, Since, Snapshot, directive_text
from jobworkerp_standalone.workflow.state import Branch, Outcome
from jobworkerp_standalone.workflow.store_retries import patiently

_log = logging.getLogger(__name__)


class Records:
    """See ``progress``.

    Args:
        journal: where records go.
        run: the name under which they are kept.
        known: what was written down before: keys, ids of notes, records.
        each: write after every task; else only when a task with ``checkpoint`` has ended.
    """

    def __init__(
        self, journal: Journal, run: str, known: Iterable[tuple[str, int, Mapping[str, Any]]], *, each: bool
    ) -> None:
        self._journal = journal
        self._run = run
        self._each = each
        self._known: dict[str, Mapping[str, Any]] = {}
        self._ids: dict[str, int] = {}
        self._inside: dict[str, dict[str, None]] = {}
        """Keys by the key that they are directly inside of."""
        self._writing = anyio.Lock()
        self._waiting: dict[str, bytes] = {}
        self._removed: list[int] = []
        self._relieved: Relieved | None = None
        self._relieved_at = 0
        for key, note_id, record in known:
            self._find(key, note_id, record)
        self._last_heard = max((_number(key) for key, _ in self.heard()), default=0)

    def snapshot(self, branch: Branch) -> Snapshot:
        """Return what a branch is now, for the comparison later."""
        return branch.copy()

    def find(self, key: str, task: Task) -> Known | None:
        """Return the record of a task that ended in an earlier life."""
        found = self._known.get(key)
        return Known(found) if found is not None and found.get("at") == task.origin.pointer else None

    def entered(self, key: str) -> bool:
        """Tell whether an earlier life of the run was in the middle of the task that is about to begin."""
        return bool(self._inside.get(key))

    async def keep(self, key: str, task: Task, outcome: Outcome, since: Since) -> None:
        """Write down that a task ended."""
        record = {"at": task.origin.pointer, "output": outcome.output, **_changes(since)}
        if outcome.then is not None:
            record["then"] = directive_text(outcome.then)
        now = self._each or task.checkpoint or outcome.then is Directive.WAIT
        await self._put(key, record, now=now)

    def skip(self, key: str, task: Task) -> None:
        """Note that the condition of a task did not hold; it is written down with the next record."""
        self._note(key, {"at": task.origin.pointer, "skipped": True})
        self._enter(key)

    def jumped(self, key: str, branch: Branch) -> tuple[tuple[int, int], JSON] | None:
        """Return where a list stood after its last jump."""
        found = self._known.get(f"{key}/@")
        if found is None:
            return None
        Known(found).restore(branch)
        return (found["steps"], found["next"]), found["output"]

    async def jump(self, key: str, stands: tuple[int, int], data: JSON, since: Since) -> None:
        """Write down where a list stands after a jump, instead of what led to it."""
        self._drop_inside(key)
        record = {"steps": stands[0], "next": stands[1], "output": data, **_changes(since)}
        await self._put(f"{key}/@", record, now=self._each)

    def counted(self, key: str, branch: Branch) -> tuple[int, JSON] | None:
        """Return how many iterations of a loop are over."""
        found = self._known.get(f"{key}/#")
        if found is None:
            return None
        Known(found).restore(branch)
        return found["count"], found["output"]

    async def count(self, key: str, count: int, data: JSON, since: Since) -> None:
        """Write down that so many iterations are over, instead of what happened in them."""
        self._drop_inside(key)
        await self._put(f"{key}/#", {"count": count, "output": data, **_changes(since)}, now=self._each)

    def failed(self, key: str, branch: Branch) -> tuple[WorkflowError, JSON] | None:
        """Return how an attempt failed in an earlier life, and the last output before that."""
        found = self._known.get(f"{key}/!")
        if found is None:
            return None
        Known(found).restore(branch)
        return WorkflowError.from_json(found["error"]), found["output"]

    async def fail(self, key: str, error: WorkflowError, data: JSON, since: Since) -> None:
        """Write down that an attempt failed, instead of how far it had come."""
        self._drop_inside(key)
        record = {"error": error.as_json(), "output": data, **_changes(since)}
        await self._put(f"{key}/!", record, now=self._each)

    def taken(self, key: str, number: int) -> Mapping[str, Any] | None:
        """Return the record of an event that a listener took in an earlier life."""
        found = self._known.get(f"{key}/{number}")
        return found if found is not None and "event" in found else None

    async def take(self, key: str, number: int, record: Mapping[str, Any], since: Since | None = None) -> None:
        """Write down an event that a listener took, and what came of it instead of what was done with it."""
        changes = _changes(since) if since is not None else {}
        await self._put(f"{key}/{number}", {**record, **changes}, now=self._each)

    @property
    def wanted(self) -> Interest:
        """Which events the run wanted to hear when that was last written down."""
        known = self._known.get(HEARS)
        return Interest.of(known) if known is not None else NOTHING

    def hears(self, interest: Interest) -> None:
        """Note which events the run wants to hear, for the time between two lives of it."""
        if self._each and interest != self.wanted:
            self._note(HEARS, {**interest.as_json(), "attempt": self._journal.attempt})

    @property
    def keep_heard(self) -> Keep | None:
        """Writes down what was heard."""
        return self._keep_heard if self._each else None

    async def _keep_heard(self) -> None:
        try:
            await self.flush()
        except Retryable as error:  # the run itself fails with its next record
            _log.warning("an event that a run has heard is kept in memory only: %s", error)

    def heard(self) -> Sequence[tuple[str, Mapping[str, Any]]]:
        """Return the events that an earlier life heard and had not done with."""
        return [(key, value) for key, value in self._known.items() if key.startswith(HEARD)]

    def relieve(self) -> None:
        """Let the run hear by itself from this moment on, and nobody in its place any more."""
        self._relieved, self._relieved_at = self._journal.relieve(), self._journal.number()

    async def heard_meanwhile(self) -> Sequence[tuple[str, Mapping[str, Any]]]:
        """Return what was noted in its place since this was read, until it was relieved."""
        if self._relieved is None:
            return ()
        noted = await patiently(self._relieved, "what the run is to hear could not be read", for_ever=self._each)
        new = [entry for entry in noted if self._last_heard < _number(entry.key) < self._relieved_at]
        for entry in new:
            self._find(entry.key, entry.id, json.loads(entry.data))
        return [(entry.key, self._known[entry.key]) for entry in new]

    def number(self) -> int:
        """Return what keys of events are counted from."""
        return self._journal.number()

    def hear(self, key: str, heard: Mapping[str, Any]) -> None:
        """Note an event that was heard; it is written down with the next record, or by ``keep_heard``."""
        self._note(key, heard)

    def forget(self, key: str) -> None:
        """Note that nobody wants an event any more, or that it is too old; gone with the next record."""
        self._drop(key)

    async def once(self, key: str, value: int) -> int | None:
        """Return the value that was given at the first time."""
        if (found := self._known.get(key)) is not None:
            return found["value"]
        await self._put(key, {"value": value}, now=self._each)
        return value

    def of(self, key: str) -> Mapping[str, Any] | None:
        """Return the record of a key."""
        return self._known.get(key)

    def everything(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield all records, oldest first."""
        return iter(list(self._known.items()))

    async def note(self, key: str, value: Mapping[str, Any]) -> None:
        """Write something down about the run itself; with the next record where not every one is written."""
        await self._put(key, value, now=self._each)

    async def take_over(self, records: Mapping[str, Mapping[str, Any]]) -> None:
        """Begin with records of another job, all or none of them: a later life takes over no more if it finds any."""
        for key, value in records.items():
            await self._put(key, value, now=False)
        if self._each:  # else they are of use with what comes behind them alone
            await self.flush()

    async def flush(self) -> None:
        """Write down whatever waits. It is not broken off in the middle.

        Raises:
            Retryable: it was not stored, for some seconds.
        """
        async with self._writing:
            added, self._waiting = self._waiting, {}
            removed, self._removed = self._removed, []
            if not (added or removed):
                return
            try:
                ids = await patiently(
                    partial(self._written, list(added.items()), removed), "how far the run is could not be stored"
                )
            except BaseException:  # a cancellation between two tries too: the next flush has it
                again = {key: data for key, data in added.items() if key in self._known}
                self._waiting, self._removed = {**again, **self._waiting}, [*removed, *self._removed]
                raise
            for key, written in zip(added, ids, strict=True):
                if key in self._known and key not in self._waiting:
                    self._ids[key] = written
                else:  # it went, or changed, while it was written
                    self._removed.append(written)

    async def _written(self, added: Sequence[tuple[str, bytes]], removed: Sequence[int]) -> Sequence[int]:
        with anyio.CancelScope(shield=True):
            return await self._journal.write(self._run, added, removed)
        raise AssertionError("nothing cancels this scope")

    async def _put(self, key: str, value: Mapping[str, Any], *, now: bool) -> None:
        self._drop_inside(key)
        self._note(key, value)
        self._enter(key)
        if now:
            await self.flush()

    def _note(self, key: str, value: Mapping[str, Any]) -> None:
        self._drop(key)
        self._known[key] = value
        self._waiting[key] = json_text(dict(value)).encode()

    def _find(self, key: str, note_id: int, record: Mapping[str, Any]) -> None:
        self._known[key] = record
        self._enter(key)
        self._ids[key] = note_id

    def _enter(self, key: str) -> None:
        while key.startswith("/"):
            around = key.rpartition("/")[0]
            siblings = self._inside.setdefault(around, {})
            if key in siblings:
                return
            siblings[key] = None
            key = around

    def _drop(self, key: str) -> None:
        self._known.pop(key, None)
        self._waiting.pop(key, None)
        written = self._ids.pop(key, None)
        if written is not None:
            self._removed.append(written)

    def _drop_inside(self, key: str) -> None:
        pending = list(self._inside.pop(key, ()))
        while pending:
            inner = pending.pop()
            self._drop(inner)
            pending.extend(self._inside.pop(inner, ()))


def _number(key: str) -> int:
    return int(key.removeprefix(HEARD))


def _changes(since: Since) -> dict[str, Any]:
    """Return what was set since a snapshot. Values are never changed in place, so another value is another object."""
    branch, before = since
    if before is None:
        return {}
    changed: dict[str, Any] = {
        name: value
        for name, value in branch.variables.items()
        if name not in before.variables or before.variables[name] is not value
    }
    changes: dict[str, Any] = {"set": changed} if changed else {}
    if branch.context is not before.context or branch.exported is not before.exported:
        changes["context"] = branch.context
    return changes
