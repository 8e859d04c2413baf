"""JSON values and what is asked of them: whether they are true, how large they are."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TypeAlias, cast

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"
"""Values are never changed in place: parts of the document and of other values are handed out as they are."""

_FIXED = 8
_STEP = 4096
_HIGHEST = 1.797693134862315e308


def is_true(value: JSON) -> bool:
    """Tell whether a condition holds: not for false, null, 0, an empty text, array or object."""
    return bool(value)


def size_up_to(limit: int, values: Iterable[JSON]) -> int:
    """Return about how many characters values have as JSON; counting ends once ``limit`` is passed."""
    size = 0
    for size in sizes_up_to(limit, values):  # noqa: B007 - the last one counts
        pass
    return size


def sizes_up_to(limit: int, values: Iterable[JSON]) -> Iterator[int]:
    """Count as ``size_up_to`` does; what was counted so far comes after every few thousand parts, and at the end."""
    size = parts = 0
    pending: list[JSON] = list(values)
    while pending and size <= limit:
        value = pending.pop()
        if isinstance(value, str):
            size += len(value)
        elif isinstance(value, (dict, list)):
            if (len(value) + len(pending)) * _FIXED > limit:
                yield limit + 1
                return
            if isinstance(value, dict):
                size += sum(map(len, value))
            pending.extend(value.values() if isinstance(value, dict) else value)
        elif isinstance(value, int):
            size += value.bit_length() >> 1
        size += _FIXED
        parts += 1
        if not parts % _STEP:
            yield size
    yield size


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
