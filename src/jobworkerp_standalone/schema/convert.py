"""JSON to message bytes and back, as the proto3 JSON mapping says."""

from __future__ import annotations

import json
import re
from typing import Any, cast

from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message

JsonObject = dict[str, Any]
Descriptor = Any
"""A descriptor of the C runtime: of a message, a field or an enum. Its Python types are not those of the stubs."""


def json_to_bytes(
    value: str | JsonObject, message_type: type[Message], *, ignore_unknown: bool = False, oneof_groups: bool = False
) -> bytes:
    """Return the bytes of the message that ``value`` (JSON text or a parsed object) describes.

    Keys may be snake_case or lowerCamelCase; an enum value is its name in any of the usual spellings, or its number.

    Args:
        value: what to encode.
        message_type: the message it describes.
        ignore_unknown: leave out keys that the message does not have, instead of refusing them.
        oneof_groups: at the top level, let the name of a oneof stand for the member that its value fits.

    Raises:
        ValueError: it is not JSON, not an object, or does not fit; the text names the field.
    """
    document: Any = _load(value) if isinstance(value, str) else value
    if not isinstance(document, dict):
        raise ValueError(f"expected a JSON object for {message_type.DESCRIPTOR.name}, not {_kind(document)}")
    fields = cast("JsonObject", document)
    if oneof_groups:
        fields = _members_of_groups(fields, message_type.DESCRIPTOR)
    spelled = _spell_enums(fields, message_type.DESCRIPTOR)
    try:
        message = json_format.ParseDict(spelled, message_type(), ignore_unknown_fields=ignore_unknown)
        return message.SerializeToString(deterministic=True)
    except json_format.ParseError as error:
        raise ValueError(_readable(str(error), message_type.DESCRIPTOR)) from error


def bytes_to_json(data: bytes, message_type: type[Message]) -> JsonObject:
    """Return the message in ``data`` as JSON: lowerCamelCase keys, 64-bit integers as strings, defaults left out.

    Raises:
        ValueError: the bytes are not such a message.
    """
    try:
        return json_format.MessageToDict(message_type.FromString(data))
    except DecodeError as error:
        raise ValueError(f"not a valid {message_type.DESCRIPTOR.name}: {error}") from error


def text_lines(message: Message) -> list[str]:
    """Return one ``name: value`` line for each set field, in the order of the field numbers."""
    lines: list[str] = []
    for field, value in sorted(message.ListFields(), key=lambda pair: pair[0].number):
        if _is_map(field):
            lines.extend(f"{field.name}: {key} = {_shown(each)}" for key, each in sorted(value.items()))
        elif field.is_repeated:
            lines.extend(f"{field.name}: {_shown(each, field)}" for each in value)
        else:
            lines.append(f"{field.name}: {_shown(value, field)}")
    return lines


def _load(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from None


def _kind(value: object) -> str:
    names = {
        "dict": "an object",
        "list": "an array",
        "str": "a string",
        "int": "a number",
        "float": "a number",
        "bool": "a boolean",
    }
    return names.get(type(value).__name__, "null")


def _members_of_groups(document: JsonObject, descriptor: Descriptor) -> JsonObject:
    """Return the object with the names of oneofs replaced by the members that the values fit."""
    known = {name for field in descriptor.fields for name in (field.name, field.json_name)}
    members: JsonObject = {}
    for key, value in document.items():
        if key in known or key not in descriptor.oneofs_by_name:
            members[key] = value
        elif value is not None:
            group = descriptor.oneofs_by_name[key].fields
            fitting = next((field for field in group if _fits(value, field)), None)
            if fitting is None:
                names = ", ".join(field.name for field in group)
                raise ValueError(f"{key}: {_kind(value)} fits none of {names}")
            if any(name in document for field in group for name in (field.name, field.json_name)):
                raise ValueError(f"{key}: a member of this oneof is set besides it")
            members[fitting.name] = value
    return members


def _fits(value: Any, field: Descriptor) -> bool:
    if isinstance(value, bool):
        return field.cpp_type == field.CPPTYPE_BOOL
    if isinstance(value, str):
        return field.cpp_type in (field.CPPTYPE_STRING, field.CPPTYPE_ENUM)
    if isinstance(value, float):
        return field.cpp_type in (field.CPPTYPE_DOUBLE, field.CPPTYPE_FLOAT)
    if isinstance(value, int):
        return field.cpp_type not in (field.CPPTYPE_BOOL, field.CPPTYPE_STRING, field.CPPTYPE_MESSAGE)
    if field.message_type is None or not isinstance(value, dict):
        return False
    inner = {name for each in field.message_type.fields for name in (each.name, each.json_name)}
    return cast("JsonObject", value).keys() <= inner


def _spell_enums(document: JsonObject, descriptor: Descriptor) -> JsonObject:
    """Return the object with the names of enum values as the schema writes them."""
    fields = {name: field for field in descriptor.fields for name in (field.name, field.json_name)}
    return {key: _spelled(value, fields[key]) if key in fields else value for key, value in document.items()}


def _spelled(value: Any, field: Descriptor) -> Any:
    if isinstance(value, dict):
        return _spelled_object(cast("JsonObject", value), field)
    if isinstance(value, list):
        return [_spelled(each, field) for each in cast("list[Any]", value)]
    if isinstance(value, str) and field.enum_type:
        return _enum_name(value, field.enum_type)
    return value


def _spelled_object(value: JsonObject, field: Descriptor) -> JsonObject:
    if _is_map(field):
        of_value = field.message_type.fields_by_name["value"]
        return {key: _spelled(each, of_value) for key, each in value.items()}
    if field.message_type and not field.message_type.full_name.startswith("google.protobuf."):
        return _spell_enums(value, field.message_type)
    return value


def _enum_name(given: str, enum: Descriptor) -> str:
    for name in (given, given.upper(), re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", given).upper()):
        if name in enum.values_by_name:
            return name
    known = ", ".join(enum.values_by_name)
    raise ValueError(f"{given!r} is not a value of {enum.name}; use one of {known}")


def _readable(text: str, descriptor: Descriptor) -> str:
    """Return the library's complaint as one line, with the known fields where an unknown one was given."""
    text = re.sub(r"\s+", " ", text).strip().rstrip(".")
    if "has no field named" in text:
        text = text.split(" Available Fields")[0].rstrip(".")
        text += f"; known: {', '.join(field.name for field in descriptor.fields) or 'none'}"
    return text


def _is_map(field: Descriptor) -> bool:
    return bool(field.message_type and field.message_type.GetOptions().map_entry)


def _shown(value: Any, field: Descriptor = None) -> str:
    if isinstance(value, Message):
        return "{ " + ", ".join(text_lines(value)) + " }"
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if field is not None and field.enum_type is not None and value in field.enum_type.values_by_number:
        return field.enum_type.values_by_number[value].name
    return str(value)
