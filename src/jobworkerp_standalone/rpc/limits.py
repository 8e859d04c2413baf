"""Limits of list and filter requests, checked in one place so that every RPC says the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from jobworkerp_standalone.jobs.errors import InvalidRequest

MAX_LIMIT: Final = 1000
MAX_OFFSET: Final = 10_000
MAX_IDS: Final = 100
MAX_ENUMS: Final = 10
MAX_TEXT_BYTES: Final = 255
MAX_RANGE_MS: Final = 365 * 24 * 3600 * 1000


def limit_of(request: Any, default: int | None, *, least: int = 0) -> int | None:
    """Return the request's ``limit``, or ``default`` where it is left out.

    Raises:
        InvalidRequest: it is outside ``least`` to 1000.
    """
    if not request.HasField("limit"):
        return default
    if not least <= request.limit <= MAX_LIMIT:
        raise InvalidRequest(f"limit {request.limit} is outside {least} to {MAX_LIMIT}")
    return request.limit


def offset_of(request: Any) -> int:
    """Return the request's ``offset``, 0 where it is left out.

    Raises:
        InvalidRequest: it is outside 0 to 10000.
    """
    if not request.HasField("offset"):
        return 0
    if not 0 <= request.offset <= MAX_OFFSET:
        raise InvalidRequest(f"offset {request.offset} is outside 0 to {MAX_OFFSET}; narrow the filters instead")
    return request.offset


def text_of(request: Any, field: str) -> str | None:
    """Return an optional text filter.

    Raises:
        InvalidRequest: it is longer than 255 bytes.
    """
    if not request.HasField(field):
        return None
    text: str = getattr(request, field)
    size = len(text.encode())
    if size > MAX_TEXT_BYTES:
        raise InvalidRequest(f"{field} is {size} bytes long; at most {MAX_TEXT_BYTES} are allowed")
    return text


def few(field: str, values: Sequence[Any], most: int) -> None:
    """Check how many values a filter lists.

    Raises:
        InvalidRequest: more than ``most``.
    """
    if len(values) > most:
        raise InvalidRequest(f"{field} lists {len(values)} values; at most {most} are allowed")


def time_range(request: Any, name: str) -> tuple[int | None, int | None]:
    """Return the bounds ``<name>_from`` and ``<name>_to``.

    Raises:
        InvalidRequest: negative, in the wrong order, or more than a year apart.
    """
    low = getattr(request, f"{name}_from") if request.HasField(f"{name}_from") else None
    high = getattr(request, f"{name}_to") if request.HasField(f"{name}_to") else None
    for field, value in ((f"{name}_from", low), (f"{name}_to", high)):
        if value is not None and value < 0:
            raise InvalidRequest(f"{field} {value} is negative; use Unix milliseconds")
    if low is not None and high is not None:
        if low > high:
            raise InvalidRequest(f"{name}_from {low} is after {name}_to {high}; swap them")
        if high - low > MAX_RANGE_MS:
            raise InvalidRequest(f"{name}_from to {name}_to spans more than 365 days; narrow the range")
    return low, high
