"""CloudEvents 1.0 as JSON objects: what they must have, and what an emitter may leave out."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

SPEC_VERSION: Final = "1.0"
_REQUIRED: Final = ("id", "source", "type")
_TEXTS: Final = (*_REQUIRED, "specversion", "subject", "time", "datacontenttype", "dataschema", "data_base64")
_NAME: Final = re.compile(r"[a-z0-9]+|data_base64")


def completed(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event with what the emitter left out: version, id and time."""
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return {"specversion": SPEC_VERSION, "id": str(uuid.uuid4()), "time": now, **attributes}


def problem_of(event: Mapping[str, Any]) -> str | None:
    """Return what is wrong with an event; None for a good one."""
    if event.get("specversion") != SPEC_VERSION:
        return f"specversion is {event.get('specversion')!r}: it must be {SPEC_VERSION!r}"
    for name in _REQUIRED:
        if not event.get(name):
            return f"{name} is missing: an event has id, source and type"
    if "data" in event and "data_base64" in event:
        return "data and data_base64 are both there: give one of them"
    wrong = (_attribute_problem(name, value) for name, value in event.items() if name != "data")
    return next((each for each in wrong if each), None)


def _attribute_problem(name: str, value: Any) -> str | None:
    if not _NAME.fullmatch(name):
        return f"{name!r} is no name of an attribute: use lower-case letters and digits"
    if name in _TEXTS and not isinstance(value, str):
        return f"{name} is {value!r:.100}: it must be a text"
    if isinstance(value, (dict, list, float)):
        return f"{name} is no text, integer or boolean: put it into data"
    return None
