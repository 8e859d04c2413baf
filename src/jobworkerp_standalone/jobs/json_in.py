"""JSON from others as a value."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any


class Unheld(ValueError):
    """JSON whose value cannot be held: nested too deeply, or with a number that no double can be."""


def json_value(text: str | bytes, object_hook: Callable[[Any], Any] | None = None) -> Any:
    """Return the value of a JSON text that others wrote; with ``object_hook`` as ``json.loads``.

    Raises:
        Unheld: it is nested too deeply, or has a number that no double can be or that has too many digits.
        ValueError: it is no JSON, or has a number that is none (NaN).
    """
    try:
        return json.loads(
            text, object_hook=object_hook, parse_constant=_no_constant, parse_float=_finite, parse_int=_whole
        )
    except RecursionError as error:
        raise Unheld("it is nested too deeply: lists and objects inside each other fill the stack") from error


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise Unheld(f"{text[:40]} is too large for a number")
    return number


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise Unheld(f"{text[:40]}... has too many digits") from error
