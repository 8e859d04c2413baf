"""References within one JSON document."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, cast
from urllib.parse import unquote

_INDEX: Final = re.compile(r"[0-9]{1,9}")


def resolve_pointer(document: Mapping[str, Any], ref: str) -> Any:
    """Return what ``#/a/b`` names in ``document``; None where there is nothing, or the reference leads elsewhere."""
    if ref == "#":
        return document
    if not ref.startswith("#/"):
        return None
    here: Any = document
    for step in ref[2:].split("/"):
        key = unquote(step).replace("~1", "/").replace("~0", "~")
        if isinstance(here, dict) and key in here:
            here = cast("dict[str, Any]", here)[key]
        elif isinstance(here, list) and _INDEX.fullmatch(key) and int(key) < len(cast("list[Any]", here)):
            here = cast("list[Any]", here)[int(key)]
        else:
            return None
    return here
