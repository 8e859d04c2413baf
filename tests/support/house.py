"""A whole daemon in the test's own process, with runners that a test holds in its hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from jobworkerp_standalone.daemon import Daemon, run_daemon
from jobworkerp_standalone.jobs.errors import Aborted, BadInput, Fatal, JobError, Retryable
from jobworkerp_standalone.jobs.model import OutputType
from jobworkerp_standalone.ports import Clock
from jobworkerp_standalone.runners.base import Call, Runner, Send
from jobworkerp_standalone.runners.description import Method
from jobworkerp_standalone.runners.origin import OriginKind
from jobworkerp_standalone.runners.origins import ORIGINS
from jobworkerp_standalone.runners.spec import RunnerSpec
from jobworkerp_standalone.settings import load_settings
from tests.support.patience import PATIENCE_SEC
from tests.support.wire_client import WireClient, build, connect

PUPPET = 70_001
COMMAND = 1
STATUS = {
    name: number
    for number, name in enumerate(
        ("SUCCESS", "ERROR_AND_RETRY", "FATAL_ERROR", "ABORT", "MAX_RETRY", "OTHER_ERROR", "CANCELLED")
    )
}
_LIMITS_OF_STARTS = (
    "MCP_CONNECTION_TIMEOUT_SECS",
    "MCP_TRANSPORT_START_TIMEOUT_SECS",
    "MCP_TOOLS_LOAD_TIMEOUT_SECS",
    "PLUGIN_LOAD_TIMEOUT_SECS",
)
_FAILURES: dict[bytes, type[JobError]] = {
    b"retryable": Retryable,
    b"fatal": Fatal,
    b"abort": Aborted,
    b"bad": BadInput,
}


@dataclass
class Strings:
    """What the puppets of one test did, and what they wait for."""

    ran: list[bytes] = field(default_factory=list[bytes])
    calls: list[Call] = field(default_factory=list[Call])
    loads: list[bytes] = field(default_factory=list[bytes])
    closed: int = 0
    running: int = 0
    most_running: int = 0
    cancelled: int = 0
    release: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def until(self, condition: Any, seconds: float = PATIENCE_SEC) -> None:
        """Wait until ``condition()`` holds, looked at after each step of a puppet."""
        async with asyncio.timeout(seconds), self.changed:
            await self.changed.wait_for(condition)

    async def tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()


class Puppet(Runner):
    """Does what its args say.

    ``wait`` until released; ``fail KIND TEXT``; ``flaky N`` fails (retryable) the first N times; ``crash`` raises what
    no runner should; ``stray`` waits for something that was cancelled; ``woken`` is cancelled by a library that
    takes the cancellation for its own, then waits; anything else is echoed. As a stream: one item per word;
    ``fail`` after items fails.
    """

    def __init__(self, strings: Strings) -> None:
        self._strings = strings

    async def load(self, settings: bytes) -> None:
        self._strings.loads.append(settings)
        await self._strings.tell()
        if settings == b"broken":
            raise Fatal("these settings are broken")
        if settings == b"slow":
            await self._strings.release.wait()

    async def run(self, call: Call) -> bytes:
        strings = self._strings
        strings.ran.append(call.args)
        strings.calls.append(call)
        strings.running += 1
        strings.most_running = max(strings.most_running, strings.running)
        await strings.tell()
        try:
            return await self._act(call)
        except asyncio.CancelledError:
            strings.cancelled += 1
            raise
        finally:
            strings.running -= 1

    async def stream(self, call: Call, send: Send) -> None:
        strings = self._strings
        strings.ran.append(call.args)
        strings.calls.append(call)
        await strings.tell()
        call.trailer["puppet"] = "bowed"
        if call.feed is not None:
            async for item in call.feed:
                await send(b"fed:" + item)
            return
        for word in call.args.split():
            if word == b"wait":
                await strings.release.wait()
            elif word in _FAILURES:
                raise _FAILURES[word]("the stream broke")
            else:
                await send(word)

    async def _act(self, call: Call) -> bytes:
        verb, *rest = call.args.split(b" ", 2)
        if verb == b"wait":
            await self._strings.release.wait()
        elif verb == b"fail":
            raise _FAILURES[rest[0]](rest[1].decode() if rest[1:] else "told to fail")
        elif verb == b"flaky" and self._strings.ran.count(call.args) <= int(rest[0]):
            raise Retryable(f"flaky, attempt {self._strings.ran.count(call.args)}")
        elif verb == b"stray":
            stranger: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            stranger.cancel()
            await stranger
        elif verb == b"woken":
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
            await self._strings.release.wait()
        elif verb == b"crash":
            raise ZeroDivisionError("the runner crashed")
        return b"did " + call.args

    async def aclose(self) -> None:
        self._strings.closed += 1
        await self._strings.tell()


@dataclass
class House:
    """The daemon, a client, the strings."""

    daemon: Daemon
    client: WireClient
    strings: Strings

    def waiting(self, channel: str) -> list[bytes]:
        """Return the args of the jobs that wait in a channel's queue."""
        return [job.args for job in self.daemon.engine.queue.listing(channel)]

    @property
    def port(self) -> int:
        return self.daemon.addresses[0].port

    async def worker(self, name: str = "w", runner: int = PUPPET, **fields: Any) -> int:
        """Create a worker, NO_RESULT unless said otherwise, and return its id."""
        reply = await self.client.call("WorkerService.Create", name=name, runner_id={"value": runner}, **fields)
        return reply.id.value

    async def enqueue(self, args: bytes = b"x", worker: str = "w", **fields: Any) -> Any:
        """Enqueue and return the reply."""
        return await self.client.call("JobService.Enqueue", worker_name=worker, args=args, **fields)

    async def listen(self, job_id: int, worker: str = "w", timeout: int = round(PATIENCE_SEC * 1000)) -> Any:
        """Return the final result of a job."""
        request = build(
            "jobworkerp.service.ListenRequest", job_id={"value": job_id}, worker_name=worker, timeout=timeout
        )
        return await self.client.call("JobResultService.Listen", request)

    def look_at_the_clock(self) -> None:
        """Have the daemon see that its clock was set; by itself it does within the fetch interval."""
        self.daemon.engine.poller._wake.set()

    async def delete(self, job_id: int) -> bool:
        """Delete a job."""
        return (await self.client.call("JobService.Delete", value=job_id)).is_success

    async def results(self, job_id: int) -> list[Any]:
        """Return the stored results of a job."""
        return (await self.client.items("JobResultService.FindListByJobId", job_id={"value": job_id})).items

    async def status(self, job_id: int) -> int | None:
        """Return the live status of a job."""
        reply = await self.client.call("JobProcessingStatusService.Find", value=job_id)
        return reply.status if reply.HasField("status") else None


async def eventually(condition: Callable[[], bool], seconds: float = PATIENCE_SEC) -> None:
    """Let the loop run until ``condition()`` holds."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.001)


@asynccontextmanager
async def open_house(
    folder: Path,
    *,
    clock: Clock | None = None,
    origins: Sequence[OriginKind] = ORIGINS,
    more: Callable[[Strings], list[RunnerSpec]] | None = None,
    **environment: str,
) -> AsyncIterator[House]:
    """Start a daemon in this process. Nothing is configured but what the test names. ``more``: further runner kinds."""
    defaults = {
        "GRPC_ADDR": "127.0.0.1:0",
        "SQLITE_URL": f"sqlite://{folder}/jobs.sqlite3",
        "WORKER_DEFAULT_CONCURRENCY": "4",
        "WORKER_CHANNELS": "narrow",
        "WORKER_CHANNEL_CONCURRENCIES": "1",
        "SHUTDOWN_GRACE_SEC": "0",
        "PLUGINS_RUNNER_DIR": f"{folder}/plugins",
        "MCP_CONFIG": f"{folder}/mcp-settings.toml",
        **dict.fromkeys(_LIMITS_OF_STARTS, f"{PATIENCE_SEC:g}"),
    }
    strings = Strings()
    settings = load_settings({**defaults, **environment})
    specs = [puppet_spec(strings), *(more(strings) if more else [])]
    async with run_daemon(settings, specs, clock, origins) as daemon:
        address = daemon.addresses[0]
        async with connect(address.host, address.port) as client:
            yield House(daemon, client, strings)


def puppet_spec(strings: Strings) -> RunnerSpec:
    """Return the runner kind of the puppets."""
    methods = {
        "run": Method(output_type=OutputType.BOTH),
        "plain": Method("plain"),
        "flow": Method("flow", output_type=OutputType.STREAMING),
        "fed": Method("fed", output_type=OutputType.STREAMING, require_client_stream=True),
    }
    return RunnerSpec(
        PUPPET, 0, "PUPPET", "Does as it is told.", "test", methods=methods, make=lambda _host: Puppet(strings)
    )


@asynccontextmanager
async def refused(status: Status, *words: str) -> AsyncIterator[None]:
    """Expect a call to end with ``status`` and a text that holds all ``words``."""
    with pytest.raises(GRPCError) as caught:
        yield
    assert caught.value.status is status, caught.value
    for word in words:
        assert word in (caught.value.message or ""), f"{word!r} is not in {caught.value.message!r}"
