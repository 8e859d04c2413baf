"""Arguments described by a JSON Schema that travel as a proto message and arrive as the JSON that was meant."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Self, cast

from google.protobuf.message import DecodeError, Message

from jobworkerp_standalone.schema.layout import Extra, Field, Layout, free_extras, lay_out, layout_text
from jobworkerp_standalone.schema.shape import Kind, Schema, Shape, read_shape
from jobworkerp_standalone.schema.text import BadProtoText, root_message

WHOLE: Final = "arguments_json"
"""The one field of a message whose schema has no counterpart: all arguments as a JSON object."""
_DEEPEST: Final = 100
"""Levels of a JSON text: not many more can be written again."""
_EXACT_INTEGERS: Final = 2.0**53


class BadArguments(ValueError):
    """The bytes or a value in them cannot be such arguments; the message names the field."""


@dataclass(frozen=True, slots=True)
class JsonArgs:
    """The arguments of one function: its proto text, and the way back to JSON."""

    text: str
    message: type[Message]
    extras: frozenset[str]
    """Names of the fields beside the arguments that the text really has."""
    _layout: Layout | None
    """None: all arguments are in the field ``arguments_json``."""

    @classmethod
    def make(cls, schema: Schema, name: str, note: str, extras: Iterable[Extra] = (), first_number: int = 1) -> Self:
        """Lay out the arguments that ``schema`` describes as message ``name``. Compiles: takes milliseconds.

        Args:
            schema: a JSON Schema, of an object.
            name: of the message.
            note: its comment.
            extras: fields that do not come from the schema; left out where a property has the name.
            first_number: of the field of the first property.
        """
        shape = read_shape(schema)
        if shape.kind is Kind.OBJECT and not shape.many:
            own = free_extras(shape, extras)
            layout = lay_out(shape, name, own, first_number)
            text = layout_text(layout, note, own)
            try:
                return cls(text, root_message(text), frozenset(each.name for each in own), layout)
            except BadProtoText:
                pass  # a property that cannot be named there, even as a JSON name
        own = (*extras, Extra(WHOLE, first_number, "string", "All arguments, as a JSON object."))
        text = layout_text(Layout(name, ()), note, own)
        return cls(text, root_message(text), frozenset(each.name for each in own), None)

    def parse(self, data: bytes) -> Message:
        """Decode the message.

        Raises:
            BadArguments: it is none.
        """
        try:
            return self.message.FromString(data)
        except DecodeError as error:
            raise BadArguments(f"not a valid {self.message.DESCRIPTOR.full_name}: {error}") from error

    def to_json(self, message: Message) -> dict[str, Any]:
        """Return the arguments in ``message`` as the JSON that was meant.

        Raises:
            BadArguments: a JSON text is none, or a number has no JSON form.
        """
        if self._layout is None:
            return _whole(getattr(message, WHOLE))
        return _object(message, self._layout, "")


def json_object(text: str, where: str) -> dict[str, Any]:
    """Return the JSON object in ``text``; nothing at all is an empty one.

    Raises:
        BadArguments: it is not JSON or not an object; the message begins with ``where``.
    """
    value: Any = _loads(text, where) if text.strip() else {}
    if not isinstance(value, dict):
        raise BadArguments(f"{where} is not a JSON object, for example {{}}")
    return cast("dict[str, Any]", value)


def _whole(text: str) -> dict[str, Any]:
    return json_object(text, WHOLE)


def _object(message: Message, layout: Layout, path: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in layout.fields:
        shape, name = field.member.shape, field.member.name
        where = f"{path}{name}"
        if shape.many:
            items: Any = getattr(message, field.name)
            if items or (field.member.required and not shape.nullable):
                found[name] = [_value(each, shape, field, f"{where}[{n}]") for n, each in enumerate(items)]
            elif field.member.required:
                found[name] = None
        elif message.HasField(field.name):
            found[name] = _value(getattr(message, field.name), shape, field, where)
        elif field.member.required and shape.nullable:
            found[name] = None
    return found


def _value(value: Any, shape: Shape, field: Field, where: str) -> Any:
    if field.message is not None:
        return _object(value, field.message, f"{where}.")
    if shape.kind is Kind.JSON:
        return _json(value, shape, where)
    if shape.kind is Kind.NUMBER:
        return _number(value, where)
    return value


def _json(text: str, shape: Shape, where: str) -> Any:
    try:
        return _loads(text, where)
    except BadArguments:
        if shape.takes_text:
            return text
        raise


def _loads(text: str, where: str) -> Any:
    try:
        value: Any = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise BadArguments(f"{where} is not JSON: {error}") from None
    if text.count("[") + text.count("{") > _DEEPEST and _is_too_deep(value):
        raise BadArguments(f"{where} is nested more than {_DEEPEST} deep")
    return value


def _is_too_deep(value: Any) -> bool:
    level: list[Any] = [value]
    for _ in range(_DEEPEST):
        groups: list[Any] = [each.values() if isinstance(each, dict) else each for each in level]
        inner = (each for group in groups for each in group)
        level = list(filter(_is_nested, inner))
    return bool(level)


def _is_nested(value: Any) -> bool:
    return isinstance(value, dict | list)


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _number(value: float, where: str) -> float | int:
    if not math.isfinite(value):
        raise BadArguments(f"{where}: {value} has no JSON form; give a finite number")
    return int(value) if value.is_integer() and abs(value) < _EXACT_INTEGERS else value
