"""A small service behind the edge, and ways to call it that no generated client allows."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
from grpclib.const import Cardinality, Handler
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.settings import SettingCodes

from jobworkerp_standalone.jobs.errors import JobNotSuccessful, NotFound, StorageError
from jobworkerp_standalone.jobs.model import ResultStatus
from jobworkerp_standalone.rpc.codec import Wire
from jobworkerp_standalone.rpc.metadata import job_metadata
from jobworkerp_standalone.rpc.server import Edge, serve
from jobworkerp_standalone.schema.messages import message_class
from jobworkerp_standalone.settings import Address, Settings
from tests.support.patience import PATIENCE_SEC

JOB_REQUEST = "jobworkerp.service.JobRequest"
JobRequest: Any = message_class(JOB_REQUEST)
LOOPBACK = (Address("127.0.0.1", 0),)
ENQUEUE = "/jobworkerp.service.JobService/Enqueue"
CREATE_WORKER = "/jobworkerp.service.WorkerService/Create"


@dataclass
class Probe:
    """Answers with what it is asked; remembers what happened."""

    waiting: int = 0
    cancelled: int = 0
    sent: int = 0
    seen: list[Mapping[str, str]] = field(default_factory=list[Mapping[str, str]])
    release: asyncio.Event = field(default_factory=asyncio.Event)

    def __mapping__(self) -> Mapping[str, Handler]:
        one, many = Cardinality.UNARY_UNARY, Cardinality.UNARY_STREAM
        methods = {
            "/probe.Probe/Echo": (self.echo, one),
            "/probe.Probe/Wait": (self.wait, one),
            "/probe.Probe/Fail": (self.fail, one),
            "/probe.Probe/Count": (self.count, many),
            "/probe.Probe/Flood": (self.flood, many),
            "/probe.Probe/Gather": (self.gather, Cardinality.STREAM_UNARY),
            "/probe.Probe/Header": (self.header, many),
            "/probe.Probe/Forever": (self.forever, Cardinality.STREAM_STREAM),
            ENQUEUE: (self.echo, one),
            CREATE_WORKER: (self.echo, one),
        }
        wire = Wire[Any](JOB_REQUEST)
        return {path: Handler(func, kind, wire, wire) for path, (func, kind) in methods.items()}

    async def echo(self, stream: Any) -> None:
        request = await stream.recv_message()
        self.seen.append(job_metadata(stream.metadata))
        await stream.send_message(request)

    async def wait(self, stream: Any) -> None:
        request = await stream.recv_message()
        self.waiting += 1
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.waiting -= 1
        await stream.send_message(request)

    async def fail(self, stream: Any) -> None:
        request = await stream.recv_message()
        match request.worker_name:
            case "not found":
                raise NotFound("worker 7 does not exist; list the workers \u2192 find the right one\n100%")
            case "trailers":
                raise JobNotSuccessful(
                    ResultStatus.ABORT, "x" * 20_000, trailers={"x-job-id-bin": b"\x08\x07", "x-big-bin": bytes(4000)}
                )
            case "storage":
                raise StorageError("secret table is locked")
            case "group":
                async with anyio.create_task_group():
                    raise NotFound("inside a group")
            case "nothing":
                return
            case "stranger":
                future = asyncio.get_running_loop().create_future()
                future.cancel()
                await future
            case _:
                raise ValueError("secret detail")

    async def count(self, stream: Any) -> None:
        request = await stream.recv_message()
        for number in range(request.run_after_time):
            await stream.send_message(JobRequest(run_after_time=number))

    async def flood(self, stream: Any) -> None:
        request = await stream.recv_message()
        for _ in range(1000):
            await stream.send_message(JobRequest(args=bytes(request.run_after_time)))
            self.sent += 1

    async def gather(self, stream: Any) -> None:
        total = 0
        async for request in stream:
            total += len(request.args)
        await stream.send_message(JobRequest(run_after_time=total))

    async def header(self, stream: Any) -> None:
        await stream.recv_message()
        await stream.send_initial_metadata(metadata={"x-job-id-bin": b"\x08\x2a"})
        self.waiting += 1
        await self.release.wait()
        await stream.send_message(JobRequest(run_after_time=1))

    async def forever(self, stream: Any) -> None:
        async for _ in stream:
            self.waiting += 1
            await self.release.wait()


@asynccontextmanager
async def edge(probe: Probe, grace_sec: float = 0.2, **settings: Any) -> AsyncIterator[tuple[Edge, int]]:
    """Serve ``probe`` on a free port."""
    async with serve([probe], Settings(grpc_addresses=LOOPBACK, **settings), grace_sec=grace_sec) as bound:
        yield bound, bound.addresses[0].port


async def until(condition: Any, seconds: float = PATIENCE_SEC) -> None:
    """Wait until ``condition()`` holds."""
    with anyio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await anyio.sleep(0.002)


def framed(data: bytes, *, flag: int = 0, size: int | None = None) -> bytes:
    """Return a gRPC message with its prefix."""
    return bytes([flag]) + (len(data) if size is None else size).to_bytes(4, "big") + data


async def closed(writer: asyncio.StreamWriter) -> None:
    """Close a connection and wait until it is."""
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


class RawClient:
    """A client that says exactly what a test wants, frame by frame."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.http2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.http2.initiate_connection()
        self.ended = False

    @classmethod
    @asynccontextmanager
    async def connect(cls, port: int, window: int = 65_535) -> AsyncIterator[RawClient]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**16)
        client = cls(reader, writer)
        client.http2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: window})
        if window > 65_535:
            client.http2.increment_flow_control_window(window - 65_535)
        client.flush()
        try:
            yield client
        finally:
            writer.transport.abort()
            await closed(writer)

    def flush(self) -> None:
        self.writer.write(self.http2.data_to_send())

    def open(self, path: str, *extra: tuple[str, str], end: bool = False) -> int:
        """Send the headers of a call; its stream number."""
        number = self.http2.get_next_available_stream_id()
        headers = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost")]
        self.http2.send_headers(
            number, [*headers, ("content-type", "application/grpc"), ("te", "trailers"), *extra], end_stream=end
        )
        self.flush()
        return number

    def send(self, number: int, data: bytes, *, end: bool = True) -> None:
        self.http2.send_data(number, data, end_stream=end)
        self.flush()

    async def events(self) -> list[Event]:
        """Return what comes next; empty at the end of the connection."""
        try:
            data = await self.reader.read(65_536)
        except ConnectionError:
            data = b""
        if not data:
            self.ended = True
            return []
        events = self.http2.receive_data(data)
        for event in events:
            if isinstance(event, DataReceived) and event.flow_controlled_length:
                self.http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id or 0)
            self.ended = self.ended or isinstance(event, ConnectionTerminated)
        self.flush()
        return events

    async def answer(self, number: int) -> Answer:
        """Wait for the end of one call."""
        answer = Answer()
        with anyio.fail_after(PATIENCE_SEC):
            while not answer.done and not self.ended:
                for event in await self.events():
                    if getattr(event, "stream_id", None) == number:
                        answer.take(event)
        return answer


@dataclass
class Answer:
    """What came back for one call."""

    headers: dict[str, str] = field(default_factory=dict[str, str])
    data: bytearray = field(default_factory=bytearray)
    done: bool = False
    reset: int | None = None

    def take(self, event: Event) -> None:
        if isinstance(event, (ResponseReceived, TrailersReceived)):
            self.headers.update(event.headers)  # type: ignore[arg-type]
        elif isinstance(event, DataReceived):
            self.data += event.data or b""
        elif isinstance(event, StreamEnded):
            self.done = True
        elif isinstance(event, StreamReset):
            self.reset, self.done = int(event.error_code or 0), True

    @property
    def status(self) -> int:
        return int(self.headers["grpc-status"])

    @property
    def message(self) -> str:
        return self.headers["grpc-message"]
