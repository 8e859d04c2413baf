"""Values on the command line: ids or names, texts from files, switches, numbers that stand for enums."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

from jobworkerp_standalone.cli.exits import usage
from jobworkerp_standalone.cli.options import MAX_INT64
from jobworkerp_standalone.cli.reading import VALUE, bytes_of, standard_input, text_in

_WHOLE: Final = re.compile(r"[+-]?[0-9]+")
_LONGEST: Final = 255
"""Characters of what may be a number: names are no longer."""


def id_or_name(text: str) -> int | str:
    """Read a whole number as an id and anything else as a name.

    Raises:
        Stop: it is empty.
    """
    digits = text.strip()
    if not digits:
        raise usage("the id or name is empty")
    if not _WHOLE.fullmatch(digits):
        return text
    if len(digits) > _LONGEST or abs(int(digits)) > MAX_INT64:
        raise usage(f"id {text} is not between {-MAX_INT64} and {MAX_INT64}")
    return int(digits)


def text_of(option: str, text: str) -> str:
    """Return the text itself, the content of the file after ``@``, or standard input for ``-``.

    Raises:
        Stop: it cannot be read.
    """
    try:
        if text == "-":
            if sys.stdin is None:  # the program was started with it closed
                raise usage(f"{option}: standard input is closed")
            return text_in(standard_input(VALUE))
        if text.startswith("@"):
            return text_in(bytes_of(Path(text[1:]).expanduser(), VALUE))
    except (OSError, ValueError) as error:
        where = "standard input" if text == "-" else repr(text[1:])
        reason = getattr(error, "strerror", None) or error
        raise usage(f"{option}: {where} cannot be read: {reason}") from error
    return text


def switch(given: str | bool | None) -> bool | None:
    """Read the value of an option that is there or not, or takes ``true`` or ``false``; None where it was not given."""
    return given.lower() == "true" if isinstance(given, str) else given
