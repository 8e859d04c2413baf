"""Another gRPC server, made with grpcio: what the GRPC runners call in tests. It has no reflection.

As a program it serves until it is killed and prints its port first.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message_factory import GetMessageClass

from jobworkerp_standalone.schema.text import pool_of

PROTO = """syntax = "proto3";
package peer;

message Ask {
  string text = 1;
  int64 number = 2;
  Colour colour = 3;
}

enum Colour {
  RED = 0;
  DARK_BLUE = 1;
}

message Answer {
  string text = 1;
  int64 number = 2;
  Colour colour = 3;
  bytes filling = 4;
}

service Peer {
  rpc Say(Ask) returns (Answer);
  rpc Count(Ask) returns (stream Answer);
  rpc Gather(stream Ask) returns (Answer);
  rpc Echo(stream Ask) returns (stream Answer);
}
"""
SAY, COUNT = "peer.Peer/Say", "peer.Peer/Count"
_POOL = pool_of(PROTO)
Ask: Any = GetMessageClass(_POOL.FindMessageTypeByName("peer.Ask"))
Answer: Any = GetMessageClass(_POOL.FindMessageTypeByName("peer.Answer"))


@dataclass
class Peer:
    """What the server saw."""

    target: str = ""
    heard: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    waiting: int = 0
    hung: int = 0
    """Calls so far that waited for ever."""
    cancelled: int = 0
    pausing: bool = False
    """It has begun to answer and waits until it may go on."""
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    connections: set[str] = field(default_factory=set[str])

    @property
    def port(self) -> int:
        return int(self.target.rpartition(":")[2])

    async def say(self, request: Any, context: Any) -> Any:
        """Do what the text says; answer with what was asked."""
        self.heard.append(dict(context.invocation_metadata()))
        self.connections.add(context.peer())
        await context.send_initial_metadata((("head", "first"), ("raw-bin", b"\x00\xff")))
        context.set_trailing_metadata((("tail", "last"),))
        match request.text:
            case "fail":
                details = ("grpc-status-details-bin", b"\x08\x05")
                context.set_trailing_metadata((("tail", "last"), details))
                await context.abort(grpc.StatusCode.NOT_FOUND, "no such thing: 100 % gone")
            case "unavailable":
                await context.abort(grpc.StatusCode.UNAVAILABLE, "come back later")
            case "hang":
                await self._hang()
            case "die":
                os._exit(1)
            case _:
                pass
        return Answer(text=request.text, number=request.number, colour=request.colour, filling=self._filling(request))

    async def count(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """Answer ``number`` times, then do what the text says."""
        await context.send_initial_metadata((("head", "first"),))
        context.set_trailing_metadata((("tail", "last"),))
        for number in range(request.number):
            yield Answer(text="item", number=number)
        match request.text:
            case "fail":
                await context.abort(grpc.StatusCode.ABORTED, "half-way")
            case "pause":
                self.pausing = True
                await self.go_on.wait()
                yield Answer(text="after the pause")
            case "hang":
                await self._hang()
            case "die":
                await asyncio.sleep(0.05)
                os._exit(1)
            case _:
                pass

    async def gather(self, requests: AsyncIterator[Any], context: Any) -> Any:
        """Answer once, with all texts and the sum of the numbers; what the first text says comes before that."""
        texts: list[str] = []
        total = 0
        async for request in requests:
            if request.text == "enough":
                await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "that is enough")
            texts.append(request.text)
            total += request.number
        return Answer(text=",".join(texts), number=total)

    async def echo(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        """Answer each message before the next is read."""
        del context
        async for request in requests:
            yield Answer(text=request.text, number=request.number)

    async def _hang(self) -> None:
        self.waiting += 1
        self.hung += 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.waiting -= 1

    @staticmethod
    def _filling(request: Any) -> bytes:
        return bytes(request.number) if request.text == "big" else b""


def credentials(key: bytes, certificate: bytes, authority: bytes | None) -> Any:
    """Return what a TLS server needs; with ``authority`` it wants a client certificate."""
    return grpc.ssl_server_credentials([(key, certificate)], authority, require_client_auth=authority is not None)


@asynccontextmanager
async def open_peer(tls: Any = None) -> AsyncIterator[Peer]:
    """Serve in this process."""
    peer = Peer()
    options = {
        "grpc.max_send_message_length": -1,
        "grpc.max_receive_message_length": -1,
        "grpc.http2.bdp_probe": 0,  # else its buffers grow as it likes
        "grpc.http2.lookahead_bytes": 65_536,
    }
    server = grpc.aio.server(options=list(options.items()))
    handlers = {
        "Say": grpc.unary_unary_rpc_method_handler(peer.say, Ask.FromString, Answer.SerializeToString),
        "Gather": grpc.stream_unary_rpc_method_handler(peer.gather, Ask.FromString, Answer.SerializeToString),
        "Echo": grpc.stream_stream_rpc_method_handler(peer.echo, Ask.FromString, Answer.SerializeToString),
        "Count": grpc.unary_stream_rpc_method_handler(peer.count, Ask.FromString, Answer.SerializeToString),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("peer.Peer", handlers),))
    port = server.add_secure_port("127.0.0.1:0", tls) if tls else server.add_insecure_port("127.0.0.1:0")
    peer.target = f"127.0.0.1:{port}"
    await server.start()
    try:
        yield peer
    finally:
        await server.stop(0)


async def _serve() -> None:
    async with open_peer() as peer:
        print(peer.port, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve())
