"""JSON from others as a value."""

from __future__ import annotations

import json
import math
from typing import Any


def json_value(text: str | bytes) -> Any:
    """Return the value of a JSON text that others wrote.

    Raises:
        ValueError: it is none, is nested too deeply, or has a number that is none (NaN) or that no double can be.
    """
    try:
        return json.loads(text, parse_constant=_no_constant, parse_float=_finite)
    except RecursionError as error:
        raise ValueError("it is nested too deeply: lists and objects inside each other fill the stack") from error


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:40]} is too large for a number")
    return number
