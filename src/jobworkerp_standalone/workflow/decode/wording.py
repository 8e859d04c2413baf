"""What places and values are called in messages."""

from __future__ import annotations

from typing import Any, Final

from jobworkerp_standalone.workflow.pointers import unescaped

_LONGEST: Final = 60


def last(pointer: str) -> str:
    """Return the last key of a pointer."""
    parts = pointer.split("/")
    while len(parts) > 1 and parts[-1].isdecimal():
        parts.pop()
    name = unescaped(parts[-1])
    inside = "an item of " if parts and pointer.rpartition("/")[2].isdecimal() else ""
    return f"{inside}'{name}'" if name else "the document"


def described(value: Any) -> str:
    """Return what a value is."""
    match value:
        case None:
            return "null (nothing)"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"the number {str(value)[:_LONGEST]}"
        case str():
            return f"the text '{value if len(value) <= _LONGEST else value[:_LONGEST] + '...'}'"
        case list():
            return "an array"
        case _:
            return "an object"
