"""What was written down of a run, read again. What is damaged is found before anything is made of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, cast

from jobworkerp_standalone.jobs.errors import BadInput
from jobworkerp_standalone.runners.interest import Interest
from jobworkerp_standalone.runners.journal import HEARD, HEARS, WISH, Entry
from jobworkerp_standalone.workflow.large_json import AT_ONCE, beside
from jobworkerp_standalone.workflow.model.values import Directive
from jobworkerp_standalone.workflow.notices import ROOT

HEAD: Final = "run"
"""Key of what is known about the run itself."""


class Found:
    """The records of the run of a job, oldest first.

    Args:
        job_id: the job.
        entries: its notes; those of the engine are left out.
    """

    def __init__(self, job_id: int, entries: Iterable[Entry]) -> None:
        self._job_id = job_id
        self._records: dict[str, dict[str, Any]] = {}
        self._ids: dict[str, int] = {}
        self._damaged: dict[str, str] = {}
        """Why a record cannot be used, by keys."""
        for entry in entries:
            if not entry.key.startswith(":") or entry.key in (HEARS, WISH):
                self._records[entry.key], self._ids[entry.key] = self._read(entry), entry.id

    @property
    def began(self) -> bool:
        """Whether anything is kept of the run."""
        return HEAD in self._records

    @property
    def head(self) -> Mapping[str, Any]:
        """What is known about the run itself.

        Raises:
            BadInput: nothing, or it is damaged.
        """
        if not self.began:
            raise BadInput(f"nothing is kept of job {self._job_id}, so nothing can go on with it")
        return self.sound([HEAD])[HEAD]

    @property
    def wish(self) -> Mapping[str, Any]:
        """How somebody wanted to go on with it.

        Raises:
            BadInput: that is damaged.
        """
        return self.sound([WISH])[WISH] if WISH in self._records else {}

    @property
    def keys(self) -> list[str]:
        """The keys of all records of the run."""
        return [key for key in self._records if not key.startswith(":")]

    @property
    def records(self) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
        """Yield the records with their keys and the ids of their notes, and what the run wants to hear."""
        return ((key, self._ids[key], record) for key, record in self._records.items() if key != WISH)

    def place(self, key: str) -> str:
        """Return the pointer of the task of a record; empty where it has none."""
        return str(self._records[key].get("at", ""))

    def check(self) -> None:
        """Look at all records.

        Raises:
            BadInput: one is damaged.
        """
        self.sound(self._records)

    def sound(self, keys: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Return records by their keys.

        Raises:
            BadInput: one of them is damaged; the text says which, and how to go on without it.
        """
        wanted = list(keys)
        for key in wanted:
            if key in self._damaged:
                raise BadInput(self._told(key))
        return {key: self._records[key] for key in wanted}

    def _read(self, entry: Entry) -> dict[str, Any]:
        try:
            value: Any = json.loads(entry.data)
        except RecursionError:
            value, problem = {}, "it is nested too deeply"
        except ValueError as error:
            value, problem = {}, f"it is not JSON: {error}"
        else:
            problem = _problem(entry.key, value)
        if problem:
            self._damaged[entry.key] = problem
        return cast("dict[str, Any]", value) if isinstance(value, dict) else {}

    def _told(self, key: str) -> str:
        here, where = self.place(key), ""
        for other in self._records:
            if other == key:
                break
            where = self.place(other) or where
        place = f"of {ROOT}{here}" if here else f"behind that of {ROOT}{where}" if where else "at its beginning"
        remedy = "the workflow has to be started anew"
        if where and key.startswith("/"):
            remedy = f"the other records are kept: resume job {self._job_id} with from_position of an earlier task"
        return (
            f"what job {self._job_id} wrote down of its run is damaged in the record {key} ({place}): "
            f"{self._damaged[key]}; {remedy}"
        )


async def found_in(job_id: int, entries: Sequence[Entry]) -> Found:
    """Return what is found in the notes of a job; much is read in a thread."""
    large = sum(len(entry.data) for entry in entries) > AT_ONCE
    return await beside(partial(Found, job_id, entries), large=large)


def _problem(key: str, value: Any) -> str:
    """Return what is wrong with a record; empty: nothing."""
    if not isinstance(value, dict):
        return "it is no object"
    record = cast("dict[str, Any]", value)
    for name, kind in _members(key, record).items():
        if name not in record:
            return f"{name} is missing"
        if not isinstance(record[name], kind) or (kind is int and isinstance(record[name], bool)):
            return f"{name} is of the wrong kind"
    wrong = [name for name, is_right in _PARTS.items() if name in record and not is_right(record[name])]
    return f"{wrong[0]} is of the wrong kind" if wrong else ""


def _members(key: str, record: Mapping[str, Any]) -> Mapping[str, type]:
    """Return what a record must have."""
    if key == HEARS:
        with suppress(KeyError, TypeError):
            Interest.of(record)
            return {"attempt": str}
        return {"types": list, "everything": bool, "lifecycle": bool}
    if key.startswith("/"):
        by_end = _BY_END.get(key.rpartition("/")[2])
        if by_end is not None:
            return by_end
        return next((shape for name, shape in _TASKS.items() if name in record), _TASK)
    return _EVENT if key.startswith(HEARD) else _HEAD if key == HEAD else {}


def _is_directive(then: Any) -> bool:
    return isinstance(then, str) and (not then.startswith("/") or then[1:] in set(Directive))


def _is_error(error: Any) -> bool:
    return isinstance(error, dict) and {"type", "status"} <= set(cast("dict[str, Any]", error))


_PARTS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "set": lambda changed: isinstance(changed, dict),
    "then": _is_directive,
    "error": _is_error,
}
"""What a record may have, and what it must be then."""
_HEAD: Final = {
    "id": str,
    "input": object,
    "started_ms": int,
    "context": dict,
    "attempt": str,
    "document": str,
}
_EVENT: Final = {"event": dict}
_TASK: Final = {"at": str, "output": object}
_TASKS: Final[Mapping[str, Mapping[str, type]]] = {
    "event": {"event": dict, "by": list, "correlated": dict},
    "value": {"value": int},
    "skipped": {"at": str},
}
"""Records of what is no task that ended, by a member that they alone have."""
_BY_END: Final[Mapping[str, Mapping[str, type]]] = {
    "@": {"steps": int, "next": int, "output": object},
    "#": {"count": int, "output": object},
    "!": {"error": object, "output": object},
}
