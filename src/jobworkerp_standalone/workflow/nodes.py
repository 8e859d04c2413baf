"""A document as a tree of values that know their place in the text."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

MAX_DEPTH: Final = 100
MAX_NODES: Final = 200_000
"""Most values of a document, those that aliases repeat included."""
_HALF_A_PAIR: Final = re.compile("[\ud800-\udfff]")


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
        """Return an object of these.

        Raises:
            Unreadable: a key cannot stand in a pointer, as those are told in UTF-8.
        """
        for key in members:
            if not key.isascii() and _HALF_A_PAIR.search(key):
                raise Unreadable(f"the key {key!a} holds half of a surrogate pair", keys.get(key, mark))
        node = cls({key: value.plain for key, value in members.items()}, mark)
        node.members = members
        node.keys = keys
        node._grow(members.values())
        return node

    def _grow(self, inside: Any) -> None:
        self.size += sum(each.size for each in inside)
        if self.size > MAX_NODES:
            raise Unreadable(f"the document has more than {MAX_NODES} values, repeated aliases included", self.mark)


def finite(value: float, text: str, mark: Mark) -> float:
    """Return the number, if JSON can hold it; ``text`` is how it is written."""
    if value - value != 0.0:
        raise Unreadable(f"{text[:40]} is not a number that JSON can hold", mark)
    return value


def too_deep(mark: Mark) -> TooDeep:
    """Return the refusal of a document that is nested too deep."""
    return TooDeep(f"the document is nested deeper than {MAX_DEPTH} levels", mark)
