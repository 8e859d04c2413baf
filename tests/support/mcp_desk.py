"""A daemon with MCP servers made for a test, and what a test does with them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from jobworkerp_standalone.schema.convert import json_to_bytes
from jobworkerp_standalone.schema.text import root_message
from tests.support.house import STATUS, House, open_house
from tests.support.patience import PATIENCE_SEC
from tests.support.ports import held_port
from tests.support.wire_client import build

SERVER = Path(__file__).with_name("mcp_server.py")
PLAIN = Path(__file__).with_name("plain_mcp.py")
DIRECT = 1
_NUMBERS = count(1)


@dataclass
class Desk:
    """The house, and the folder of its servers."""

    house: House
    folder: Path
    latest: str = ""
    """The worker that was created last; jobs are for it unless they say otherwise."""
    _mark: int = 0

    def configure(self, *entries: dict[str, Any]) -> None:
        configure(self.folder, *entries)

    def events(self) -> list[str]:
        """Return what the servers wrote down since the last worker was created."""
        return self._all_events()[self._mark :]

    def _all_events(self) -> list[str]:
        path = self.folder / "events"
        return path.read_text().splitlines() if path.exists() else []

    def starts(self) -> list[int]:
        """Return the process ids of all servers that were started."""
        return [int(line.split()[1]) for line in self._all_events() if line.startswith("started")]

    async def until(self, condition: Any, seconds: float = PATIENCE_SEC) -> None:
        """Wait for what other processes do."""
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - they tell nobody
                await asyncio.sleep(0.01)

    async def runner(self, name: str = "test", seconds: float = PATIENCE_SEC) -> Any:
        """Return a runner when it is listed."""
        async with asyncio.timeout(seconds):
            while not (found := await self.find(name)):  # noqa: ASYNC110 - clients poll
                await asyncio.sleep(0.01)
        return found

    async def find(self, name: str = "test") -> Any:
        reply = await self.house.client.call("RunnerService.FindByName", name=name)
        return reply.data if reply.HasField("data") else None

    async def worker(self, runner: str = "test", **fields: Any) -> str:
        """Create a DIRECT worker and return its name."""
        found = await self.runner(runner)
        self.latest = f"w{next(_NUMBERS)}"
        self._mark = len(self._all_events())
        await self.house.worker(self.latest, found.id.value, **{"response_type": DIRECT, **fields})
        return self.latest

    async def bytes_of(self, tool: str, arguments: dict[str, Any], runner: str = "test") -> bytes:
        """Return the args of a call, made with the schema that clients are shown."""
        schemas = (await self.runner(runner)).data.method_proto_map.schemas
        return json_to_bytes(arguments, root_message(schemas[tool].args_proto))

    async def job(self, tool: str, arguments: dict[str, Any] | None = None, worker: str = "", **fields: Any) -> Any:
        """Run a job and return its result data."""
        args = await self.bytes_of(tool, arguments or {})
        return (await self.house.enqueue(args, worker or self.latest, using=tool, **fields)).result.data

    async def call(self, tool: str, arguments: dict[str, Any] | None = None, worker: str = "", **fields: Any) -> Any:
        """Run a job that succeeds and return what the tool answered."""
        return answer(await self.job(tool, arguments, worker, **fields))

    async def text(self, tool: str, arguments: dict[str, Any] | None = None, worker: str = "", **fields: Any) -> Any:
        """Return the JSON in the text that a tool answers."""
        return json.loads((await self.call(tool, arguments, worker, **fields)).content[0].text.text)

    async def stream(self, tool: str, arguments: dict[str, Any] | None = None, **fields: Any) -> list[Any]:
        """Return the items of a stream."""
        args = await self.bytes_of(tool, arguments or {})
        reply = await self.house.client.items(
            "JobService.EnqueueForStream", worker_name=self.latest, args=args, using=tool, **fields
        )
        return [decode(item.data) for item in reply.items if item.HasField("data")]

    async def start(self, tool: str, arguments: dict[str, Any] | None = None, **fields: Any) -> int:
        """Enqueue without waiting for the result and return the job's id."""
        args = await self.bytes_of(tool, arguments or {})
        reply = await self.house.enqueue(args, self.latest, using=tool, overrides={"response_type": 0}, **fields)
        return reply.id.value

    @asynccontextmanager
    async def streaming(self, tool: str, arguments: dict[str, Any]) -> AsyncIterator[tuple[int, Any]]:
        """Start a job that streams; yield its id and the open call."""
        args = await self.bytes_of(tool, arguments)
        async with self.house.client.open("JobService.EnqueueForStream") as stream:
            request = build("jobworkerp.service.JobRequest", worker_name=self.latest, args=args, using=tool)
            await stream.send_message(request.SerializeToString(), end=True)
            await stream.recv_initial_metadata()
            yield job_id((stream.initial_metadata or {})["x-job-id-bin"]), stream


def job_id(data: Any) -> int:
    found = build("JobId")
    found.ParseFromString(data)
    return found.value


def decode(data: bytes) -> Any:
    return type(build("jobworkerp.runner.McpServerResult")).FromString(data)


def answer(data: Any) -> Any:
    assert data.status == STATUS["SUCCESS"], data.output.items.decode()
    return decode(data.output.items)


def failure(data: Any, status: str) -> str:
    assert data.status == STATUS[status], data
    return data.output.items.decode()


def stdio(folder: Path, name: str = "test", **keys: Any) -> dict[str, Any]:
    """Return the entry of the test server as a process."""
    envs = {"MCP_TEST_DIR": str(folder), **keys.pop("envs", {})}
    return {"name": name, "transport": "stdio", "command": sys.executable, "args": [str(SERVER), "stdio"],
            "envs": envs, **keys}  # fmt: skip


def plain(folder: Path, name: str = "test", **keys: Any) -> dict[str, Any]:
    """Return the entry of the plain server: a process that is there at once."""
    args = ["-S", "-I", str(PLAIN), str(folder)]
    return {"name": name, "transport": "stdio", "command": sys.executable, "args": args, **keys}


def configure(folder: Path, *entries: dict[str, Any]) -> None:
    """Write the settings file, as editors do: another file in its place."""
    beside = folder / "new.json"
    beside.write_text(json.dumps({"server": entries}))
    beside.replace(folder / "mcp-settings.json")


@asynccontextmanager
async def open_desk(folder: Path, *entries: dict[str, Any], **environment: str) -> AsyncIterator[Desk]:
    """Start a daemon with these servers; at its end nothing of them is left."""
    configure(folder, *entries)
    settings: dict[str, Any] = {
        "MCP_CONFIG": str(folder / "mcp-settings.json"),
        "MCP_CONFIG_WATCH_MS": "20",
        **environment,
    }
    async with open_house(folder, **settings) as house:
        desk = Desk(house, folder)
        yield desk
    assert not [pid for pid in desk.starts() if alive(pid)]


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


class HttpServer:
    """The test server at an address."""

    def __init__(self, kind: str, folder: Path, port: int, token: str = "") -> None:
        self._kind, self._folder = kind, folder
        self._process = subprocess.Popen(
            [sys.executable, str(SERVER), kind, str(port)],
            env={**os.environ, "MCP_TEST_DIR": str(folder), "MCP_TEST_TOKEN": token},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline(), "it did not start"
        self.port = port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/{'sse' if self._kind == 'sse' else 'mcp'}"

    def again(self) -> None:
        """Start it anew at the same address."""
        self.kill()
        self._process = HttpServer(self._kind, self._folder, self.port)._process

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


@contextmanager
def http_server(kind: str, folder: Path, token: str = "", port: int = 0) -> Iterator[HttpServer]:
    """Run the test server at an address, which is its own until the end."""
    with held_port() as held:
        server = HttpServer(kind, folder, port or held, token)
        try:
            yield server
        finally:
            server.kill()
