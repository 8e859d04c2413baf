"""Rows that cannot be read as they stand: what is wrong with them, and what is read instead.

One damaged row must not hide the others. A column that cannot be read gets a harmless value; the log tells, once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, Final, NamedTuple, TypeVar

T = TypeVar("T")
_log = logging.getLogger(__name__)
_UNREADABLE: Final = (ValueError, TypeError, KeyError, AttributeError, RecursionError)
_TOLD: Final = 1024


class Column(NamedTuple):
    """A column that may hold what cannot be read."""

    read: Callable[[Any], object]
    """Raises where it cannot."""
    instead: object
    """Stands in the column then."""


class Kind(NamedTuple):
    """Rows of one table."""

    table: str
    columns: Mapping[str, Column]
    remedy: str


def read_row(row: Any, kind: Kind, read: Callable[[Any], T]) -> tuple[T, str]:
    """Return what ``read`` makes of a row, and what is wrong with the row: empty where nothing is."""
    try:
        return read(row), ""
    except _UNREADABLE:
        values = row._asdict()
        wrong = {name: why for name in kind.columns if (why := _fault(kind.columns[name], values[name]))}
        if not wrong:
            raise
    values |= {name: kind.columns[name].instead for name in wrong}
    found = "; ".join(f"{name}: {why}" for name, why in wrong.items())
    damage = f"row {row.id} of table {kind.table} is damaged ({found}); {kind.remedy}"
    _tell(damage)
    return read(SimpleNamespace(**values)), damage


def _fault(column: Column, value: object) -> str:
    try:
        column.read(value)
    except _UNREADABLE as error:
        return str(error) or type(error).__name__
    return ""


@lru_cache(_TOLD)
def _tell(damage: str) -> None:
    _log.error("%s", damage)
