"""JSON values and what is asked of them: whether they are true, what jq makes of them."""

from __future__ import annotations

import math
from typing import cast

from jobworkerp_standalone.jobs.json_fragments import JSON

_HIGHEST = 1.797693134862315e308


def is_true(value: JSON) -> bool:
    """Tell whether a condition holds: not for false, null, 0, an empty text, array or object."""
    return bool(value)


def same(one: JSON, other: JSON) -> bool:
    """Tell whether two values are the same in JSON, where true is not 1."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    return one is other if isinstance(one, bool) or isinstance(other, bool) else one == other


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
