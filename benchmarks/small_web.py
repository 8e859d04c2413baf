"""An HTTP/1.1 server that does as little as it can: one answer for whatever is asked."""

from __future__ import annotations

import asyncio
import sys

from benchmarks.web import ANSWER

_ANSWER = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(ANSWER)}\r\n\r\n{ANSWER}".encode()


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._heads = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *whole, self._heads = (self._heads + data).split(b"\r\n\r\n")
        if whole and self._transport is not None:
            self._transport.write(_ANSWER * len(whole))


async def serve(port: int) -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
