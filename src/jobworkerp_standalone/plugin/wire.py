"""Instances to message bytes and back, by the wire format of protocol buffers.

Written out here because a plugin's own environment need not have any protobuf library.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, cast

from jobworkerp_standalone.plugin.errors import BadInput
from jobworkerp_standalone.plugin.shapes import ZEROS, Field, Kind, Shape, enum_values, shape_of

_VARINT: Final = 0
_FIXED64: Final = 1
_BYTES: Final = 2
_FIXED32: Final = 5
_MAX_DEPTH: Final = 100
_MASK: Final = (1 << 64) - 1
_DOUBLE: Final = struct.Struct("<d")
_PYTHON: Final[dict[str, tuple[type, ...]]] = {
    "string": (str,),
    "int64": (int,),
    "double": (float, int),
    "bool": (bool,),
    "bytes": (bytes, bytearray, memoryview),
}


def encode(value: Any, type_: Any, depth: int = 0) -> bytes:
    """Return an instance of ``type_`` as message bytes.

    Raises:
        TypeError: it is no such instance, or a field holds something else than its annotation says.
        ValueError: a number does not fit into 64 bits, or a structure contains itself.
    """
    if not isinstance(value, type_):
        raise TypeError(f"expected {type_.__name__}, got {type(value).__name__}")
    if depth > _MAX_DEPTH:
        raise ValueError(f"{type_.__name__} is nested more than {_MAX_DEPTH} deep")
    out = bytearray()
    for field in shape_of(type_).fields:
        _encode_field(out, f"{type_.__name__}.{field.name}", field, getattr(value, field.name), depth)
    return bytes(out)


def decode(data: bytes, type_: Any) -> Any:
    """Return message bytes as an instance of ``type_``. Fields that it does not know are passed over.

    Raises:
        BadInput: they are no such message, or the class does not accept them; the text names message and field.
    """
    return _decode(memoryview(data), shape_of(type_), 0)


def _encode_field(out: bytearray, where: str, field: Field, value: Any, depth: int) -> None:
    if value is None:
        if not field.nullable and field.single:
            raise TypeError(f"{where} is None")
        return
    if field.map_key:
        for key, each in cast("Mapping[Any, Any]", value).items():
            entry = bytearray()
            _encode_value(entry, f"{where} (key)", 1, Kind(field.map_key), key, depth)
            _encode_value(entry, where, 2, field.kind, each, depth)
            _tagged(out, field.number, bytes(entry))
    elif field.repeated:
        for each in cast("Iterable[Any]", value):
            _encode_value(out, where, field.number, field.kind, each, depth)
    elif field.optional or field.kind.name == "message" or value != ZEROS[field.kind.name]:
        _encode_value(out, where, field.number, field.kind, value, depth)
    elif not isinstance(value, _PYTHON[field.kind.name]):
        raise _mistyped(where, field.kind, value)


def _encode_value(out: bytearray, where: str, number: int, kind: Kind, value: Any, depth: int) -> None:
    if kind.name == "message":
        _tagged(out, number, encode(value, kind.type, depth + 1))
        return
    if kind.name == "enum":
        if not isinstance(value, kind.type):
            raise _mistyped(where, kind, value)
        _varint(out, number << 3 | _VARINT)
        _varint(out, enum_values(kind.type)[value])
        return
    if not isinstance(value, _PYTHON[kind.name]) or (isinstance(value, bool) and kind.name != "bool"):
        raise _mistyped(where, kind, value)
    _encode_scalar(out, where, number, kind.name, value)


def _encode_scalar(out: bytearray, where: str, number: int, name: str, value: Any) -> None:
    if name == "string":
        _tagged(out, number, value.encode("utf-8", "replace"))
    elif name == "bytes":
        _tagged(out, number, bytes(value))
    elif name == "double":
        _varint(out, number << 3 | _FIXED64)
        out += _DOUBLE.pack(value)
    else:
        if not -(1 << 63) <= value < 1 << 63:
            raise ValueError(f"{where}: {value} does not fit into 64 bits")
        _varint(out, number << 3 | _VARINT)
        _varint(out, int(value) & _MASK)


def _tagged(out: bytearray, number: int, data: bytes) -> None:
    _varint(out, number << 3 | _BYTES)
    _varint(out, len(data))
    out += data


def _varint(out: bytearray, value: int) -> None:
    while value > 0x7F:  # noqa: PLR2004 - seven bits to a byte
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def _mistyped(where: str, kind: Kind, value: Any) -> TypeError:
    wanted = kind.type.__name__ if kind.type is not None else _PYTHON[kind.name][0].__name__
    return TypeError(f"{where} is {type(value).__name__} {value!r:.60}, expected {wanted}")


class _Reader:
    def __init__(self, data: memoryview, where: str) -> None:
        self._data = data
        self._at = 0
        self._where = where

    def more(self) -> bool:
        return self._at < len(self._data)

    def varint(self) -> int:
        value = shift = 0
        while shift < 70:  # noqa: PLR2004 - ten bytes at most
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:  # noqa: PLR2004 - the last byte
                return value & _MASK
            shift += 7
        raise BadInput(f"{self._where}: the bytes are not such a message")

    def take(self, size: int) -> memoryview:
        end = self._at + size
        if end > len(self._data):
            raise BadInput(f"{self._where}: the message ends in the middle of a field")
        piece = self._data[self._at : end]
        self._at = end
        return piece

    def value(self, wire_type: int) -> int | memoryview:
        if wire_type == _VARINT:
            return self.varint()
        sizes: dict[int, Callable[[], int]] = {_FIXED64: lambda: 8, _BYTES: self.varint, _FIXED32: lambda: 4}
        if wire_type not in sizes:
            raise BadInput(f"{self._where}: the bytes are not such a message")
        return self.take(sizes[wire_type]())


def _decode(data: memoryview, shape: Shape, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise BadInput(f"{shape.name} is nested more than {_MAX_DEPTH} deep")
    by_number = {field.number: field for field in shape.fields}
    values: dict[str, Any] = {}
    reader = _Reader(data, shape.name)
    while reader.more():
        tag = reader.varint()
        field = by_number.get(tag >> 3)
        raw = reader.value(tag & 7)
        if field is not None:
            _take_in(values, f"{shape.name}.{field.name}", field, tag & 7, raw, depth)
    for field in shape.fields:
        if field.name not in values:
            values[field.name] = field.value_if_absent()
        elif field.repeated:
            values[field.name] = field.container(values[field.name])
    return shape.build(values)


def _take_in(
    values: dict[str, Any], where: str, field: Field, wire_type: int, raw: int | memoryview, depth: int
) -> None:
    if field.map_key:
        key, value = _decode_entry(where, field, raw, depth)
        values.setdefault(field.name, {})[key] = value
    elif not field.repeated:
        values[field.name] = _decode_value(where, field.kind, wire_type, raw, depth)
    elif wire_type == _BYTES and field.kind.name in ("int64", "bool", "double", "enum"):
        values.setdefault(field.name, []).extend(_unpacked(where, field.kind, raw, depth))
    else:
        values.setdefault(field.name, []).append(_decode_value(where, field.kind, wire_type, raw, depth))


def _decode_entry(where: str, field: Field, raw: int | memoryview, depth: int) -> tuple[Any, Any]:
    if isinstance(raw, int):
        raise BadInput(f"{where}: the bytes are not such a message")
    key: Any = ZEROS[field.map_key]
    value: Any = _decode_absent(where, field.kind, depth)
    reader = _Reader(raw, where)
    while reader.more():
        tag = reader.varint()
        piece = reader.value(tag & 7)
        if tag >> 3 == 1:
            key = _decode_value(where, Kind(field.map_key), tag & 7, piece, depth)
        elif tag >> 3 == 2:  # noqa: PLR2004 - the value of an entry
            value = _decode_value(where, field.kind, tag & 7, piece, depth)
    return key, value


def _decode_absent(where: str, kind: Kind, depth: int) -> Any:
    """Return the value of a map entry that carries none."""
    if kind.name == "message":
        return _decode(memoryview(b""), shape_of(kind.type), depth + 1)
    return _decode_number(where, kind, 0) if kind.name == "enum" else ZEROS[kind.name]


def _unpacked(where: str, kind: Kind, raw: int | memoryview, depth: int) -> Iterable[Any]:
    assert isinstance(raw, memoryview), "of wire type BYTES"
    reader = _Reader(raw, where)
    wire_type = _FIXED64 if kind.name == "double" else _VARINT
    while reader.more():
        yield _decode_value(where, kind, wire_type, reader.value(wire_type), depth)


def _decode_value(where: str, kind: Kind, wire_type: int, raw: int | memoryview, depth: int) -> Any:
    if isinstance(raw, int):
        return _decode_number(where, kind, raw)
    if kind.name == "double" and wire_type == _FIXED64:
        return _DOUBLE.unpack(raw)[0]
    if wire_type == _BYTES and kind.name == "message":
        return _decode(raw, shape_of(kind.type), depth + 1)
    if wire_type == _BYTES and kind.name == "bytes":
        return bytes(raw)
    if wire_type == _BYTES and kind.name == "string":
        return _decode_text(where, kind, bytes(raw))
    raise BadInput(f"{where}: the bytes are not such a message")


def _decode_number(where: str, kind: Kind, raw: int) -> Any:
    if kind.name == "int64":
        return raw - (1 << 64) if raw >> 63 else raw
    if kind.name == "bool":
        return raw != 0
    if kind.name == "enum":
        for member, number in enum_values(kind.type).items():
            if number == raw:
                return member
        raise BadInput(f"{where}: {raw} is none of {', '.join(member.name for member in kind.type)}")
    raise BadInput(f"{where}: the bytes are not such a message")


def _decode_text(where: str, kind: Kind, raw: bytes) -> str:
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise BadInput(f"{where}: the text is not UTF-8") from error
    if kind.choices and text not in kind.choices:
        raise BadInput(f"{where}: {text!r} is none of {', '.join(kind.choices)}")
    return text
