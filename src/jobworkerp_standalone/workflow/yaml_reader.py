"""YAML text to a tree that knows its lines and columns.

Plain scalars are read as YAML 1.2 has them (core schema): ``yes``, ``no``, ``on`` and ``off`` are text, ``1:30`` is
text, dates are text. Anchors and aliases work; merge keys are not part of YAML 1.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, cast

import yaml

from jobworkerp_standalone.workflow.json_reader import MAX_DIGITS, duplicate
from jobworkerp_standalone.workflow.nodes import MAX_DEPTH, Mark, Node, Unreadable, finite, too_deep

_LOADER: Final = cast("type[Any]", getattr(yaml, "CSafeLoader", yaml.SafeLoader))
_INT: Final = re.compile(r"[-+]?[0-9]+\Z")
_OCTAL: Final = re.compile(r"0o[0-7]+\Z")
_HEX: Final = re.compile(r"0x[0-9a-fA-F]+\Z")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_QUOTED: Final = re.compile(r"(?<![^\s:,\[{])(?:'[^']*'|\"(?:[^\"\\]|\\.)*\")")
_SPECIAL: Final = re.compile(r"[-+]?\.(inf|Inf|INF)\Z|\.(nan|NaN|NAN)\Z")
_WORDS: Final[dict[str, bool | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_TAG: Final = "tag:yaml.org,2002:"
_TAGS: Final = {f"{_TAG}{name}" for name in ("str", "int", "float", "bool", "null", "map", "seq")} | {"!"}


def read_yaml(text: str) -> Node:
    """Return the tree of a YAML text that holds one document.

    Raises:
        Unreadable: it is none.
    """
    try:
        return _Yaml(text).document()
    except yaml.MarkedYAMLError as error:
        message, where = _complaint(text, error)
        raise Unreadable(f"the text is not valid YAML: {message}", _mark(where), _hint(text, where)) from error
    except yaml.reader.ReaderError as error:
        raise _unacceptable(text, error) from error
    except UnicodeEncodeError as error:
        raise Unreadable(f"the text is not valid YAML: it has half a surrogate pair at {error.start}") from error


def _complaint(text: str, error: yaml.MarkedYAMLError) -> tuple[str, Any]:
    """Return what is wrong, and the mark of where: of what has no end its beginning."""
    begins, where = error.context_mark, error.problem_mark or error.context_mark
    context = error.context
    if begins is not None and where is not None and begins.line < where.line:
        if not text[where.index :].strip():
            where = begins
        else:
            context = f"{context} that begins at line {begins.line + 1}, column {begins.column + 1}"
    return ", ".join(part for part in (context, error.problem) if part) or "no reason is given", where


def _hint(text: str, mark: Any) -> str | None:
    """Return what helps at the place where YAML ended to be understood."""
    if mark is None:
        return None
    if text[mark.index : mark.index + 1] == "\t":
        return "indent with spaces: YAML allows no tabs there"
    line = text[text.rfind("\n", 0, mark.index) + 1 : mark.index + 1]
    return 'put the expression in quotes: "${ ... }"' if "${" in _QUOTED.sub("", line) else None


def _unacceptable(text: str, error: yaml.reader.ReaderError) -> Unreadable:
    found = next((place for place, each in enumerate(text) if ord(each) == error.character), len(text))
    before = text[:found]
    mark = Mark(before.count("\n") + 1, found - before.rfind("\n"))
    return Unreadable(
        f"the text is not valid YAML: the character U+{error.character:04X} is not allowed in it", mark, "remove it"
    )


def _mark(mark: Any) -> Mark:
    return Mark(mark.line + 1, mark.column + 1) if mark is not None else Mark()


class _Yaml:
    """A composer over the events of one text."""

    def __init__(self, text: str) -> None:
        self._events = cast("Iterator[Any]", cast("Any", yaml).parse(text, Loader=_LOADER))
        self._anchors: dict[str, Node | None] = {}

    def document(self) -> Node:
        next(self._events)  # the start of the stream
        event = next(self._events)
        if isinstance(event, yaml.StreamEndEvent):
            raise Unreadable("the document is empty", Mark(1, 1))
        node = self._node(next(self._events), 0)
        next(self._events)  # the end of the document
        event = next(self._events)
        if not isinstance(event, yaml.StreamEndEvent):
            raise Unreadable("the text holds more than one document", _mark(event.start_mark), "remove the '---'")
        return node

    def _node(self, event: Any, depth: int) -> Node:
        mark = _mark(event.start_mark)
        if depth > MAX_DEPTH:
            raise too_deep(mark)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(cast("str", event.anchor), mark)
        anchor = cast("str | None", event.anchor)
        if anchor is not None:
            self._anchors[anchor] = None
        if event.tag is not None and event.tag not in _TAGS:
            tag = event.tag.replace(_TAG, "!!")
            raise Unreadable(f"the tag {tag} is not known", mark, "remove it")
        node = self._content(event, mark, depth)
        if anchor is not None:
            self._anchors[anchor] = node
        return node

    def _content(self, event: Any, mark: Mark, depth: int) -> Node:
        if isinstance(event, yaml.ScalarEvent):
            return Node(_scalar(event, mark), mark)
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[Node] = []
            while not isinstance(inner := next(self._events), yaml.SequenceEndEvent):
                items.append(self._node(inner, depth + 1))
            return Node.array(items, mark)
        return self._mapping(mark, depth)

    def _mapping(self, mark: Mark, depth: int) -> Node:
        members: dict[str, Node] = {}
        keys: dict[str, Mark] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            place = _mark(event.start_mark)
            key = self._key(event, place)
            if key in members:
                raise duplicate(key, place, keys[key])
            keys[key] = place
            members[key] = self._node(next(self._events), depth + 1)
        return Node.object(members, keys, mark)

    def _key(self, event: Any, mark: Mark) -> str:
        if not isinstance(event, yaml.ScalarEvent):
            raise Unreadable("a key must be text", mark)
        key = cast("str", cast("Any", event).value)
        if key == "<<" and cast("Any", event).implicit[0]:
            raise Unreadable("merge keys (<<) are not part of YAML 1.2", mark, "write the members out")
        return key

    def _alias(self, name: str, mark: Mark) -> Node:
        node = self._anchors.get(name)
        if node is None:
            inside = name in self._anchors
            message = (
                f"the alias *{name} stands inside of what it names" if inside else f"no anchor &{name} is known here"
            )
            raise Unreadable(message, mark)
        return node


def _scalar(event: Any, mark: Mark) -> Any:
    text = cast("str", event.value)
    tag = cast("str | None", event.tag)
    plain = event.implicit[0]
    if tag in {f"{_TAG}str", "!"} or (tag is None and not plain):
        return text
    value = _plain(text, mark)
    if tag is not None and not _fits(tag.removeprefix(_TAG), value):
        raise Unreadable(f"'{text}' is not of the type that its tag names", mark)
    return value


def _plain(text: str, mark: Mark) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if not (text[0].isdigit() or text[0] in "+-."):
        return text
    if len(text) > MAX_DIGITS and any(kind.match(text) for kind in (_INT, _FLOAT, _OCTAL, _HEX)):
        raise Unreadable(f"the number has more than {MAX_DIGITS} digits", mark)
    if _INT.match(text):
        return int(text)
    if _OCTAL.match(text) or _HEX.match(text):
        return int(text, 0)
    if _FLOAT.match(text):
        return finite(float(text), text, mark)
    if _SPECIAL.match(text):
        raise Unreadable(f"{text} is not a number that JSON can hold", mark)
    return text


def _fits(tag: str, value: Any) -> bool:
    types: dict[str, Any] = {"int": int, "float": (int, float), "bool": bool, "null": type(None)}
    wanted = types.get(tag)
    return wanted is not None and isinstance(value, wanted) and (tag == "bool" or not isinstance(value, bool))
