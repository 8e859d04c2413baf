"""Servers at an address that answer what the protocol does not know, or nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.house import eventually
from tests.support.mcp_desk import failure, open_desk

CALLS = {
    "page": (200, "text/html", b"<html>"),
    "no JSON": (200, "application/json", b"{nope"),
    "broken stream": (200, "text/event-stream", b"data:"),
    "no event": (200, "text/event-stream", b"data: {nope\n\n"),
    "error": (500, "text/plain", b"oops"),
    "refused": (401, "text/plain", b"who"),
    "nothing": (202, "text/plain", b""),
    "forgotten": (404, "text/plain", b""),
}
NO_PROTOCOL = ("page", "nothing")
"""Answers by which the library knows that trying again is of no use."""


class Rude:
    """Shakes hands, lists a tool, and answers its calls as it is told to."""

    def __init__(self, answer: tuple[int, str, bytes]) -> None:
        self._answer = answer
        self.greeted = 0
        self.left = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
                size = next((int(line.partition(":")[2]) for line in head if line.startswith("content-length")), 0)
                body: dict[str, Any] = json.loads(await reader.readexactly(size)) if size else {}
                if head[0].startswith("delete"):
                    self.left += 1
                    await asyncio.Event().wait()  # no farewell
                status, kind, data = self.answer(body)
                about = (
                    f"HTTP/1.1 {status} -\r\nContent-Type: {kind}\r\nMcp-Session-Id: s\r\nContent-Length: {len(data)}"
                )
                writer.write(about.encode() + b"\r\n\r\n" + data)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def answer(self, body: dict[str, Any]) -> tuple[int, str, bytes]:
        method = body.get("method")
        if method == "tools/call":
            return self._answer
        if method == "initialize":
            self.greeted += 1
            version = body["params"]["protocolVersion"]
            result = {"protocolVersion": version, "serverInfo": {"name": "r", "version": "1"}, "capabilities": {}}
        elif method == "tools/list":
            result = {"tools": [{"name": "t", "inputSchema": {"type": "object"}}]}
        else:
            return (202 if method else 405), "text/plain", b""
        return 200, "application/json", json.dumps({"jsonrpc": "2.0", "id": body["id"], "result": result}).encode()


@asynccontextmanager
async def listening(rude: Rude) -> AsyncIterator[str]:
    calls: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        calls.add(asyncio.create_task(rude.serve(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"
    finally:
        server.close()
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


@pytest.mark.parametrize("kind", CALLS)
async def test_no_answer_hangs_a_job(tmp_path: Path, kind: str) -> None:
    async with listening(Rude(CALLS[kind])) as url:
        entry = {"name": "test", "transport": "streamable-http", "url": url}
        async with open_desk(tmp_path, entry) as desk:
            await desk.worker()
            status = "OTHER_ERROR" if kind in NO_PROTOCOL else "MAX_RETRY"
            text = failure(await desk.job("t", timeout=60_000), status)
            assert text.startswith("tool 't' of MCP server 'test' ")


async def test_a_server_is_told_of_the_end_of_each_isolated_session(tmp_path: Path) -> None:
    rude = Rude(CALLS["nothing"])
    async with listening(rude) as url:
        entry = {"name": "test", "transport": "streamable-http", "url": url, "isolated": True}
        async with open_desk(tmp_path, entry) as desk:
            await desk.worker()
            await desk.job("t", timeout=60_000)
            await eventually(lambda: rude.left == rude.greeted - 1 > 0)  # the one that follows the tools stays
        assert rude.left == rude.greeted


async def test_a_server_that_answers_no_farewell_is_greeted_again(tmp_path: Path) -> None:
    rude = Rude(CALLS["forgotten"])
    async with listening(rude) as url:
        entry = {"name": "test", "transport": "streamable-http", "url": url}
        async with open_desk(tmp_path, entry) as desk:
            await desk.worker()
            for times in (1, 2):
                assert "forgotten the session" in failure(await desk.job("t", timeout=60_000), "MAX_RETRY")
                assert rude.greeted == times
