"""A gRPC channel on grpclib whose calls fail with this package's errors, trailers included."""

from __future__ import annotations

import asyncio
import socket
import ssl
from types import TracebackType
from typing import Any, Final

from grpclib.client import Channel
from grpclib.const import Cardinality, Status
from grpclib.encoding.base import CodecBase
from grpclib.exceptions import GRPCError, StreamTerminatedError
from grpclib.metadata import Deadline
from grpclib.protocol import H2Protocol
from h2.events import RemoteSettingsChanged
from multidict import MultiDict

from jobworkerp_standalone.client.address import ServerAddress
from jobworkerp_standalone.client.errors import CallFailed, Metadata, Unreachable
from jobworkerp_standalone.net.calls import TidyStream

MAX_HEADER_LIST: Final = 16 * 1024 * 1024 - 1
"""A server may send a whole result in a header."""


class MessageCodec(CodecBase):
    """Messages that encode and decode themselves."""

    @property
    def __content_subtype__(self) -> str:
        """What follows ``application/grpc+``."""
        return "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:
        """Return the bytes of a message."""
        del message_type
        return message.SerializeToString()

    def decode(self, data: bytes, message_type: Any) -> Any:
        """Return the message in ``data``."""
        return message_type.FromString(data)


class CallChannel(Channel):
    """One connection. ``limit`` (seconds) bounds every call: a unary one as a whole, a stream until its headers."""

    def __init__(self, address: ServerAddress, limit: float | None) -> None:
        tls = _tls() if address.tls else None
        super().__init__(address.host, address.port, codec=MessageCodec(), ssl=tls)  # pyright: ignore[reportUnknownMemberType]
        self.address = address
        self.limit = limit

    async def open(self, limit: float) -> None:
        """Connect now instead of with the first call.

        Raises:
            Unreachable: there is no such server.
        """
        try:
            async with asyncio.timeout(limit):
                protocol = await self.__connect__()
                await _greeting(protocol.processor)
        except TimeoutError as error:
            raise Unreachable(f"no answer from {self.address} within {limit:g} s") from error
        except (OSError, UnicodeError) as error:
            raise self.unreachable(error) from error
        http2 = protocol.connection._connection  # pyright: ignore[reportPrivateUsage] - there is no setting for it
        http2.decoder.max_header_list_size = MAX_HEADER_LIST

    def unreachable(self, error: Exception) -> Unreachable:
        """Say in one line why there is no connection."""
        if isinstance(error, ConnectionRefusedError) or str(error).startswith("Multiple exceptions"):
            return Unreachable(f"no server listens at {self.address}")
        return Unreachable(f"cannot connect to {self.address}: {getattr(error, 'strerror', None) or error}")

    def request(
        self,
        name: str,
        cardinality: Cardinality,
        request_type: Any,
        reply_type: Any,
        *,
        timeout: float | None = None,
        deadline: Deadline | None = None,
        metadata: Any = None,
    ) -> Call:
        """Return a call that is not sent yet."""
        limit = self.limit if timeout is None else timeout
        streaming = cardinality in (Cardinality.UNARY_STREAM, Cardinality.STREAM_STREAM)
        if limit is not None and deadline is None and not streaming:
            deadline = Deadline.from_timeout(limit)
        return Call(
            self,
            name,
            MultiDict[Any](metadata or ()),  # pyright: ignore[reportArgumentType] - their type is private
            cardinality,
            request_type,
            reply_type,
            codec=self._codec,
            status_details_codec=None,
            dispatch=self.__dispatch__,
            deadline=deadline,
        ).bounded(limit if streaming else None)


class SocketChannel(CallChannel):
    """A channel over one connection that is open already; it cannot be opened again."""

    def __init__(self, address: ServerAddress, connection: socket.socket) -> None:
        super().__init__(address, None)
        self._socket: socket.socket | None = connection

    def close(self) -> None:
        """Close the connection."""
        super().close()
        if self._socket is not None:
            self._socket.close()

    async def _create_connection(self) -> H2Protocol:
        connection, self._socket = self._socket, None
        if connection is None:
            raise OSError("the connection is over")
        _, protocol = await self._loop.create_connection(self._protocol_factory, sock=connection)
        return protocol


class Call(TidyStream[Any, Any]):
    """One call of a ``CallChannel``."""

    _channel: CallChannel
    _header_limit: float | None = None

    def bounded(self, header_limit: float | None) -> Call:
        """Wait at most so many seconds for the headers."""
        self._header_limit = header_limit
        return self

    async def recv_initial_metadata(self) -> None:
        """Wait for the headers of the answer."""
        async with asyncio.timeout(self._header_limit):
            await super().recv_initial_metadata()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        try:
            await super().__aexit__(exc_type, exc_val, exc_tb)
        except Exception as error:
            raise self.failure(error) from error
        if isinstance(exc_val, Exception) and (failure := self.failure(exc_val)) is not exc_val:
            raise failure from exc_val

    def failure(self, error: Exception) -> Exception:
        """Return what a caller of this package is told; ``error`` itself where it is none of grpclib's."""
        if isinstance(error, GRPCError):
            return CallFailed(error.status, error.message or "", self.trailers())
        if isinstance(error, TimeoutError):
            return CallFailed(Status.DEADLINE_EXCEEDED, "no answer within the time limit of the call")
        if isinstance(error, StreamTerminatedError):
            return Unreachable(f"the connection to {self._channel.address} broke off")
        if isinstance(error, OSError):
            return self._channel.unreachable(error)
        return error

    def headers(self) -> Metadata:
        """Return the initial metadata, as far as it came."""
        return dict(self.initial_metadata or {})

    def trailers(self) -> Metadata:
        """Return the trailing metadata, as far as it came."""
        return dict(self.trailing_metadata or {})


async def _greeting(processor: Any) -> None:
    """Wait for the server's first frame: what listens there may be something else, and silent."""
    greeted = asyncio.get_running_loop().create_future()
    known = processor.processors[RemoteSettingsChanged]

    def hear(event: Any) -> None:
        if not greeted.done():
            greeted.set_result(None)
        known(event)

    processor.processors[RemoteSettingsChanged] = hear
    closed = processor.close

    def close(reason: str = "Connection closed") -> None:
        if not greeted.done():
            greeted.set_exception(OSError("what listens there does not speak gRPC"))
        closed(reason)

    processor.close = close
    await greeted


def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2"])
    return context
