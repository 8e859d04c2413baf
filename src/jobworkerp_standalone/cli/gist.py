"""One line for what programs say in many."""

from __future__ import annotations

import re
from typing import Final

_ERROR: Final = re.compile(r"(stderr: )?(Uncaught )?[A-Za-z_][\w.]*(Error|Exception|Interrupt|Exit)\b")
_TRACE: Final = "Traceback (most recent call last):"


def gist(text: str) -> str:
    """Return a text as its first line and the one that says most of the others: an error's own, else the last one.

    What a program wrote to its error output counts more than its output, where a text has both.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) < 2:  # noqa: PLR2004 - nothing to choose from
        return text.strip()
    first, rest = lines[0], lines[1:]
    output = next((at for at, line in enumerate(rest) if at and line.startswith("stdout: ")), len(rest))
    rest = rest[:output]
    best = next((line for line in reversed(rest) if _ERROR.match(line)), rest[-1])
    best = best.removeprefix("stderr: ").removeprefix("stdout: ").strip()
    return best if first.strip() == _TRACE else f"{first.strip()}: {best}"
