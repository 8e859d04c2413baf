"""Which charset names of other machines are followed."""

from __future__ import annotations

import codecs
import re
from typing import Final

_TEXT: Final = re.compile(
    r"(utf-(8(-sig)?|(16|32)(-[bl]e)?)|ascii|iso8859-\d+|cp\d+|shift_jis|euc_(jp|kr)|iso2022_(jp|kr)"
    r"|gb\w+|hz|big5\w*|koi8-\w|mac-roman|tis-620)"
)
"""Python's own names. What it has besides are not charsets: escapes, compressions, ciphers."""


def codec_of(charset: str) -> str | None:
    """Return the codec for a charset by its name in a ``Content-Type``; None: there is none."""
    try:
        name = codecs.lookup(charset).name
    except (LookupError, ValueError):
        return None
    return name if _TEXT.fullmatch(name) else None
