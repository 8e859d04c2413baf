"""Files and standard input, read up to a limit: some have no end."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

DOCUMENT: Final = 10 * 1024 * 1024
"""Bytes of a document that somebody wrote."""
VALUE: Final = 64 * 1024 * 1024
"""Bytes of an input or a payload: as much as a server takes in one call, unless it is told otherwise."""
_MIB: Final = 1024 * 1024


class TooLarge(ValueError):
    """There is more than is read."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"it is larger than {limit // _MIB} MiB")


def bytes_of(path: Path, limit: int) -> bytes:
    """Return what a file holds.

    Raises:
        TooLarge: that is more than ``limit`` bytes.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return _checked(file.read(limit + 1), limit)


def standard_input(limit: int) -> bytes:
    """Return what comes from standard input; nothing where that is closed.

    Raises:
        TooLarge: that is more than ``limit`` bytes.
    """
    return _checked(sys.stdin.buffer.read(limit + 1), limit) if sys.stdin is not None else b""


def text_in(content: bytes) -> str:
    """Return text with line ends as programs have them.

    Raises:
        UnicodeDecodeError: it is no UTF-8.
    """
    return content.decode().replace("\r\n", "\n").replace("\r", "\n")


def _checked(content: bytes, limit: int) -> bytes:
    if len(content) > limit:
        raise TooLarge(limit)
    return content
