"""Enum numbers in messages: proto3 lets any number through, this program takes those that it knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

Check = Callable[[Any, str], None]
"""Looks at a message, or at a field of it, that is found under a path (empty, or ending with a dot)."""
_NAMES_SHOWN: Final = 12


@cache
def enum_check(descriptor: Descriptor) -> Check | None:
    """Return what raises ``ValueError`` for an unknown number in a message of this type; None without enums."""
    if not _holds_enum(descriptor, set()):
        return None
    checks = [check for field in descriptor.fields if (check := _field_check(field)) is not None]

    def check_fields(message: Any, path: str) -> None:
        for check in checks:
            check(message, path)

    return check_fields


def _field_check(field: FieldDescriptor) -> Check | None:
    if field.enum_type is not None:
        return _enum_field_check(field, field.enum_type)
    nested = field.message_type
    if nested is None or not _holds_enum(nested, set()):
        return None
    if nested.GetOptions().map_entry:
        return _map_check(field.name, nested)
    return _list_check(field.name, nested) if field.is_repeated else _message_check(field.name, nested)


def _enum_field_check(field: FieldDescriptor, enum: EnumDescriptor) -> Check:
    name, numbers, repeated = field.name, _numbers(enum), field.is_repeated

    def check(message: Any, path: str) -> None:
        value = getattr(message, name)
        if repeated:
            for number in value:
                if number not in numbers:
                    raise _unknown(number, path + name, enum)
        elif value not in numbers:
            raise _unknown(value, path + name, enum)

    return check


def _message_check(name: str, nested: Descriptor) -> Check:
    def check(message: Any, path: str) -> None:
        if message.HasField(name):
            _look_into(getattr(message, name), nested, f"{path}{name}.")

    return check


def _list_check(name: str, nested: Descriptor) -> Check:
    def check(message: Any, path: str) -> None:
        for index, each in enumerate(getattr(message, name)):
            _look_into(each, nested, f"{path}{name}[{index}].")

    return check


def _map_check(name: str, entry: Descriptor) -> Check:
    value = entry.fields_by_name["value"]

    def check(message: Any, path: str) -> None:
        for key, each in getattr(message, name).items():
            place = f"{path}{name}[{key!r}]"
            if value.message_type is not None:
                _look_into(each, value.message_type, f"{place}.")
            elif value.enum_type is not None and each not in _numbers(value.enum_type):
                raise _unknown(each, place, value.enum_type)

    return check


def _look_into(message: Any, descriptor: Descriptor, path: str) -> None:
    check = enum_check(descriptor)  # looked up when needed: a message may hold messages of its own type
    if check is not None:
        check(message, path)


def _unknown(number: int, place: str, enum: EnumDescriptor) -> ValueError:
    names = [f"{name} ({each})" for each, name in sorted(_numbers(enum).items())]
    shown = ", ".join(names[:_NAMES_SHOWN]) + (", ..." if len(names) > _NAMES_SHOWN else "")
    return ValueError(f"{place}: {number} is not a number of {enum.full_name}; use one of {shown}")


@cache
def _numbers(enum: EnumDescriptor) -> Mapping[int, str]:
    return {value.number: value.name for value in reversed(list(enum.values))}


def _holds_enum(descriptor: Descriptor, seen: set[str]) -> bool:
    if descriptor.full_name in seen:
        return False
    seen.add(descriptor.full_name)
    return any(
        field.enum_type is not None or (field.message_type is not None and _holds_enum(field.message_type, seen))
        for field in descriptor.fields
    )
