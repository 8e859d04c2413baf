"""How large JSON values are, without writing them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, cast

_FIXED: Final = 8
_STEP: Final = 4096
_EVER: Final = 2**63


def size_up_to(limit: int, values: Iterable[Any]) -> int:
    """Return about how many characters values have as JSON; counting ends once ``limit`` is passed."""
    size = 0
    for size in sizes_up_to(limit, values):  # noqa: B007 - the last one counts
        pass
    return size


def sizes_up_to(limit: int, values: Iterable[Any]) -> Iterator[int]:
    """Count as ``size_up_to`` does; what was counted so far comes after every few thousand parts, and at the end."""
    size = parts = 0
    pending = list(values)
    while pending and size <= limit:
        value = pending.pop()
        if isinstance(value, str):
            size += len(value)
        elif isinstance(value, (dict, list)):
            inner = cast("dict[str, Any] | list[Any]", value)
            if (len(inner) + len(pending)) * _FIXED > limit:
                yield limit + 1
                return
            if isinstance(inner, dict):
                size += sum(map(len, inner))
            pending.extend(inner.values() if isinstance(inner, dict) else inner)
        elif isinstance(value, int):
            size += value.bit_length() >> 1
        size += _FIXED
        parts += 1
        if not parts % _STEP:
            yield size
    yield size


def size_of(value: Any) -> int:
    """Return about how many characters a value has as JSON."""
    return size_up_to(_EVER, (value,))
