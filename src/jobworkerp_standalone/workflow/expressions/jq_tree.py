"""The part of jq that may run in the daemon, as a tree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Dot:
    """``.``."""


@dataclass(frozen=True, slots=True)
class Variable:
    """``$name``."""

    name: str


@dataclass(frozen=True, slots=True)
class Literal:
    """A number, or text without interpolation."""

    text: str
    number: float | None = None

    @property
    def size(self) -> int:
        """Return how many characters it has."""
        return len(self.text)


@dataclass(frozen=True, slots=True)
class Text:
    """A string with interpolations, or the fixed text that a format applies to."""

    fixed: int
    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Index:
    """``source[key]``, ``source.key``; a slice has two keys."""

    source: Node
    keys: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Each:
    """``source[]``."""

    source: Node


@dataclass(frozen=True, slots=True)
class Collect:
    """``[items]``."""

    items: Node | None


@dataclass(frozen=True, slots=True)
class Build:
    """``{key: value}``."""

    entries: tuple[tuple[Node, Node], ...]


@dataclass(frozen=True, slots=True)
class Operation:
    """Two operands; both are evaluated for each output of the other."""

    sign: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Pipe:
    """``left | right``."""

    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Comma:
    """``left, right``: both. Also alternatives, of which one or the other is taken."""

    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Bind:
    """``source as $name | body``."""

    source: Node
    name: str
    body: Node


@dataclass(frozen=True, slots=True)
class If:
    """``if condition then yes else no end``."""

    condition: Node
    yes: Node
    no: Node


@dataclass(frozen=True, slots=True)
class Call:
    """A builtin."""

    name: str
    arguments: tuple[Node, ...]


Node: TypeAlias = (
    Dot | Variable | Literal | Text | Index | Each | Collect | Build | Operation | Pipe | Comma | Bind | If | Call
)
