"""JSON values and what is asked of them: whether they are true, what jq makes of them."""

from __future__ import annotations

import math
from typing import TypeAlias, cast

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"
"""Values are never changed in place: parts of the document and of other values are handed out as they are."""

_HIGHEST = 1.797693134862315e308


def is_true(value: JSON) -> bool:
    """Tell whether a condition holds: not for false, null, 0, an empty text, array or object."""
    return bool(value)


def finite(value: JSON) -> JSON:
    """Return the value with null for NaN and for the infinities, which jq gives as the largest numbers there are."""
    if isinstance(value, float):
        return value if math.isfinite(value) and abs(value) < _HIGHEST else None
    if isinstance(value, list):
        return [finite(item) for item in value]
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, int) and value.bit_length() > 1023:  # noqa: PLR2004 - jq writes the largest numbers as integers
        return None
    return value


def one_of(outputs: list[JSON]) -> JSON:
    """Return the value of a jq program by its outputs: the only one, or an array of none or several."""
    return outputs[0] if len(outputs) == 1 else cast("JSON", outputs)
