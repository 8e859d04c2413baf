"""What the writer is given: small groups of statements that are true together or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Delete, Insert, Update


class RowMissing(Exception):
    """A statement that had to change exactly one row found none."""


class Conflict(Exception):
    """A unique value or an id is taken."""


@dataclass(frozen=True, slots=True)
class Step:
    """One statement with its values, by name of bind parameter."""

    statement: Insert | Update | Delete
    values: Mapping[str, Any]
    one_row: bool = False
    """It must change exactly one row, else the whole write is undone with ``RowMissing``."""


@dataclass(frozen=True, slots=True)
class Write:
    """Steps that are atomic together; committed along with other writes."""

    steps: tuple[Step, ...]
    durable: bool = True
    """On disk when acknowledged. Otherwise it survives the death of the process but maybe not a power cut."""
