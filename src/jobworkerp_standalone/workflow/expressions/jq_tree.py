"""The part of jq that may run in the daemon, as a tree."""

from __future__ import annotations

from typing import TypeAlias

from jobworkerp_standalone.frozen import frozen


@frozen
class Dot:
    """``.``."""


@frozen
class Variable:
    """``$name``."""

    name: str


@frozen
class Literal:
    """A number, or text without interpolation."""

    text: str
    number: float | None = None

    @property
    def size(self) -> int:
        """Return how many characters it has."""
        return len(self.text)


@frozen
class Text:
    """A string with interpolations, or the fixed text that a format applies to."""

    fixed: int
    parts: tuple[Node, ...]


@frozen
class Index:
    """``source[key]``, ``source.key``; a slice has two keys."""

    source: Node
    keys: tuple[Node, ...]


@frozen
class Each:
    """``source[]``."""

    source: Node


@frozen
class Collect:
    """``[items]``."""

    items: Node | None


@frozen
class Build:
    """``{key: value}``."""

    entries: tuple[tuple[Node, Node], ...]


@frozen
class Operation:
    """Two operands; both are evaluated for each output of the other."""

    sign: str
    left: Node
    right: Node


@frozen
class Pipe:
    """``left | right``."""

    left: Node
    right: Node


@frozen
class Comma:
    """``left, right``: both. Also alternatives, of which one or the other is taken."""

    left: Node
    right: Node


@frozen
class Bind:
    """``source as $name | body``."""

    source: Node
    name: str
    body: Node


@frozen
class If:
    """``if condition then yes else no end``."""

    condition: Node
    yes: Node
    no: Node


@frozen
class Call:
    """A builtin."""

    name: str
    arguments: tuple[Node, ...]


Node: TypeAlias = (
    Dot | Variable | Literal | Text | Index | Each | Collect | Build | Operation | Pipe | Comma | Bind | If | Call
)
