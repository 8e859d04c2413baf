"""Single cells of rows. Each function raises where it cannot read one: what somebody wrote by hand may be anything."""

from __future__ import annotations

import re
from typing import Any, Final

from jobworkerp_standalone.backends.sql.damage import Column
from jobworkerp_standalone.jobs.cron import cron_schedule

_WHOLE: Final = re.compile("-?[0-9]{1,18}")
_LARGEST_COUNT: Final = 2**32 - 1
"""As far as messages count."""
_EVERY_MINUTE: Final = "* * * * *"


def number(value: Any) -> int:
    """Return a whole number of 64 bits, also where somebody wrote it as text by hand."""
    if type(value) is int:
        return value
    if type(value) is str and _WHOLE.fullmatch(value):
        return int(value)
    raise ValueError(f"{value!r:.100} is no whole number of 64 bits")


def from_zero(value: Any) -> int:
    """Return a whole number that is not negative."""
    if (found := number(value)) >= 0:
        return found
    raise ValueError(f"{found} is below zero")


def count(value: Any) -> int:
    """Return a number that fits into 32 bits of a message."""
    if (found := from_zero(value)) <= _LARGEST_COUNT:
        return found
    raise ValueError(f"{found} is more than {_LARGEST_COUNT}")


def cron(value: Any) -> str:
    """Return a cron expression; empty where there is none."""
    if found := text(value):
        cron_schedule(found, "")
    return found


def zone(value: Any) -> str:
    """Return the name of a time zone; empty where there is none."""
    if found := text(value):
        cron_schedule(_EVERY_MINUTE, found)
    return found


def text(value: Any) -> str:
    """Return text."""
    if type(value) is str:
        return value
    raise TypeError(f"{value!r:.100} is no text")


def text_or_none(value: Any) -> str | None:
    """Return text, or None where there is none."""
    return None if value is None else text(value)


def as_bytes(value: Any) -> bytes:
    """Return bytes, also where somebody wrote them as text by hand."""
    if type(value) is bytes:
        return value
    if type(value) is str:
        return value.encode()
    raise TypeError(f"{value!r:.100} is neither bytes nor text")


def bytes_or_none(value: Any) -> bytes | None:
    """Return bytes, or None where there are none."""
    return None if value is None else as_bytes(value)


NUMBER: Final = Column(number, 0)
COUNT: Final = Column(count, 0)
TEXT: Final = Column(text, "")
OPTIONAL: Final = Column(text_or_none, None)
