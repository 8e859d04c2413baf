"""Bytes to values and back. Every request is parsed by the C protobuf runtime before anything else sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import DecodeError, Message
from grpclib.encoding.base import CodecBase

from jobworkerp_standalone.jobs.errors import InvalidRequest
from jobworkerp_standalone.schema.enums import Check, enum_check
from jobworkerp_standalone.schema.messages import message_class

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Wire(Generic[T]):
    """How messages of one type look to a service method.

    Without ``decode`` a method sees the parsed message of the C runtime; without ``encode`` it answers with such a
    message, or with bytes that are already encoded.
    """

    full_name: str
    decode: Callable[[Any], T] | None = None
    encode: Callable[[T], bytes] | None = None


class WireCodec(CodecBase):
    """Reads and writes what a handler declares: ``Wire``, a class of the C runtime, or a betterproto2 class."""

    @property
    def __content_subtype__(self) -> str:
        """What follows ``application/grpc+``."""
        return "proto"

    def __init__(self) -> None:
        self._readers: dict[Any, Callable[[bytes], Any]] = {}
        self._writers: dict[Any, Callable[[Any], bytes]] = {}

    def decode(self, data: bytes, message_type: Any) -> Any:
        """Return the value in ``data``.

        Raises:
            InvalidRequest: it is not such a message, or an enum in it has a number that its type does not know.
        """
        reader = self._readers.get(message_type)
        if reader is None:
            reader = self._readers[message_type] = _reader(message_type)
        return reader(data)

    def encode(self, message: Any, message_type: Any) -> bytes:
        """Return the bytes of ``message``.

        Raises:
            TypeError: it is not what the handler declares.
        """
        writer = self._writers.get(message_type)
        if writer is None:
            writer = self._writers[message_type] = _writer(message_type)
        return writer(message)


def _reader(declared: Any) -> Callable[[bytes], Any]:
    if isinstance(declared, Wire):
        wire: Wire[Any] = declared  # pyright: ignore[reportUnknownVariableType] - narrowed from Any
        return _checked(message_class(wire.full_name), wire.decode)
    if issubclass(declared, Message):
        return _checked(declared, None)
    parse = _checked(message_class(_betterproto_name(declared)), None)

    def read(data: bytes) -> Any:
        parse(data)
        return declared.parse(data)

    return read


def _checked(message_type: type[Message], convert: Callable[[Any], Any] | None) -> Callable[[bytes], Any]:
    parse = message_type.FromString
    check = enum_check(message_type.DESCRIPTOR)

    def read(data: bytes) -> Any:
        try:
            message = parse(data)
        except DecodeError as error:
            raise InvalidRequest(
                f"the request is not a valid {message_type.DESCRIPTOR.full_name} message: {error}"
            ) from error
        if check is not None:
            _look_at(message, check)
        return message if convert is None else convert(message)

    return read


def _look_at(message: Any, check: Check) -> None:
    try:
        check(message, "")
    except ValueError as error:
        raise InvalidRequest(str(error)) from error


def _writer(declared: Any) -> Callable[[Any], bytes]:
    if not isinstance(declared, Wire):
        return _typed_writer(declared)
    wire: Wire[Any] = declared  # pyright: ignore[reportUnknownVariableType] - narrowed from Any
    if wire.encode is not None:
        return wire.encode
    typed = _typed_writer(message_class(wire.full_name))
    return lambda message: message if type(message) is bytes else typed(message)


def _typed_writer(expected: Any) -> Callable[[Any], bytes]:
    def write(message: Any) -> bytes:
        if not isinstance(message, expected):
            raise TypeError(f"the reply must be {expected!r}, not {type(message)!r}")
        return message.SerializeToString()

    return write


def _betterproto_name(declared: Any) -> str:
    from jobworkerp_standalone.pb.message_pool import default_message_pool  # noqa: PLC0415 - only where it is used

    return default_message_pool.type_to_url[declared].rpartition("/")[2]
