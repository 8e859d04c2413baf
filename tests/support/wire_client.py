"""A client that speaks bytes: requests and replies as messages of the C runtime, every status and header visible.

It shares no code with the product's own client, so it shows what the wire carries.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from grpclib.client import Channel, Stream
from grpclib.const import Cardinality
from grpclib.encoding.base import CodecBase
from multidict import MultiDict

from jobworkerp_standalone.schema.messages import descriptor_pool, message_class
from tests.support.patience import PATIENCE_SEC

WITHIN_SEC = PATIENCE_SEC + 30
"""Deadline of a call: what it waits for has a limit of its own, which says more."""


class _Raw(CodecBase):
    @property
    def __content_subtype__(self) -> str:
        return "proto"

    def encode(self, message: bytes, message_type: Any) -> bytes:
        return message

    def decode(self, data: bytes, message_type: Any) -> bytes:
        return data


@dataclass
class Answer:
    """All that came back from a streaming call."""

    items: list[Any] = field(default_factory=list)
    headers: Mapping[str, Any] = field(default_factory=dict)
    trailers: Mapping[str, Any] = field(default_factory=dict)


class WireClient:
    """Calls by ``Service.Method``, for example ``JobService.Enqueue``, with fields as keywords."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel

    async def call(
        self, method: str, request: Any = None, *, metadata: Any = None, within: float = WITHIN_SEC, **fields: Any
    ) -> Any:
        """Return the reply of a unary call."""
        async with self.open(method, metadata=metadata, within=within) as stream:
            await stream.send_message(self.request(method, request, fields), end=True)
            return self.reply(method, await stream.recv_message())

    async def items(
        self, method: str, request: Any = None, *, metadata: Any = None, within: float = WITHIN_SEC, **fields: Any
    ) -> Answer:
        """Return everything a server-streaming call answers."""
        answer = Answer()
        async with self.open(method, metadata=metadata, within=within) as stream:
            await stream.send_message(self.request(method, request, fields), end=True)
            await stream.recv_initial_metadata()
            answer.headers = stream.initial_metadata or {}
            while (data := await stream.recv_message()) is not None:
                answer.items.append(self.reply(method, data))
            await stream.recv_trailing_metadata()
            answer.trailers = stream.trailing_metadata or {}
        return answer

    @asynccontextmanager
    async def open(
        self, method: str, *, metadata: Any = None, within: float = WITHIN_SEC
    ) -> AsyncIterator[Stream[Any, Any]]:
        """Open a call and leave its messages to the caller."""
        path, descriptor = _find(method)
        kind = {
            (False, False): Cardinality.UNARY_UNARY,
            (False, True): Cardinality.UNARY_STREAM,
            (True, True): Cardinality.STREAM_STREAM,
        }[descriptor.client_streaming, descriptor.server_streaming]
        async with self.channel.request(
            path, kind, bytes, bytes, metadata=MultiDict(metadata or {}), timeout=within
        ) as stream:
            yield stream

    @staticmethod
    def request(method: str, request: Any, fields: Mapping[str, Any]) -> bytes:
        """Return the bytes of a request given as bytes, as a message, or by its fields."""
        if isinstance(request, bytes):
            return request
        if request is None:
            request = build(_find(method)[1].input_type.full_name, **fields)
        return request.SerializeToString()

    @staticmethod
    def reply(method: str, data: bytes | None) -> Any:
        """Return a reply as a message."""
        assert data is not None, f"{method} answered without a message"
        return message_class(_find(method)[1].output_type.full_name).FromString(data)


def build(full_name: str, /, **fields: Any) -> Any:
    """Return a message by its full name, or by its name in ``jobworkerp.data``."""
    message = message_class(full_name if "." in full_name else f"jobworkerp.data.{full_name}")()
    fill(message, fields)
    return message


def fill(message: Any, fields: Mapping[str, Any]) -> None:
    """Set fields from plain values; mappings fill messages and maps, lists fill repeated fields."""
    for name, value in fields.items():
        descriptor = message.DESCRIPTOR.fields_by_name[name]
        target = getattr(message, name)
        if descriptor.message_type and descriptor.message_type.GetOptions().map_entry:
            target.update(value)
        elif descriptor.is_repeated and descriptor.message_type:
            for each in value:
                fill(target.add(), each)
        elif descriptor.is_repeated:
            target.extend(value)
        elif descriptor.message_type:
            target.SetInParent()
            fill(target, value)
        else:
            setattr(message, name, value)


@asynccontextmanager
async def connect(host: str, port: int) -> AsyncIterator[WireClient]:
    """Open one connection."""
    channel = Channel(host, port, codec=_Raw())
    try:
        yield WireClient(channel)
    finally:
        channel.close()


def _find(method: str) -> tuple[str, Any]:
    service, name = method.split(".")
    package = "jobworkerp.function.service" if service.startswith("Function") else "jobworkerp.service"
    if service.startswith(("Workflow", "Event")):
        package = "jobworkerp.standalone"
    descriptor = descriptor_pool().FindServiceByName(f"{package}.{service}").methods_by_name[name]
    return f"/{package}.{service}/{name}", descriptor
