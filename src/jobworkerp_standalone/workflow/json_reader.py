"""JSON text to a tree that knows its lines and columns."""

from __future__ import annotations

import re
from bisect import bisect_right
from json import decoder
from typing import Any, Final, cast

from jobworkerp_standalone.workflow.nodes import MAX_DEPTH, Mark, Node, Unreadable, finite, too_deep

_scan_string: Final = cast("Any", decoder).scanstring  # what json.loads uses: fast, and strict about escapes
_SPACE: Final = re.compile(r"[ \t\r\n]*")
_NUMBER: Final = re.compile(r"(-?(?:0|[1-9][0-9]*))(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_WORDS: Final = {"true": True, "false": False, "null": None}
_WORD: Final = re.compile(r"true|false|null")
MAX_DIGITS: Final = 1000


def read_json(text: str) -> Node:
    """Return the tree of a JSON text.

    Raises:
        Unreadable: it is none.
    """
    return _Json(text).document()


class _Json:
    """A reader of one text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._lines = [0, *(match.end() for match in re.finditer("\n", text))]

    def document(self) -> Node:
        node, end = self._value(self._skip(0), 0)
        end = self._skip(end)
        if end != len(self._text):
            raise self._wrong(end, "there is text after the end of the JSON document")
        return node

    def _skip(self, at: int) -> int:
        match = _SPACE.match(self._text, at)
        return match.end() if match else at

    def _mark(self, at: int) -> Mark:
        line = bisect_right(self._lines, at)
        return Mark(line, at - self._lines[line - 1] + 1)

    def _wrong(self, at: int, message: str) -> Unreadable:
        return Unreadable(message, self._mark(min(at, len(self._text))))

    def _value(self, at: int, depth: int) -> tuple[Node, int]:
        if depth > MAX_DEPTH:
            raise too_deep(self._mark(at))
        match self._text[at : at + 1]:
            case "{":
                return self._object(at, depth)
            case "[":
                return self._array(at, depth)
            case '"':
                text, end = self._string(at)
                return Node(text, self._mark(at)), end
            case _:
                return self._scalar(at)

    def _scalar(self, at: int) -> tuple[Node, int]:
        word = _WORD.match(self._text, at)
        if word:
            return Node(_WORDS[word.group()], self._mark(at)), word.end()
        number = _NUMBER.match(self._text, at)
        if number is None:
            raise self._wrong(at, "a JSON value is expected here")
        whole, fraction, exponent = cast("tuple[str, str | None, str | None]", number.groups())
        if len(number.group()) > MAX_DIGITS:
            raise self._wrong(at, f"the number has more than {MAX_DIGITS} digits")
        if fraction or exponent:
            return Node(finite(float(number.group()), number.group(), self._mark(at)), self._mark(at)), number.end()
        return Node(int(whole), self._mark(at)), number.end()

    def _string(self, at: int) -> tuple[str, int]:
        try:
            return cast("tuple[str, int]", _scan_string(self._text, at + 1, True))
        except ValueError as error:
            raise self._wrong(getattr(error, "pos", at), f"the text is not valid JSON: {_reason(error)}") from error

    def _array(self, at: int, depth: int) -> tuple[Node, int]:
        items: list[Node] = []
        end = self._skip(at + 1)
        if self._text[end : end + 1] == "]":
            return Node.array(items, self._mark(at)), end + 1
        while True:
            item, end = self._value(end, depth + 1)
            items.append(item)
            end = self._skip(end)
            follows = self._text[end : end + 1]
            if follows == "]":
                return Node.array(items, self._mark(at)), end + 1
            if follows != ",":
                raise self._wrong(end, "',' or ']' is expected here")
            end = self._skip(end + 1)

    def _object(self, at: int, depth: int) -> tuple[Node, int]:
        members: dict[str, Node] = {}
        keys: dict[str, Mark] = {}
        end = self._skip(at + 1)
        if self._text[end : end + 1] == "}":
            return Node.object(members, keys, self._mark(at)), end + 1
        while True:
            end = self._member(end, depth, members, keys)
            end = self._skip(end)
            follows = self._text[end : end + 1]
            if follows == "}":
                return Node.object(members, keys, self._mark(at)), end + 1
            if follows != ",":
                raise self._wrong(end, "',' or '}' is expected here")
            end = self._skip(end + 1)

    def _member(self, at: int, depth: int, members: dict[str, Node], keys: dict[str, Mark]) -> int:
        if self._text[at : at + 1] != '"':
            raise self._wrong(at, "a key in quotes is expected here")
        key, end = self._string(at)
        if key in members:
            raise duplicate(key, self._mark(at), keys[key])
        end = self._skip(end)
        if self._text[end : end + 1] != ":":
            raise self._wrong(end, "':' is expected here")
        members[key], end = self._value(self._skip(end + 1), depth + 1)
        keys[key] = self._mark(at)
        return end


def duplicate(key: str, mark: Mark, first: Mark) -> Unreadable:
    """Return the refusal of a key that is there twice."""
    return Unreadable(
        f"the key '{key}' is there twice; first on line {first.line}", mark, "remove or rename one of both"
    )


def _reason(error: ValueError) -> str:
    return str(getattr(error, "msg", error)).rstrip(": at").lower()
