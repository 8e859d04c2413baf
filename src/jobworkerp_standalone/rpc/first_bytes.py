"""Who speaks on a new connection is told by its first bytes: HTTP/2 goes to gRPC, anything else to the other side."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Final, cast

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_PATIENCE_SEC: Final = 30.0
_LINGER_SEC: Final = 1.0
_REQUEST_LINE: Final = re.compile(rb"[A-Z]{3,10} ")
_TEXT: Final = b"This port speaks gRPC (HTTP/2). Use a gRPC client, for example grpcurl -plaintext or jobworkerp.\n"
_HEADERS: Final = b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n" % len(_TEXT)

ProtocolFactory = Callable[[], asyncio.Protocol]


class FirstBytes(asyncio.Protocol):
    """Looks at what a client says first, then makes room for the protocol that understands it."""

    def __init__(self, http2: ProtocolFactory, other: ProtocolFactory, undecided: set[FirstBytes]) -> None:
        self._http2 = http2
        self._other = other
        self._undecided = undecided
        self._seen = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the first bytes, not for ever."""
        self._transport = cast("asyncio.Transport", transport)
        self._timer = asyncio.get_running_loop().call_later(_PATIENCE_SEC, self.abort)
        self._undecided.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._forget()

    def abort(self) -> None:
        """Close the connection of a client that has not said who it is."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Decide as soon as the bytes allow it."""
        self._seen += data
        if self._seen.startswith(_PREFACE):
            self._hand_to(self._http2())
        elif not _PREFACE.startswith(self._seen):
            self._hand_to(self._other())

    def _forget(self) -> None:
        self._timer.cancel()
        self._undecided.discard(self)

    def _hand_to(self, protocol: asyncio.Protocol) -> None:
        self._forget()
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        protocol.data_received(self._seen)


class PlainAnswer(asyncio.Protocol):
    """Tells a client that is not a gRPC one what this port is for, then closes."""

    _answered = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer the first bytes; read and drop the rest, so that the answer is not lost in a reset."""
        if self._answered:
            return
        self._answered = True
        status = b"505 HTTP Version Not Supported" if _REQUEST_LINE.match(data) else b"400 Bad Request"
        self._transport.write(b"HTTP/1.1 %s\r\n%s\r\n%s" % (status, _HEADERS, _TEXT))
        self._transport.write_eof()
        asyncio.get_running_loop().call_later(_LINGER_SEC, self._transport.abort)
