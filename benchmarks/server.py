"""The measured process: the daemon with a no-op runner and, on the same loop, two servers that only answer.

Started with the daemon's own environment variables. Prints one JSON line when it is up, then answers orders, one
JSON object per line: ``{"wait": N}`` waits until no job is left and says when the last of N jobs ran.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import httpx
from google.protobuf.empty_pb2 import Empty
from google.protobuf.wrappers_pb2 import BytesValue, StringValue
from grpclib.const import Cardinality, Handler
from grpclib.server import Server, Stream

from benchmarks import small_mcp
from jobworkerp_standalone.daemon import Daemon, run_daemon, tune_interpreter
from jobworkerp_standalone.log import set_up_logging
from jobworkerp_standalone.rpc.server import serve
from jobworkerp_standalone.runners.base import Call, Runner
from jobworkerp_standalone.runners.description import Method
from jobworkerp_standalone.runners.spec import RunnerSpec
from jobworkerp_standalone.settings import Settings, load_settings

if TYPE_CHECKING:
    from mcp.client.session import ClientSession

NOOP_ID = 60_000
NOOP_NAME = "BENCH_NOOP"
FLOOR_PATH = "/benchmarks.Floor/Empty"
FETCH_PATH = "/benchmarks.Floor/Fetch"
TOOL_PATH = "/benchmarks.Floor/Tool"
_LOOK_AGAIN_SEC = 0.001
_BACKLOG = 1024


@dataclass(slots=True)
class Ran:
    """How many jobs the no-op runner did, and when the last one."""

    count: int = 0
    last: float = 0.0


class NoopRunner(Runner):
    """Does nothing."""

    def __init__(self, ran: Ran) -> None:
        self._ran = ran

    async def run(self, call: Call) -> bytes:  # noqa: ARG002 - every job is the same to it
        """Count the job."""
        self._ran.count += 1
        self._ran.last = time.monotonic()
        return b""


class Floor:
    """An empty unary call, one that asks a web server, and one that calls an MCP tool, as plainly as can be."""

    def __init__(self, session: ClientSession | None = None) -> None:
        self._client = httpx.AsyncClient()
        self._session = session

    def __mapping__(self) -> Mapping[str, Handler]:
        return {
            FLOOR_PATH: Handler(_answer, Cardinality.UNARY_UNARY, Empty, Empty),
            FETCH_PATH: Handler(self._fetch, Cardinality.UNARY_UNARY, StringValue, BytesValue),
            TOOL_PATH: Handler(self._tool, Cardinality.UNARY_UNARY, StringValue, StringValue),
        }

    async def _fetch(self, stream: Stream[Any, Any]) -> None:
        url = await stream.recv_message()
        assert url is not None
        response = await self._client.get(url.value)
        await stream.send_message(BytesValue(value=response.content))

    async def _tool(self, stream: Stream[Any, Any]) -> None:
        arguments = await stream.recv_message()
        assert arguments is not None
        assert self._session is not None
        result: Any = await self._session.call_tool(small_mcp.TOOL, json.loads(arguments.value))
        await stream.send_message(StringValue(value=result.content[0].text))

    async def aclose(self) -> None:
        await self._client.aclose()


async def _answer(stream: Stream[Any, Any]) -> None:
    await stream.recv_message()
    await stream.send_message(Empty())


async def run(settings: Settings, *, has_tools: bool) -> None:
    """Serve until standard input ends; with an MCP session where the daemon has one."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(small_mcp.plain_session()) if has_tools else None
        await _serve(settings, Floor(session))


def noop_spec(ran: Ran) -> RunnerSpec:
    """Return the kind of runner that does nothing and counts."""
    return RunnerSpec(
        id=NOOP_ID,
        type=NOOP_ID,
        name=NOOP_NAME,
        description="Does nothing.",
        definition="benchmark",
        methods={"run": Method()},
        make=lambda _host: NoopRunner(ran),
    )


async def _serve(settings: Settings, floor: Floor) -> None:
    ran = Ran()
    spec = noop_spec(ran)
    bare = Server([floor])
    async with run_daemon(settings, [spec]) as daemon, serve([Floor()], settings) as edge:
        listening = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
        await bare.start(sock=listening)
        tune_interpreter()
        ports = {
            "daemon": daemon.addresses[0].port,
            "edge": edge.addresses[0].port,
            "bare": listening.getsockname()[1],
        }
        _say({"ports": ports, "loop": type(asyncio.get_running_loop()).__module__})
        while line := await anyio.to_thread.run_sync(sys.stdin.readline):
            _say(await _obey(json.loads(line), daemon, ran))
        bare.close()
        await bare.wait_closed()
    await floor.aclose()


async def _obey(order: dict[str, Any], daemon: Daemon, ran: Ran) -> dict[str, float]:
    while ran.count < order["wait"] or len(daemon.engine.live):  # noqa: ASYNC110 - nobody is told of a job's end
        await anyio.sleep(_LOOK_AGAIN_SEC)
    return {"ran": ran.count, "last": ran.last}


def _say(told: Mapping[str, object]) -> None:
    print(json.dumps(told), flush=True)


def main() -> None:
    """Run in the loop that the daemon would run in."""
    settings = load_settings(os.environ)
    set_up_logging(settings)
    try:
        from uvloop import new_event_loop  # noqa: PLC0415 - an extra
    except ImportError:
        new_event_loop = None
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(run(settings, has_tools=Path(settings.mcp_config).exists()))


if __name__ == "__main__":
    main()
