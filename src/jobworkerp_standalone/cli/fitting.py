"""Texts that fit into columns of a terminal, where some characters take two."""

from __future__ import annotations

import os
from itertools import accumulate
from typing import Final, TextIO

_ASCII: Final = "ascii"


def width_of(text: str) -> int:
    """Return how many columns a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # noqa: PLC0415 - only for texts that need it

    return cell_len(text)


def cut(text: str, width: int, more: str = "…") -> str:
    """Return a text without its end where it takes more than so many columns."""
    return text if width_of(text) <= width else _beginning(text, width - width_of(more)) + more[: max(0, width)]


def shortened(text: str, width: int, more: str = "…") -> str:
    """Return a text without its middle where it takes more than so many columns: names differ at both ends."""
    room = width - width_of(more)
    if width_of(text) <= width or room < 2:  # noqa: PLR2004 - one at each end
        return cut(text, width, more)
    end = _beginning(text[::-1], room // 2)[::-1]
    return _beginning(text, room - width_of(end)) + more + end


def padded(text: str, width: int) -> str:
    """Return a text with blanks behind it."""
    return text + " " * (width - width_of(text))


def encoding_of(stream: TextIO) -> str:
    """Return what a terminal behind a stream shows: ASCII where its locale is C, whatever Python does."""
    locale = next((value for name in ("LC_ALL", "LC_CTYPE", "LANG") if (value := os.environ.get(name))), "")
    return _ASCII if locale in ("C", "POSIX") else stream.encoding or _ASCII


def is_unicode(encoding: str) -> bool:
    """Whether an encoding has every character."""
    return encoding.lower().startswith("utf")


def written_out(text: str, encoding: str) -> str:
    """Return a text with what the encoding lacks written as an escape, so that its width is known."""
    return text if is_unicode(encoding) else text.encode(encoding, "backslashreplace").decode(encoding)


def _beginning(text: str, width: int) -> str:
    """Return as much of the beginning as fits."""
    fitting = sum(1 for end in accumulate(map(width_of, text)) if end <= width)
    return text[:fitting]
