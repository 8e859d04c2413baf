"""The proto text of a class."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from enum import Enum
from typing import Any, Final

from jobworkerp_standalone.plugin.errors import PluginMistake
from jobworkerp_standalone.plugin.shapes import MISSING, Field, Kind, Shape, enum_values, shape_of

_WORD_START: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def proto_text(type_: Any) -> str:
    """Return the schema of a class, root message first. ASCII, as clients expect it.

    Raises:
        PluginMistake: it cannot be a message.
    """
    shapes, enums = _reached(type_)
    names = Counter(each.__name__ for each in (*(shape.type for shape in shapes), *enums))
    for name, times in names.items():
        if times > 1:
            raise PluginMistake(f"two classes of one schema are called {name}: rename one")
    spellings = EnumNames(enums)
    blocks = [_message(shape) for shape in shapes] + [_enum(each, spellings) for each in enums]
    return "\n\n".join(['syntax = "proto3";', *blocks]) + "\n"


class EnumNames:
    """Names of enum values. All enums of a schema share one scope, so names that clash get their enum's in front."""

    def __init__(self, enums: list[type[Enum]]) -> None:
        self._taken = Counter(member.name for each in enums for member in each)

    def of(self, member: Enum) -> str:
        """Return the name of a member in the schema."""
        return member.name if self._taken[member.name] == 1 else f"{_upper(type(member))}_{member.name}"


def _reached(root: Any) -> tuple[list[Shape], list[type[Enum]]]:
    """Return every message and enum that the root needs, in the order of their use; a class may contain itself."""
    shapes: list[Shape] = []
    enums: list[type[Enum]] = []
    pending, seen = [root], {root}
    for type_ in pending:
        shape = shape_of(type_)
        shapes.append(shape)
        for field in shape.fields:
            wanted = field.kind.type
            if wanted is not None and wanted not in seen:
                seen.add(wanted)
                (enums if field.kind.name == "enum" else pending).append(wanted)
    return shapes, enums


def _message(shape: Shape) -> str:
    lines = [*_comment(shape.comment, ""), f"message {shape.name} {{"]
    for field in shape.fields:
        lines += _comment(_notes(field), "  ")
        lines.append(f"  {_type(field)} {field.name} = {field.number};")
    return "\n".join([*lines, "}"])


def _type(field: Field) -> str:
    value = _name(field.kind)
    if field.map_key:
        return f"map<{field.map_key}, {value}>"
    if field.repeated:
        return f"repeated {value}"
    return f"optional {value}" if field.optional else value


def _name(kind: Kind) -> str:
    return kind.name if kind.type is None else kind.type.__name__


def _notes(field: Field) -> str:
    notes = [field.comment.rstrip()] if field.comment else []
    if field.kind.choices:
        notes.append(f"One of: {', '.join(field.kind.choices)}.")
    if field.default is not MISSING and field.kind.name != "message":
        default = field.default()
        if default not in (None, "", b"", 0, False) and default:
            shown = default.name if isinstance(default, Enum) else repr(default)
            notes.append(f"Default: {shown}.")
    return "\n".join(notes)


def _enum(type_: type[Enum], spellings: EnumNames) -> str:
    numbers = enum_values(type_)
    if len(set(numbers.values())) < len(numbers):
        raise PluginMistake(f"two members of {type_.__name__} have the same number")
    ordered = sorted(numbers.items(), key=lambda pair: pair[1])
    lines = [f"enum {type_.__name__} {{"]
    if ordered and ordered[0][1] != 0:
        lines.append(f"  {_upper(type_)}_UNSPECIFIED = 0;")
    lines += [f"  {spellings.of(member)} = {number};" for member, number in ordered]
    return "\n".join([*lines, "}"])


def _upper(type_: type[Enum]) -> str:
    return _WORD_START.sub("_", type_.__name__).upper()


def _comment(text: str, indent: str) -> Iterator[str]:
    for line in text.splitlines():
        yield f"{indent}// {line.strip()}".encode("ascii", "replace").decode().rstrip()
