"""How somebody wants to go on with a run: what of its records counts then, and whether that is possible."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from jobworkerp_standalone.jobs.errors import BadInput, InvalidRequest
from jobworkerp_standalone.runners.journal import Entry
from jobworkerp_standalone.workflow.documents import Source
from jobworkerp_standalone.workflow.found_records import HEAD, Found, found_in
from jobworkerp_standalone.workflow.model.document import Workflow
from jobworkerp_standalone.workflow.model.tasks import TaskList, lists_in
from jobworkerp_standalone.workflow.notices import ROOT


async def check(job_id: int, notes: Sequence[Entry], wish: bytes) -> None:
    """Look whether a job can go on with another as a wish says. ``RunnerSpec.check_wish`` of workflows.

    Raises:
        InvalidRequest: it cannot; the text names the field, its value and what to do.
    """
    found = await found_in(job_id, notes)
    try:
        document = (await Source.of_text(found.head["document"])).document
        assert document is not None, "a text is a document"
        kept(found, json.loads(wish), document)
    except BadInput as error:
        raise InvalidRequest(str(error)) from error


def kept(found: Found, wish: Mapping[str, Any], workflow: Workflow) -> dict[str, dict[str, Any]]:
    """Return the records with which a job begins that goes on with a run, changed as the wish says.

    Args:
        found: what the run has behind it.
        wish: ``payload``, ``from`` or ``after``.
        workflow: the document with which it goes on.

    Raises:
        BadInput: the workflow has no such task, none waits for the payload, or a record that counts is damaged.
    """
    if "from" in wish and not _has_task(workflow.do, str(wish["from"]).removeprefix(ROOT)):
        why = "the workflow has no task at that place; name one that the run had reached"
        if str(wish["from"]).startswith(_USED):  # as the error of such a task tells its place
            why = "it is inside of a function or an extension; name the task that was to use that"
        raise BadInput(f"from_position {str(wish['from'])!r}: {why}, such as {ROOT}/do/0/NAME")
    records = found.sound([HEAD, *(key for key in _counting(found, wish) if key != HEAD)])
    waiting = [record for record in records.values() if record.get("then") == _WAIT]
    if "payload" in wish and not waiting:
        raise BadInput("no task waits for the payload where the run goes on: leave it out, or leave from_position out")
    for record in waiting:
        record["then"] = "/continue"
        if "payload" in wish:
            record["output"] = wish["payload"]
    return records


def _counting(found: Found, wish: Mapping[str, Any]) -> Sequence[str]:
    """Return the keys of the records, oldest first, that count where the run is to begin again at some task."""
    begin, after, keys = wish.get("from"), wish.get("after"), found.keys
    if begin is None and after is None:
        return keys
    pointer = str(begin if begin is not None else after).removeprefix(ROOT)
    places = [found.place(key) for key in keys]
    meant = [number for number, place in enumerate(places) if place == pointer or place.startswith(f"{pointer}/")]
    if not meant:
        if after is not None:
            raise BadInput(f"nothing is kept of a task at {ROOT}{pointer}")
        return keys
    return keys[: meant[0]] if after is None else keys[: meant[-1] + 1]


def _has_task(tasks: TaskList, pointer: str) -> bool:
    for task in tasks.tasks:
        place = task.origin.pointer
        if pointer == place:
            return True
        if pointer.startswith(f"{place}/"):
            return any(_has_task(inside, pointer) for inside in lists_in(task))
    return False


_WAIT: Final = "/wait"
_USED: Final = f"{ROOT}/use/"
