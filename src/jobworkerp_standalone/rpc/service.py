"""How a service is written: one class per gRPC service, one method per RPC, found through the descriptor.

A unary method is ``async def find(self, request, stream) -> reply``; a server-streaming one is an async generator
with the same parameters; one that reads a stream takes the stream alone. Requests are messages of the C runtime,
replies are such messages or bytes that are already encoded.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, ClassVar

from grpclib.const import Cardinality, Handler
from grpclib.server import Stream

from jobworkerp_standalone.jobs.errors import InvalidRequest
from jobworkerp_standalone.rpc.codec import Wire
from jobworkerp_standalone.schema.messages import descriptor_pool

Message = Any
"""A message of the C runtime."""
Reply = Any
"""A message of the C runtime, or its bytes."""
ServerStream = Stream[Any, Any]


class WireService:
    """A gRPC service whose methods are looked up by the names in its descriptor."""

    full_name: ClassVar[str]

    def __mapping__(self) -> Mapping[str, Handler]:
        service = descriptor_pool().FindServiceByName(self.full_name)
        return {f"/{self.full_name}/{method.name}": self._handler(method) for method in service.methods}

    def _handler(self, method: Any) -> Handler:
        function = getattr(self, _snake(method.name))
        if method.client_streaming:
            serve, cardinality = function, Cardinality.STREAM_STREAM
        elif method.server_streaming:
            serve, cardinality = _streaming(function), Cardinality.UNARY_STREAM
        else:
            serve, cardinality = _unary(function), Cardinality.UNARY_UNARY
        return Handler(serve, cardinality, Wire(method.input_type.full_name), Wire(method.output_type.full_name))


def _unary(
    function: Callable[[Message, ServerStream], Awaitable[Reply]],
) -> Callable[[ServerStream], Awaitable[None]]:
    async def serve(stream: ServerStream) -> None:
        await stream.send_message(await function(await _receive(stream), stream))

    return serve


def _streaming(
    function: Callable[[Message, ServerStream], AsyncGenerator[Reply, None]],
) -> Callable[[ServerStream], Awaitable[None]]:
    async def serve(stream: ServerStream) -> None:
        async with aclosing(function(await _receive(stream), stream)) as replies:
            async for reply in replies:
                await stream.send_message(reply)

    return serve


async def _receive(stream: ServerStream) -> Message:
    request = await stream.recv_message()
    if request is None:
        raise InvalidRequest("the call carries no request message")
    return request


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
