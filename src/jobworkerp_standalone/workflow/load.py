"""From a text or an object to a checked document, with all problems at once."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from threading import Lock
from typing import Final, TypeVar

import anyio.to_thread

from jobworkerp_standalone.workflow.decode.cursor import At, Notes
from jobworkerp_standalone.workflow.decode.document import function, workflow
from jobworkerp_standalone.workflow.json_reader import read_json
from jobworkerp_standalone.workflow.model.document import Use, Workflow
from jobworkerp_standalone.workflow.model.tasks import Task
from jobworkerp_standalone.workflow.nodes import Mark, Node, TooDeep, Unreadable
from jobworkerp_standalone.workflow.pointers import unescaped
from jobworkerp_standalone.workflow.problems import InvalidDocument, Problem
from jobworkerp_standalone.workflow.yaml_reader import read_yaml

MAX_TEXT: Final = 10 * 1024 * 1024
"""Characters of a document."""
_CACHED_TEXT: Final = 16 * 1024 * 1024
"""Characters of all texts whose documents are kept."""
_CACHED: Final = 256
_INDEX: Final = re.compile("[0-9]{1,9}")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A document that may run, and what is odd about it."""

    text: str
    document: Workflow
    warnings: tuple[Problem, ...] = ()
    children: tuple[tuple[str, Problem], ...] = ()
    """Documents that it names, by path or URL, and for each what is to be told where it is not there."""


def load_text(text: str, *, bare: bool = False) -> Loaded:
    """Read a document, JSON or YAML. The same text is read once only.

    Args:
        text: the document.
        bare: allow an object with ``do`` but without ``document``; its name is ``default-workflow``.

    Raises:
        InvalidDocument: it has problems.
    """
    known = _cache.get(text, bare=bare)
    if known is None:
        document, notes = _read(text, lambda at: workflow(at, bare=bare))
        known = Loaded(text, document, _in_order(notes.warnings), tuple(map(_named, notes.files)))
        _cache.put(text, known, bare=bare)
    return known


async def load_text_async(text: str, *, bare: bool = False) -> Loaded:
    """Read a document as ``load_text`` does, in a thread: with many expressions or aliases a short one takes long too.

    Raises:
        InvalidDocument: it has problems.
    """
    known = _cache.get(text, bare=bare)
    if known is not None:
        return known
    return await anyio.to_thread.run_sync(lambda: load_text(text, bare=bare))


def load_function(text: str, name: str, use: Use, pointer: str) -> Task:
    """Read a function that is a file of its own: the definition of one task.

    Args:
        text: the file.
        name: what the function is called.
        use: what the document declares that calls it.
        pointer: where its tasks are said to be, which must be no place of that document.

    Raises:
        InvalidDocument: it has problems; their pointers are those of the file.
    """
    try:
        return _read(text, lambda at: function(name, at, use), pointer)[0]
    except InvalidDocument as error:
        found = [replace(each, pointer=each.pointer.removeprefix(pointer)) for each in error.problems]
        raise InvalidDocument(found) from error


def _read(text: str, decode: Callable[[At], T], pointer: str = "") -> tuple[T, Notes]:
    """Return what is read from a text, and what was noted on the way."""
    notes = Notes([line.rstrip("\r") for line in text.split("\n")] if len(text) <= MAX_TEXT else [])
    try:
        node = parse(text)
    except Unreadable as error:
        notes.note(error.mark, "", error.message, error.suggestion)
        raise InvalidDocument(notes.problems) from error
    found = decode(At(node, pointer, notes))
    for child in notes.documents:
        _read_child(child, notes)
    if notes.problems:
        raise InvalidDocument(_in_order(notes.problems), _in_order(notes.warnings))
    return found, notes


def _named(at: At) -> tuple[str, Problem]:
    mark = at.node.mark
    message = f"there is no file {at.value}: the task faults where it is still missing then"
    text = at.notes.lines[mark.line - 1] if 0 < mark.line <= len(at.notes.lines) else ""
    remedy = "relative paths are looked for in the working directory"
    return at.value, Problem(mark.line, mark.column, at.pointer, message, remedy, text)


def _read_child(at: At, notes: Notes) -> None:
    """Note what is wrong with a document that a task runs; of one that is a text, all at its place."""
    if at.is_object:
        inside = Notes(notes.lines)
        workflow(At(at.node, at.pointer, inside, at.key), bare=True)
        for child in inside.documents:
            _read_child(child, inside)
        notes.problems += inside.problems
        notes.warnings += inside.warnings
        notes.files += inside.files
    elif isinstance(at.value, str):
        try:
            _read(at.value, lambda child: workflow(child, bare=True))
        except InvalidDocument as error:
            at.wrong(str(error))


def _in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    return tuple(sorted(dict.fromkeys(problems), key=lambda each: (each.line, each.column)))


def mark_of(text: str, pointer: str) -> Mark | None:
    """Return where something in a document that was read stands: the longest part of its pointer that is there."""
    node, mark = parse(text), None
    for key in map(unescaped, pointer.split("/")[1:]):
        if node.members is not None and key in node.members:
            node, mark = node.members[key], node.keys[key]
        elif node.items is not None and _INDEX.fullmatch(key) and int(key) < len(node.items):
            node = node.items[int(key)]
            mark = node.mark
        else:
            break
    return mark


def parse(text: str) -> Node:
    """Return the tree of a text: JSON, else YAML.

    Raises:
        Unreadable: it is neither.
    """
    if len(text) > MAX_TEXT:
        raise Unreadable(f"the document has {len(text)} characters; at most {MAX_TEXT} are read")
    text = text.removeprefix("\ufeff")
    if not text.lstrip().startswith(("{", "[")):
        return read_yaml(text)
    try:
        return read_json(text)
    except TooDeep:
        raise
    except Unreadable as error:
        wrong = error
    try:
        return read_yaml(text)
    except Unreadable as error:
        # The one that came further knows better; where YAML only missed an end, JSON says what.
        ended = error.mark.line > text.count("\n") + 1
        raise wrong if ended or wrong.mark >= error.mark else error from None


class _Cache:
    """Documents by their text; those not used for longest go first."""

    def __init__(self) -> None:
        self._found: OrderedDict[tuple[bool, str], Loaded] = OrderedDict()
        self._size = 0
        self._lock = Lock()

    def get(self, text: str, *, bare: bool) -> Loaded | None:
        with self._lock:
            found = self._found.get((bare, text))
            if found is not None:
                self._found.move_to_end((bare, text))
            return found

    def put(self, text: str, found: Loaded, *, bare: bool) -> None:
        if len(text) > _CACHED_TEXT // 4:
            return
        with self._lock:
            if (bare, text) not in self._found:
                self._size += len(text)
            self._found[bare, text] = found
            while len(self._found) > _CACHED or self._size > _CACHED_TEXT:
                (_, oldest), _ = self._found.popitem(last=False)
                self._size -= len(oldest)


_cache: Final = _Cache()
