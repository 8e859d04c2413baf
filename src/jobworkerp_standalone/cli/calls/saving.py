"""The files that a workflow depends on, and when they are saved."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

_LONGEST: Final = 4096
Stamps = Mapping[Path, object]
"""What changes when a file is saved, by its path; None while there is no such file."""


def stamps(files: Iterable[Path]) -> Stamps:
    """Return how files are now."""
    return {file: _stamp(file) for file in files}


def saved(since: Stamps) -> bool:
    """Whether any file was saved. One that is gone is not: some editors write another one in its place."""
    return any(now is not None and now != since[file] for file, now in stamps(since).items())


def option_files(*options: str | None) -> Iterator[Path]:
    """Yield the files that options name with ``@``."""
    yield from (Path(text[1:]).expanduser() for text in options if text is not None and text.startswith("@"))


def named_files(value: Any, places: Sequence[Path]) -> Iterator[Path]:
    """Yield the files that texts in a document are paths of: other workflows, scripts, schemas.

    Args:
        value: the document, or a part of it.
        places: directories in which relative paths are looked for, in this order.
    """
    if isinstance(value, Mapping):
        for each in cast("Mapping[str, Any]", value).values():
            yield from named_files(each, places)
    elif isinstance(value, (list, tuple)):
        for each in cast("Sequence[Any]", value):
            yield from named_files(each, places)
    elif isinstance(value, str) and 0 < len(value) < _LONGEST and value.isprintable():
        files = (place / value.removeprefix("file://") for place in places)
        found = next((file for file in files if _stamp(file) is not None), None)
        if found is not None and found.is_file():
            yield found


def _stamp(file: Path) -> object:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
