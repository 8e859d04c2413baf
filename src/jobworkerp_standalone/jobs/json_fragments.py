"""JSON text in fragments of bounded size: who handles a large value by them keeps nobody waiting for long.

The text of all fragments together is the JSON text of the value. Each says what it is, so that it can be read without
the others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple, TypeAlias, TypeVar

from jobworkerp_standalone.jobs.json_size import size_up_to

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"
"""Values are never changed in place: parts of the document and of other values are handed out as they are."""
LARGEST: Final = 32_768
"""About how many characters a fragment has, before what needs escaping is escaped."""
WHOLE, BEGIN_LIST, BEGIN_OBJECT, BEGIN_TEXT, ITEMS, MEMBERS, CHARACTERS, KEY, COMMA, END = range(10)

_T = TypeVar("_T")


class Fragment(NamedTuple):
    """A part of a JSON text."""

    kind: int
    text: str


def fragments_of(value: JSON, write: Callable[[JSON], str] = json.dumps) -> Iterator[Fragment]:
    """Write a value; ``write`` says how a part of it is written.

    Raises:
        ValueError, TypeError, RecursionError: it cannot be written as JSON.
    """
    if not isinstance(value, (str, list, dict)) or not _is_large(value):
        yield Fragment(WHOLE, write(value))
    elif isinstance(value, str):
        yield Fragment(BEGIN_TEXT, '"')
        for at in range(0, len(value), LARGEST):
            yield Fragment(CHARACTERS, write(value[at : at + LARGEST])[1:-1])
        yield Fragment(END, '"')
    elif isinstance(value, list):
        yield Fragment(BEGIN_LIST, "[")
        yield from _list(value, write)
        yield Fragment(END, "]")
    else:
        yield Fragment(BEGIN_OBJECT, "{")
        yield from _object(value, write)
        yield Fragment(END, "}")


def _is_large(value: JSON) -> bool:
    return size_up_to(LARGEST, (value,)) > LARGEST


def _list(items: list[JSON], write: Callable[[JSON], str]) -> Iterator[Fragment]:
    for number, some in enumerate(_grouped((item, size_up_to(LARGEST, (item,))) for item in items)):
        if number:
            yield Fragment(COMMA, ",")
        if len(some) == 1:
            yield from fragments_of(some[0], write)
        else:
            yield Fragment(ITEMS, write(some)[1:-1])


def _object(members: dict[str, JSON], write: Callable[[JSON], str]) -> Iterator[Fragment]:
    for number, some in enumerate(_grouped((member, size_up_to(LARGEST, member)) for member in members.items())):
        if number:
            yield Fragment(COMMA, ",")
        if len(some) == 1:
            ((key, value),) = some
            yield Fragment(KEY, write(key) + ":")
            yield from fragments_of(value, write)
        else:
            yield Fragment(MEMBERS, write(dict(some))[1:-1])


def _grouped(sized: Iterable[tuple[_T, int]]) -> Iterator[list[_T]]:
    """Put neighbours together as long as they fit into a fragment; what does not fit is alone."""
    group: list[_T] = []
    room = LARGEST
    for each, size in sized:
        if size > room and group:
            yield group
            group, room = [], LARGEST
        group.append(each)
        room -= size
    if group:
        yield group


class Reader:
    """Reads a value from the fragments of its text, in their order."""

    def __init__(self) -> None:
        self._open: list[_Text | list[JSON] | dict[str, JSON]] = []
        self._keys: list[str] = []
        self._value: JSON = None

    def take(self, kind: int, text: str) -> None:
        """Read the next fragment."""
        if kind == END:
            self._close()
        elif kind == KEY:
            self._keys.append(json.loads(text[:-1]))
        elif kind == WHOLE:
            self._put(json.loads(text))
        elif kind in (BEGIN_LIST, BEGIN_OBJECT, BEGIN_TEXT):
            self._open.append(_Text() if kind == BEGIN_TEXT else [] if kind == BEGIN_LIST else {})
        elif kind != COMMA:
            self._more(text)

    @property
    def value(self) -> JSON:
        """Return what was read; after the last fragment only."""
        return self._value

    def _more(self, text: str) -> None:
        container = self._open[-1]
        if isinstance(container, _Text):
            container.parts.append(json.loads(f'"{text}"'))
        elif isinstance(container, list):
            container.extend(json.loads(f"[{text}]"))
        else:
            container.update(json.loads(f"{{{text}}}"))

    def _close(self) -> None:
        ended = self._open.pop()
        self._put("".join(ended.parts) if isinstance(ended, _Text) else ended)

    def _put(self, value: JSON) -> None:
        if not self._open:
            self._value = value
            return
        container = self._open[-1]
        if isinstance(container, list):
            container.append(value)
        elif isinstance(container, dict):
            container[self._keys.pop()] = value


class _Text:
    def __init__(self) -> None:
        self.parts: list[str] = []
