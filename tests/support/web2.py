"""The HTTP/2 side of the test server, on h2."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, DataReceived, RequestReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError

from tests.support.web_values import Headers, Seen

Act = Callable[[Seen, "Http2Reply"], Awaitable[None]]
_READ_BYTES = 65_536


class Http2Reply:
    """Answers one request of HTTP/2."""

    def __init__(self, talk: Http2Talk, stream: int) -> None:
        self._talk = talk
        self._stream = stream
        self.left = asyncio.Event()

    async def begin(self, status: int = 200, headers: Headers = ()) -> None:
        lowered = [(name.lower(), value) for name, value in headers]
        self._talk.h2.send_headers(self._stream, [(":status", str(status)), *lowered])
        await self._talk.flush()

    async def piece(self, data: bytes) -> None:
        self._talk.h2.send_data(self._stream, data)
        await self._talk.flush()

    async def end(self) -> None:
        self._talk.h2.end_stream(self._stream)
        await self._talk.flush()

    async def answer(self, status: int = 200, body: bytes = b"", headers: Headers = ()) -> None:
        await self.begin(status, headers)
        await self.piece(body)
        await self.end()

    def cut(self) -> None:
        """Break this stream alone."""
        self._talk.h2.reset_stream(self._stream, ErrorCodes.INTERNAL_ERROR)
        self._talk.send()

    async def gone(self) -> None:
        await self.left.wait()


class Http2Talk:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, act: Act) -> None:
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self._reader = reader
        self._writer = writer
        self._act = act
        self._heads: dict[int, dict[str, Any]] = {}
        self._replies: dict[int, Http2Reply] = {}

    async def run(self) -> None:
        """Talk until the client leaves."""
        self.h2.initiate_connection()
        async with asyncio.TaskGroup() as answers:
            try:
                await self._listen(answers)
            finally:
                for reply in self._replies.values():
                    reply.left.set()

    async def _listen(self, answers: asyncio.TaskGroup) -> None:
        await self.flush()
        while data := await self._reader.read(_READ_BYTES):
            for event in self.h2.receive_data(data):
                if isinstance(event, ConnectionTerminated):
                    return
                self._take(event, answers)
            await self.flush()

    async def flush(self) -> None:
        self.send()
        await self._writer.drain()

    def send(self) -> None:
        self._writer.write(self.h2.data_to_send())

    def _take(self, event: object, answers: asyncio.TaskGroup) -> None:
        if isinstance(event, RequestReceived):
            assert event.stream_id is not None
            self._heads[event.stream_id] = {"headers": list(event.headers or ()), "body": b""}
        elif isinstance(event, DataReceived):
            self._heads[event.stream_id]["body"] += event.data
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, StreamEnded):
            assert event.stream_id is not None
            answers.create_task(self._answer(event.stream_id))
        elif isinstance(event, StreamReset) and event.stream_id in self._replies:
            self._replies[event.stream_id].left.set()

    async def _answer(self, stream: int) -> None:
        head = self._heads.pop(stream)
        pseudo = {name: value for name, value in head["headers"] if name.startswith(":")}
        headers = [(name, value) for name, value in head["headers"] if not name.startswith(":")]
        reply = self._replies[stream] = Http2Reply(self, stream)
        try:
            await self._act(Seen(pseudo[":method"], pseudo[":path"], headers, head["body"], "2"), reply)
        except ProtocolError:  # the client left in the middle
            pass
        finally:
            del self._replies[stream]
