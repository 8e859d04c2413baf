"""A shape laid out as a proto message: names, numbers, and the text.

Every single value has presence, so that 0, false and "" are told from what was not given. A property whose name is no
proto name keeps it as the field's JSON name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from jobworkerp_standalone.schema.shape import Kind, Member, Shape

_WORD: Final = re.compile(r"[A-Za-z0-9]+")
_NOT_A_NAME: Final = re.compile(r"[^A-Za-z0-9_]")
_UNPRINTED: Final = re.compile(r"[\x00-\x1f\x7f]")
_RESERVED_NUMBERS: Final = range(19_000, 20_000)
_MAX_NOTE: Final = 400


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message, and the property that it stands for."""

    name: str
    number: int
    member: Member
    message: Layout | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """A message."""

    name: str
    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Extra:
    """A field that is ours and stands for no property."""

    name: str
    number: int
    type: str
    note: str


def lay_out(shape: Shape, name: str, extras: Iterable[Extra] = (), first_number: int = 1) -> Layout:
    """Return the message ``name`` for an object, its numbers in the order of its properties from ``first_number``.

    An extra gives way to a property of its name, so look for it in the text that was made.
    """
    own = {each.name: each.number for each in extras}
    return _Planner(own, first_number).message(shape.members, name)


def free_extras(shape: Shape, extras: Iterable[Extra]) -> tuple[Extra, ...]:
    """Return those extras whose names no property has taken."""
    taken = {_key(_field_name(member.name)) for member in shape.members}
    return tuple(each for each in extras if _key(each.name) not in taken)


def layout_text(layout: Layout, note: str, extras: Sequence[Extra] = ()) -> str:
    """Return the proto text whose root message is ``layout``; what it is made of is declared within it."""
    lines = ['syntax = "proto3";', "", *_comment(note, ""), f"message {layout.name} {{"]
    first = layout.fields[0].number if layout.fields else 0
    before = [each for each in extras if each.number < first]
    lines += _extra_lines(before)
    lines += _field_lines(layout, "  ")
    lines += _extra_lines(each for each in extras if each not in before)
    for nested in _nested(layout):
        lines += ["", f"  message {nested.name} {{", *_field_lines(nested, "    "), "  }"]
    return "\n".join([*lines, "}", ""])


def pascal_case(*parts: str) -> str:
    """Return a message name: the words of ``parts``, each with a capital."""
    name = "".join(word[0].upper() + word[1:] for part in parts for word in _WORD.findall(part))
    return f"M{name}" if not name or name[0].isdigit() else name


class _Planner:
    """Gives names and numbers. Messages are declared side by side in the root, which also holds the root's fields."""

    def __init__(self, own: dict[str, int], first_number: int) -> None:
        self._own = own
        self._first = first_number
        self._declared: set[str] = set()

    def message(self, members: tuple[Member, ...], name: str) -> Layout:
        """Lay out the root."""
        taken_numbers = set(self._own.values())
        names = _unique_names((member.name for member in members), set(map(_key, self._own)))
        self._declared = {name, *names, *self._own}
        numbers = (number for number in _numbers(self._first) if number not in taken_numbers)
        return Layout(name, tuple(self._fields(members, names, numbers, "")))

    def _fields(
        self, members: tuple[Member, ...], names: list[str], numbers: Iterator[int], path: str
    ) -> Iterator[Field]:
        for member, name, number in zip(members, names, numbers, strict=False):
            message = None
            if member.shape.kind is Kind.OBJECT:
                message = self._nested(member, f"{path}_{member.name}")
            yield Field(name, number, member, message)

    def _nested(self, member: Member, path: str) -> Layout:
        base = name = pascal_case(path)
        count = 1
        while name in self._declared:
            count += 1
            name = f"{base}{count}"
        self._declared.add(name)
        inner = member.shape.members
        names = _unique_names((each.name for each in inner), set())
        return Layout(name, tuple(self._fields(inner, names, _numbers(1), path)))


def _numbers(first: int) -> Iterator[int]:
    number = first
    while True:
        if number not in _RESERVED_NUMBERS:
            yield number
        number += 1


def _field_name(given: str) -> str:
    name = _NOT_A_NAME.sub("_", given) or "field"
    return f"_{name}" if name[0].isdigit() else name


def _unique_names(given: Iterable[str], keys: set[str]) -> list[str]:
    """Return field names that differ, also as JSON names. Properties that are good names keep them."""
    properties = list(given)
    names: dict[str, str] = {}
    for each in properties:
        if _field_name(each) == each and _key(each) not in keys:
            keys.add(_key(each))
            names[each] = each
    for each in properties:
        base = name = _field_name(each)
        count = 1
        while each not in names and _key(name) in keys:
            count += 1
            name = f"{base}_{count}"
        keys.add(_key(name))
        names.setdefault(each, name)
    return [names[each] for each in properties]


def _json_name(name: str) -> str:
    """Return the JSON name that a field has if nothing else is said."""
    return re.sub(r"_+([a-z0-9A-Z]?)", lambda found: found[1].upper(), name)


def _key(name: str) -> str:
    return name.replace("_", "").lower()


def _nested(layout: Layout) -> Iterator[Layout]:
    for field in layout.fields:
        if field.message is not None:
            yield field.message
            yield from _nested(field.message)


def _field_lines(layout: Layout, indent: str) -> Iterator[str]:
    properties = {field.member.name for field in layout.fields}
    for field in layout.fields:
        shape = field.member.shape
        kind = field.message.name if field.message else "string" if shape.kind is Kind.JSON else shape.kind.value
        label = "repeated" if shape.many else "optional"
        name = field.member.name
        implied = _json_name(field.name)
        plain = name == field.name and (implied == name or implied not in properties)
        option = "" if plain else f" [json_name = {json.dumps(name, ensure_ascii=False)}]"
        yield from _comment(_field_note(field.member), indent)
        yield f"{indent}{label} {kind} {field.name} = {field.number}{option};"


def _extra_lines(extras: Iterable[Extra]) -> Iterator[str]:
    for each in extras:
        yield from _comment(each.note, "  ")
        yield f"  {each.type} {each.name} = {each.number};"


def _field_note(member: Member) -> str:
    parts = [member.shape.note]
    if member.shape.kind is Kind.JSON:
        parts.append("JSON text, or plain text." if member.shape.takes_text else "JSON text.")
    if member.required:
        parts.append("Required.")
    return " ".join(part if part.endswith((".", "!", "?")) else f"{part}." for part in parts if part)


def _comment(note: str, indent: str) -> Iterator[str]:
    told = " ".join(_UNPRINTED.sub(" ", note).split())
    if told:
        yield f"{indent}// {told if len(told) <= _MAX_NOTE else told[: _MAX_NOTE - 3] + '...'}"
