"""A schema for people: fields with their types and comments, and an example that fits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)

from jobworkerp_standalone.schema.text import declared_in

_TYPES: Final = {number: name.removeprefix("TYPE_").lower() for name, number in FieldDescriptorProto.Type.items()}
_MESSAGE_FIELD: Final = 2
_NESTED: Final = 3
_MESSAGE: Final = 4
_MOST_DEEP: Final = 6
_NUMBERS: Final = ("double", "float")


@dataclass(frozen=True, slots=True)
class _Schema:
    """What a text declares, by full name."""

    root: str
    messages: Mapping[str, DescriptorProto]
    enums: Mapping[str, EnumDescriptorProto]
    comments: Mapping[tuple[int, ...], str]
    places: Mapping[str, tuple[int, ...]]


def outline(text: str) -> list[str]:
    """Return lines that describe the root message and, once each, what it contains.

    Raises:
        BadProtoText: the text is no schema.
    """
    schema = _read(text)
    lines: list[str] = []
    pending, seen = [schema.root], {schema.root}
    for name in pending:
        if lines:
            lines.append("")
        lines += _message_lines(schema, name)
        for field in schema.messages[name].field:
            inner = _value_type(schema, field)
            if inner in schema.messages and inner not in seen:
                seen.add(inner)
                pending.append(inner)
    return lines


def as_tree(text: str) -> list[dict[str, Any]]:
    """Return the fields of the root message as JSON: name, type, comment and, where it has one, its oneof.

    Raises:
        BadProtoText: the text is no schema.
    """
    schema = _read(text)
    return [_field_tree(schema, schema.root, index) for index in range(len(schema.messages[schema.root].field))]


def example(text: str) -> dict[str, Any]:
    """Return JSON that fits the root message: every field once, of a oneof the first.

    Raises:
        BadProtoText: the text is no schema.
    """
    schema = _read(text)
    return _example(schema, schema.root, ())


def _read(text: str) -> _Schema:
    file = declared_in(text)
    prefix = f".{file.package}" if file.package else ""
    messages: dict[str, DescriptorProto] = {}
    enums: dict[str, EnumDescriptorProto] = {}
    places: dict[str, tuple[int, ...]] = {}
    enums |= {f"{prefix}.{each.name}": each for each in file.enum_type}
    for index, message in enumerate(file.message_type):
        for name, each, place in _with_nested(f"{prefix}.{message.name}", message, (_MESSAGE, index)):
            messages[name], places[name] = each, place
            enums |= {f"{name}.{inner.name}": inner for inner in each.enum_type}
    return _Schema(f"{prefix}.{file.message_type[0].name}", messages, enums, _comments(file), places)


def _with_nested(
    name: str, message: DescriptorProto, place: tuple[int, ...]
) -> Iterator[tuple[str, DescriptorProto, tuple[int, ...]]]:
    yield name, message, place
    for index, inner in enumerate(message.nested_type):
        yield from _with_nested(f"{name}.{inner.name}", inner, (*place, _NESTED, index))


def _comments(file: FileDescriptorProto) -> dict[tuple[int, ...], str]:
    found = (
        (tuple(each.path), each.leading_comments or each.trailing_comments) for each in file.source_code_info.location
    )
    return {path: " ".join(comment.split()) for path, comment in found if comment.strip()}


def _message_lines(schema: _Schema, name: str) -> Iterator[str]:
    message, place = schema.messages[name], schema.places[name]
    comment = schema.comments.get(place, "")
    yield f"{_short(name)}{': ' + comment if comment else ''}"
    rows = [_field_tree(schema, name, index) for index in range(len(message.field))]
    if not rows:
        yield "  (no fields)"
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        group = f"  (one of {row['oneof']})" if "oneof" in row else ""
        yield f"  {row['name']:{width}}  {row['type']}{group}"
        if row.get("comment"):
            yield f"  {'':{width}}    {row['comment']}"


def _field_tree(schema: _Schema, message: str, index: int) -> dict[str, Any]:
    declared = schema.messages[message]
    field = declared.field[index]
    tree: dict[str, Any] = {"name": field.name, "type": _shown_type(schema, field)}
    if field.HasField("oneof_index") and not field.proto3_optional:
        tree["oneof"] = declared.oneof_decl[field.oneof_index].name
    comment = schema.comments.get((*schema.places[message], _MESSAGE_FIELD, index))
    if comment:
        tree["comment"] = comment
    return tree


def _shown_type(schema: _Schema, field: FieldDescriptorProto) -> str:
    entry = _map_entry(schema, field)
    if entry is not None:
        return f"map of {_scalar(schema, entry.field[0])} to {_scalar(schema, entry.field[1])}"
    name = _scalar(schema, field)
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"list of {name}"
    return f"{name}, optional" if field.proto3_optional else name


def _scalar(schema: _Schema, field: FieldDescriptorProto) -> str:
    if field.type_name in schema.enums:
        return " | ".join(value.name for value in schema.enums[field.type_name].value)
    return _short(field.type_name) if field.type_name else _TYPES[field.type]


def _map_entry(schema: _Schema, field: FieldDescriptorProto) -> DescriptorProto | None:
    message = schema.messages.get(field.type_name)
    return message if message is not None and message.options.map_entry else None


def _value_type(schema: _Schema, field: FieldDescriptorProto) -> str:
    entry = _map_entry(schema, field)
    return entry.field[1].type_name if entry is not None else field.type_name


def _example(schema: _Schema, name: str, above: tuple[str, ...]) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    groups: set[int] = set()
    for field in schema.messages[name].field:
        if field.HasField("oneof_index") and not field.proto3_optional:
            if field.oneof_index in groups:
                continue
            groups.add(field.oneof_index)
        if _value_type(schema, field) in (*above, name) or len(above) > _MOST_DEEP:
            continue  # a message that contains itself would never end
        shown[field.name] = _example_of(schema, field, (*above, name))
    return shown


def _example_of(schema: _Schema, field: FieldDescriptorProto, above: tuple[str, ...]) -> Any:
    entry = _map_entry(schema, field)
    if entry is not None:
        key = "key" if _TYPES[entry.field[0].type] == "string" else "1"
        return {key: _value(schema, entry.field[1], above)}
    value = _value(schema, field, above)
    return [value] if field.label == FieldDescriptorProto.LABEL_REPEATED else value


def _value(schema: _Schema, field: FieldDescriptorProto, above: tuple[str, ...]) -> Any:
    kind = _TYPES[field.type]
    if field.type_name in schema.messages:
        return _example(schema, field.type_name, above)
    if field.type_name in schema.enums:
        values = schema.enums[field.type_name].value
        return next((value.name for value in values if value.number), values[0].name)
    if kind == "string":
        return field.name
    if kind == "bytes":
        return "Ynl0ZXM="
    if kind == "bool":
        return True
    return 1.5 if kind in _NUMBERS else 1


def _short(name: str) -> str:
    return name.rpartition(".")[2]
