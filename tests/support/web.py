"""A small HTTP/1.1 and HTTP/2 server on a real socket, whose answers a test writes byte by byte if it wants to."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from tests.support.web2 import Http2Talk
from tests.support.web_values import Headers, Seen


class Reply(Protocol):
    """How a route answers."""

    async def begin(self, status: int = 200, headers: Headers = ()) -> None:
        """Send the head; pieces of the body follow."""
        ...

    async def piece(self, data: bytes) -> None:
        """Send a piece of the body."""
        ...

    async def end(self) -> None:
        """End the body."""
        ...

    async def answer(self, status: int = 200, body: bytes = b"", headers: Headers = ()) -> None:
        """Send a whole answer."""
        ...

    def cut(self) -> None:
        """Break the connection."""
        ...

    async def gone(self) -> None:
        """Wait until the client has left."""
        ...


Route = Callable[[Seen, Reply], Awaitable[None]]


@dataclass
class WebServer:
    """Answers by path; ``routes`` may be changed while it runs."""

    port: int
    scheme: str = "http"
    routes: dict[str, Route] = field(default_factory=dict[str, Route])
    seen: list[Seen] = field(default_factory=list[Seen])
    opened: int = 0
    """Connections so far."""
    open: int = 0
    """Connections now."""

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    async def act(self, seen: Seen, reply: Reply) -> None:
        """Answer one request."""
        self.seen.append(seen)
        route = self.routes.get(seen.target.partition("?")[0])
        await (route(seen, reply) if route else reply.answer(404, b"no such path"))


@asynccontextmanager
async def open_web(
    routes: Mapping[str, Route] | None = None, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[WebServer]:
    """Start a server on a free port; with ``tls`` it speaks whatever ALPN agrees on."""
    web = WebServer(0, "https" if tls else "http", dict(routes or {}))
    talks: set[asyncio.Task[None]] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task: Any = asyncio.current_task()
        talks.add(task)
        web.opened += 1
        web.open += 1
        try:
            tls_object = writer.get_extra_info("ssl_object")
            if tls_object is not None and tls_object.selected_alpn_protocol() == "h2":
                await Http2Talk(reader, writer, web.act).run()
            else:
                await _conversation(web, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, ssl.SSLError):
            pass
        finally:
            web.open -= 1
            talks.discard(task)
            if tls:
                writer.transport.abort()  # a client that is not reading would have us wait for its part of the goodbye
            writer.close()
            with suppress(ConnectionError, ssl.SSLError, asyncio.CancelledError):
                await writer.wait_closed()

    server = await asyncio.start_server(talk, host, 0, ssl=tls)
    web.port = server.sockets[0].getsockname()[1]
    try:
        yield web
    finally:
        server.close()
        for task in list(talks):
            task.cancel()
        if talks:
            await asyncio.wait(talks)
        await server.wait_closed()


async def _conversation(web: WebServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while head := await _until_blank_line(reader):
        first, *lines = head.decode("latin-1").splitlines()
        method, target, version = first.split(" ")
        headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines if line)]
        body = await _body(reader, headers)
        await web.act(
            Seen(method, target, headers, body, version.partition("/")[2]), Http1Reply(reader, writer, method)
        )


async def _until_blank_line(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


async def _body(reader: asyncio.StreamReader, headers: Headers) -> bytes:
    known = {name.lower(): value for name, value in headers}
    if known.get("transfer-encoding", "").lower() == "chunked":
        body = b""
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
        return body
    return await reader.readexactly(int(known.get("content-length", "0")))


class Http1Reply:
    """Answers one request of HTTP/1.1."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, method: str) -> None:
        self._reader = reader
        self._writer = writer
        self._bodiless = method == "HEAD"

    async def begin(self, status: int = 200, headers: Headers = ()) -> None:
        self._head(status, [*headers, ("Transfer-Encoding", "chunked")])
        await self._writer.drain()

    async def piece(self, data: bytes) -> None:
        self._writer.write(b"%x\r\n%s\r\n" % (len(data), data))
        await self._writer.drain()

    async def end(self) -> None:
        self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()

    async def answer(self, status: int = 200, body: bytes = b"", headers: Headers = ()) -> None:
        self._head(status, [*headers, ("Content-Length", str(len(body)))])
        self._writer.write(b"" if self._bodiless else body)
        await self._writer.drain()

    def raw(self, data: bytes) -> None:
        """Send bytes that need not be HTTP."""
        self._writer.write(data)

    def cut(self) -> None:
        self._writer.transport.abort()

    async def gone(self) -> None:
        await self._reader.read()

    def _head(self, status: int, headers: Headers) -> None:
        lines = [f"HTTP/1.1 {status} Said", *(f"{name}: {value}" for name, value in headers)]
        self._writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))


def answering(status: int = 200, body: bytes = b"", headers: Headers = ()) -> Route:
    """Return a route that always says the same."""

    async def route(_seen: Seen, reply: Reply) -> None:
        await reply.answer(status, body, headers)

    return route


def redirect(target: str, status: int = 302) -> Route:
    """Return a route that sends clients elsewhere."""
    return answering(status, headers=[("Location", target)])


def text(body: str, content_type: str = "text/plain; charset=utf-8") -> Route:
    """Return a route with a text."""
    return answering(200, body.encode(), [("Content-Type", content_type)])
