"""JSON pointers (RFC 6901) to parts of a document."""

from __future__ import annotations


def escaped(key: str) -> str:
    """Return a key as a part of a JSON pointer."""
    return key.replace("~", "~0").replace("/", "~1")


def unescaped(part: str) -> str:
    """Return the key that a part of a JSON pointer names."""
    return part.replace("~1", "/").replace("~0", "~")


def declared(section: str, name: str | None, here: str) -> str:
    """Return where something stands: below ``use`` where it was declared there under a name, else ``here``."""
    return here if name is None else f"/use/{section}/{escaped(name)}"


def within(task: str, place: str) -> str:
    """Return the pointer of a place in a task; what is declared in ``use`` is no part of any."""
    return place if place.startswith("/use/") else task + place
