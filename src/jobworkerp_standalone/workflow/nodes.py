"""A document as a tree of values that know their place in the text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, cast

MAX_DEPTH: Final = 100
MAX_NODES: Final = 200_000
"""Most values of a document, those that aliases repeat included."""


class Mark(NamedTuple):
    """Line and column, from 1; zeros where there is no text."""

    line: int = 0
    column: int = 0


class Unreadable(Exception):
    """The text is not JSON or YAML, or more than is read."""

    def __init__(self, message: str, mark: Mark = Mark(), suggestion: str | None = None) -> None:  # noqa: B008 - a value
        super().__init__(message)
        self.message = message
        self.mark = mark
        self.suggestion = suggestion


class TooDeep(Unreadable):
    """The text is nested deeper than is read."""


class Node:
    """A value. ``items`` or ``members`` hold what is inside, ``plain`` is the whole as JSON has it."""

    __slots__ = ("items", "keys", "mark", "members", "plain", "size")

    def __init__(self, plain: Any, mark: Mark) -> None:
        self.plain = plain
        self.mark = mark
        self.items: list[Node] | None = None
        self.members: dict[str, Node] | None = None
        self.keys: dict[str, Mark] = {}
        self.size = 1

    @classmethod
    def array(cls, items: list[Node], mark: Mark) -> Node:
        """Return an array of these."""
        node = cls([item.plain for item in items], mark)
        node.items = items
        node._grow(items)
        return node

    @classmethod
    def object(cls, members: dict[str, Node], keys: dict[str, Mark], mark: Mark) -> Node:
        """Return an object of these."""
        node = cls({key: value.plain for key, value in members.items()}, mark)
        node.members = members
        node.keys = keys
        node._grow(members.values())
        return node

    def _grow(self, inside: Any) -> None:
        self.size += sum(each.size for each in inside)
        if self.size > MAX_NODES:
            raise Unreadable(f"the document has more than {MAX_NODES} values, repeated aliases included", self.mark)


def node_of(value: Any, depth: int = 0) -> Node:
    """Return the tree of a value that was no text.

    Raises:
        Unreadable: it is not what JSON can hold, or too deep.
    """
    if depth > MAX_DEPTH:
        raise too_deep(Mark())
    if isinstance(value, Mapping):
        members = cast("Mapping[Any, Any]", value)
        for key in members:
            if not isinstance(key, str):
                raise Unreadable(f"the key {key!r} is not text")
        return Node.object({key: node_of(each, depth + 1) for key, each in members.items()}, {}, Mark())
    if isinstance(value, list | tuple):
        return Node.array([node_of(each, depth + 1) for each in cast("list[Any]", value)], Mark())
    if value is None or isinstance(value, bool | int | str):
        return Node(value, Mark())
    if isinstance(value, float):
        return Node(finite(value, str(value), Mark()), Mark())
    raise Unreadable(f"a {type(value).__name__} is not a JSON value")


def finite(value: float, text: str, mark: Mark) -> float:
    """Return the number, if JSON can hold it; ``text`` is how it is written."""
    if value - value != 0.0:
        raise Unreadable(f"{text[:40]} is not a number that JSON can hold", mark)
    return value


def too_deep(mark: Mark) -> TooDeep:
    """Return the refusal of a document that is nested too deep."""
    return TooDeep(f"the document is nested deeper than {MAX_DEPTH} levels", mark)
