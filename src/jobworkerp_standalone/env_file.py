"""Variables from a ``.env`` file."""

from __future__ import annotations

from pathlib import Path


def read_dotenv(start: Path) -> dict[str, str]:
    """Return the variables of the nearest ``.env`` in ``start`` or a parent directory."""
    for folder in (start, *start.parents):
        path = folder / ".env"
        if path.is_file():
            from dotenv import dotenv_values  # noqa: PLC0415 - only where there is such a file

            return {key: value for key, value in dotenv_values(path).items() if value is not None}
    return {}
