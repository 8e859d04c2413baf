"""Text from outside, made fit to be shown: it moves no cursor, colours nothing and breaks no XML."""

from __future__ import annotations

import re
from typing import Final

_ESCAPE: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
_TAIL: Final = 4096
"""Characters in which the last line is looked for."""


def printable(text: str) -> str:
    """Return the text with control characters other than line ends and tabs written out, so that no escape acts."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in "\n\t" else repr(each)[1:-1] for each in text)


def one_line(text: str) -> str:
    """Return the text as one printable line."""
    return printable(" ".join(text.split()))


def last_line(text: str) -> str:
    """Return the last line of a text as a terminal shows it: no colours, and what follows the last carriage return."""
    lines = _ESCAPE.sub("", text[-_TAIL:]).rstrip().rpartition("\n")[2]
    return lines.rpartition("\r")[2].strip()
