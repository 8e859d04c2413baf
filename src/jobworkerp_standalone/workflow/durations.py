"""Durations, in the two forms of the DSL, to milliseconds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Final, cast

UNITS: Final[Mapping[str, int]] = {
    "days": 86_400_000,
    "hours": 3_600_000,
    "minutes": 60_000,
    "seconds": 1_000,
    "milliseconds": 1,
}
_MAX_MS: Final = 2**53
_LONGEST: Final = 200
"""Characters of a duration."""
_NUMBER: Final = r"([0-9]+(?:[.,][0-9]+)?)"
_DAY: Final = UNITS["days"]
_DATE: Final = (("Y", Fraction(36525, 100) * _DAY), ("M", Fraction(3044, 100) * _DAY), ("W", 7 * _DAY), ("D", _DAY))
_TIME: Final = (("H", 3_600_000), ("M", 60_000), ("S", 1_000))
_ISO: Final = re.compile(
    "P"
    + "".join(f"(?:{_NUMBER}{unit})?" for unit, _ in _DATE)
    + "(?:T"
    + "".join(f"(?:{_NUMBER}{unit})?" for unit, _ in _TIME)
    + r")?\Z"
)


def milliseconds(value: Any) -> int:
    """Return a duration in whole milliseconds.

    Raises:
        ValueError: it is none; the text says why.
    """
    if isinstance(value, str):
        total = _of_text(value)
    elif isinstance(value, Mapping):
        total = _of_object(cast("Mapping[str, Any]", value))
    else:
        raise ValueError("a duration is an object such as {seconds: 5}, or ISO 8601 text such as PT5S")
    if total > _MAX_MS:
        raise ValueError("the duration is longer than 285,000 years")
    return int(total)


def _of_text(text: str) -> Fraction:
    match = _ISO.match(text.strip()) if len(text) <= _LONGEST else None
    parts = match.groups() if match else ()
    if not any(part is not None for part in parts) or text.rstrip().endswith("T"):
        shown = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
        raise ValueError(f"'{shown}' is not an ISO 8601 duration such as PT1M30S")
    sizes = [size for _, size in (*_DATE, *_TIME)]
    return sum(
        (Fraction(part.replace(",", ".")) * size for part, size in zip(parts, sizes, strict=True) if part), Fraction(0)
    )


def _of_object(value: Mapping[str, Any]) -> Fraction:
    if not value:
        raise ValueError(f"the duration is empty: give one or more of {', '.join(UNITS)}")
    total = 0
    for unit, amount in value.items():
        if unit not in UNITS:
            raise ValueError(f"'{unit}' is no unit of time: give one or more of {', '.join(UNITS)}")
        if isinstance(amount, bool) or not isinstance(amount, int):
            raise ValueError(f"{unit} must be a whole number")
        if amount < 0:
            raise ValueError(f"{unit} is negative")
        total += amount * UNITS[unit]
    return Fraction(total)
