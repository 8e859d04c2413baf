"""One call, as a service method sees it: messages in, messages out, headers and trailers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from grpclib.const import Status
from grpclib.metadata import encode_grpc_message, encode_metadata
from grpclib.server import Stream
from h2.exceptions import StreamClosedError

from jobworkerp_standalone.jobs.errors import Exhausted, InvalidRequest, NotBuilt
from jobworkerp_standalone.rpc.codec import WireCodec
from jobworkerp_standalone.rpc.connection import EdgeStream

TRAILER_BYTES: Final = 8 * 1024 - 256
"""What a failure may say in all: many clients refuse header lists above 8 KiB."""
_ENTRY_BYTES: Final = 32
"""What HTTP/2 counts for a header beside its name and value."""
_LEAST_MESSAGE_BYTES: Final = 512
_PREFIX_BYTES: Final = 5
_HEADERS: Final = [(":status", "200"), ("content-type", "application/grpc")]
_OK: Final = [("grpc-status", "0")]


class Compressed(NotBuilt):
    """The request is compressed; the answer names the encodings that are read."""


@dataclass(frozen=True, slots=True)
class Method:
    """One method of a service, as the edge calls it."""

    path: str
    func: Callable[[Any], Awaitable[None]]
    cardinality: Any
    """``grpclib.const.Cardinality``."""
    request_type: Any
    reply_type: Any
    guarded: bool
    """Whether it needs the token, where one is set."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How requests are read."""

    codec: WireCodec
    max_message_bytes: int


class CallStream(Stream[Any, Any]):
    """A call on its HTTP/2 stream.

    The reply of a unary method is held back until the method is done, so that headers, message and trailers leave in
    one piece. A message of a stream leaves at once, and sending waits while the reader is slow.
    """

    _stream: EdgeStream
    _cardinality: Any
    _reply: bytes | None = None

    def __init__(self, stream: EdgeStream, method: Method, reading: Reading) -> None:
        super().__init__(
            stream,
            method.path,
            method.cardinality,
            method.request_type,
            method.reply_type,
            codec=reading.codec,
            status_details_codec=None,
            dispatch=None,  # type: ignore[arg-type] - everything that would dispatch is overridden
        )
        self.path = method.path
        self._max_message_bytes = reading.max_message_bytes

    async def recv_message(self) -> Any:
        """Return the next message, None after the last.

        Raises:
            InvalidRequest: it is malformed, cut short, or missing where there must be one.
            Exhausted: it is larger than allowed; its body is not read.
            Compressed: it is compressed.
        """
        inbox = self._stream.buffer
        if not await inbox.more():
            if not self._cardinality.client_streaming and not self._messages_received:
                raise InvalidRequest("the call carries no request message")
            return None
        prefix = await inbox.read(_PREFIX_BYTES)
        if prefix[0]:
            raise Compressed("compressed messages are not supported; send them uncompressed (identity)")
        size = int.from_bytes(prefix[1:], "big")
        if size > self._max_message_bytes:
            raise Exhausted(
                f"the request message has {size} bytes and {self._max_message_bytes} are allowed; "
                "raise GRPC_MAX_MESSAGE_SIZE or send less"
            )
        message = self._codec.decode(await inbox.read(size), self._recv_type)
        self._messages_received += 1
        return message

    async def send_initial_metadata(self, *, metadata: Any = None) -> None:
        """Send headers with ``metadata`` now; without this call they go with the first message."""
        if self._send_initial_metadata_done:
            raise RuntimeError("initial metadata was already sent")
        self._send_initial_metadata_done = True
        await self._stream.send_headers([*_HEADERS, *encode_metadata(metadata or {})])

    async def send_message(self, message: Any) -> None:
        """Send one message; waits until the reader has room for it."""
        data = self._codec.encode(message, self._send_type)
        framed = b"\0" + len(data).to_bytes(4, "big") + data
        if not self._cardinality.server_streaming:
            if self._send_message_done:
                raise RuntimeError("a unary method answers once")
            self._reply = framed
        else:
            if not self._send_initial_metadata_done:
                await self.send_initial_metadata()
            await self._stream.send_data(framed)
        self._send_message_done = True

    async def finish(self) -> None:
        """End the call well."""
        if self._send_trailing_metadata_done:
            return
        if self._reply is not None:
            await self._send_reply(self._reply)
        elif not self._cardinality.server_streaming:
            raise RuntimeError(f"{self.path} ended without a reply")
        await self._send_trailers(_OK)

    async def fail(self, status: Status, message: str, trailers: dict[str, bytes]) -> None:
        """End the call with a status other than OK. A reply that was held back is not sent."""
        if self._send_trailing_metadata_done:
            return
        headers = [("grpc-status", str(status.value)), *failure_headers(message, trailers)]
        await self._send_trailers(headers)

    async def refuse_compression(self, message: str) -> None:
        """End the call and name what can be read."""
        headers = [("grpc-status", str(Status.UNIMPLEMENTED.value)), *failure_headers(message, {})]
        await self._send_trailers([*headers, ("grpc-accept-encoding", "identity")])

    async def send_trailing_metadata(
        self,
        *,
        status: Status = Status.OK,
        status_message: str | None = None,
        status_details: Any = None,
        metadata: Any = None,
    ) -> None:
        """End the call here, in grpclib's words."""
        if self._reply is not None and status is Status.OK:
            await self._send_reply(self._reply)
        text = [] if status_message is None else [("grpc-message", encode_grpc_message(status_message))]
        await self._send_trailers([("grpc-status", str(status.value)), *text, *encode_metadata(metadata or {})])

    async def _send_reply(self, framed: bytes) -> None:
        """Put headers and message into the connection's buffer; what fits into the window leaves with the trailers."""
        stream = self._stream
        await stream.writable()
        if not self._send_initial_metadata_done:
            self._send_initial_metadata_done = True
            stream.put_headers(_HEADERS)
        if not stream.put_data(framed):
            await stream.send_data(framed)

    async def _send_trailers(self, headers: list[tuple[str, str]]) -> None:
        stream = self._stream
        await stream.writable()
        self._send_trailing_metadata_done = True
        stream.put_headers(headers if self._send_initial_metadata_done else _HEADERS + headers, end_stream=True)
        stream.close_and_flush()


def failure_headers(message: str, trailers: dict[str, bytes]) -> list[tuple[str, str]]:
    """Return message and binary trailers of a failure, cut so that clients accept the header list.

    Trailers come first, in their order, as long as they fit; the message gets what is left.
    """
    room = TRAILER_BYTES
    kept: list[tuple[str, str]] = []
    for key, value in encode_metadata(trailers):
        size = len(key) + len(value) + _ENTRY_BYTES
        if size <= room - _LEAST_MESSAGE_BYTES:
            room -= size
            kept.append((key, value))
    room -= len("grpc-message") + _ENTRY_BYTES + len("grpc-status") + len("16") + _ENTRY_BYTES
    message = message[:TRAILER_BYTES]
    text = encode_grpc_message(message)
    while len(text) > room:
        message = message[: len(message) * 3 // 4]
        text = encode_grpc_message(f"{message}...")
    return [("grpc-message", text), *kept]


def is_gone(error: BaseException) -> bool:
    """Whether a write failed because the other side has closed the stream or the connection."""
    return isinstance(error, (StreamClosedError, ConnectionError))
