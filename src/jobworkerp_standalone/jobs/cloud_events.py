"""CloudEvents 1.0 as JSON objects: what they must have, and what an emitter may leave out."""

from __future__ import annotations

import json
import re
import uuid
from base64 import b64decode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, cast

from jobworkerp_standalone.jobs.json_in import json_value

SPEC_VERSION: Final = "1.0"
_REQUIRED: Final = ("id", "source", "type")
_TEXTS: Final = (*_REQUIRED, "specversion", "subject", "time", "datacontenttype", "dataschema", "data_base64")
_NAME: Final = re.compile(r"[a-z0-9]+|data_base64")


def completed(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event with what the emitter left out: version, id and time."""
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return {"specversion": SPEC_VERSION, "id": str(uuid.uuid4()), "time": now, **attributes}


def read(text: str) -> dict[str, Any]:
    """Return the event in a JSON text; attributes that are null are not there.

    Raises:
        ValueError: it is none, and why.
    """
    try:
        event = json_value(text)
    except ValueError as error:
        raise ValueError(f"is not JSON: {error}") from error
    if "\\ud" in text.lower() and _has_half_a_pair(event):
        raise ValueError("has half a surrogate pair, which no text can have")
    problem = "it is no object"
    if isinstance(event, dict):
        given = cast("dict[str, Any]", event)
        event = {name: value for name, value in given.items() if value is not None or name == "data"}
        problem = problem_of(event)
    if problem is not None:
        raise ValueError(f"is no CloudEvent: {problem}")
    return event


def problem_of(event: Mapping[str, Any]) -> str | None:
    """Return what is wrong with an event; None for a good one."""
    if event.get("specversion") != SPEC_VERSION:
        return f"specversion is {event.get('specversion')!r}: it must be {SPEC_VERSION!r}"
    for name in _REQUIRED:
        if event.get(name) in (None, ""):
            return f"{name} is missing: an event has id, source and type"
    if "data" in event and "data_base64" in event:
        return "data and data_base64 are both there: give one of them"
    wrong = (attribute_problem(name, value) for name, value in event.items() if name != "data")
    deep = f"data is nested deeper than {_DEEPEST} levels" if _is_deep(event.get("data")) else None
    return next((each for each in wrong if each), deep)


def _is_deep(value: Any) -> bool:
    level: list[Any] = [value]
    for _ in range(_DEEPEST + 1):
        within = [cast("dict[str, Any] | list[Any]", each) for each in level if isinstance(each, (dict, list))]
        level = [inner for each in within for inner in (each.values() if isinstance(each, dict) else each)]
        if not level:
            return False
    return True


def _has_half_a_pair(event: Any) -> bool:
    try:
        json.dumps(event, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def attribute_problem(name: str, value: Any) -> str | None:
    """Return what is wrong with an attribute of an event, which ``data`` is none of; None for a good one."""
    if not _NAME.fullmatch(name):
        return f"{name!r:.100} is no name of an attribute: use lower-case letters and digits"
    if name in _TEXTS and not isinstance(value, str):
        return f"{name} is {value!r:.100}: it must be a text"
    if isinstance(value, (dict, list, float)):
        return f"{name} is no text, integer or boolean: put it into data"
    if isinstance(value, int) and not -_INTEGERS <= value < _INTEGERS:
        return f"{name} is {value!r:.100}, an integer of more than 32 bits: write it as text, or put it into data"
    form = _FORMS.get(name)
    return f"{name} is {value!r:.100}: {form[1]}" if form is not None and not form[0](str(value)) else None


def _is_uri(text: str) -> bool:
    return _URI.fullmatch(text) is not None


def _is_time(text: str) -> bool:
    if _TIME.fullmatch(text) is None:
        return False
    try:
        datetime.fromisoformat(text.upper().replace(":60", ":59"))  # a leap second is a time
    except ValueError:
        return False
    return True


def _is_media_type(text: str) -> bool:
    return _MEDIA_TYPE.match(text) is not None


def _is_base64(text: str) -> bool:
    try:
        b64decode(text, validate=True)
    except ValueError:
        return False
    return True


_INTEGERS: Final = 2**31
_DEEPEST: Final = 128
"""Levels of ``data``: who hears an event may have it inside of something else, and is to be able to write that down."""
_URI: Final = re.compile(r"(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})+")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)
_MEDIA_TYPE: Final = re.compile(r"[^\s/;]+/[^\s/;]+\s*(?:;|$)")
_FORMS: Final[Mapping[str, tuple[Callable[[str], bool], str]]] = {
    "source": (_is_uri, "it must be a URI or a path; write other characters as %XX"),
    "dataschema": (_is_uri, "it must be a URI; write other characters as %XX"),
    "time": (_is_time, "it must be a time such as 2026-01-31T12:00:00Z"),
    "datacontenttype": (_is_media_type, "it must be a media type such as application/json"),
    "data_base64": (_is_base64, "it must be base64"),
}
