"""Variables from a ``.env`` file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging


def read_dotenv(start: Path) -> dict[str, str]:
    """Return the variables of the nearest ``.env`` in ``start`` or a parent directory."""
    for folder in (start, *start.parents):
        path = folder / ".env"
        if path.is_file():
            from dotenv import dotenv_values  # noqa: PLC0415 - only where there is such a file

            with _complaints_about(path):
                return {key: value for key, value in dotenv_values(path).items() if value is not None}
    return {}


@contextmanager
def _complaints_about(path: Path) -> Iterator[None]:
    """Let what cannot be read in a file be told with the name of the file, not of who reads it."""
    import logging  # noqa: PLC0415 - only where there is such a file

    def named(record: logging.LogRecord) -> bool:
        match record.args:
            case (int(line),):
                record.msg, record.args = "warning: %s:%d is not NAME=VALUE and left out", (path, line)
            case _:
                pass
        return True

    reader = logging.getLogger("dotenv.main")
    reader.addFilter(named)
    try:
        yield
    finally:
        reader.removeFilter(named)
