"""What the edge makes of bytes that no well-behaved client sends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import cast

import anyio
import h2.settings
import psutil
import pytest
from h2.events import ConnectionTerminated
from hyperframe.frame import DataFrame, ExtensionFrame, Frame, HeadersFrame, PingFrame, RstStreamFrame, SettingsFrame

from jobworkerp_standalone.rpc import first_bytes
from jobworkerp_standalone.rpc.server import serve
from jobworkerp_standalone.settings import Settings
from tests.service.edge_probe import LOOPBACK, JobRequest, Probe, RawClient, closed, edge, framed, until
from tests.support.patience import PATIENCE_SEC, longer_and_longer

ECHO = "/probe.Probe/Echo"
HEADERS = [(":method", "POST"), (":scheme", "http"), (":path", ECHO), (":authority", "localhost")]
INVALID_ARGUMENT, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNIMPLEMENTED = 3, 4, 8, 12


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


async def answers_well(client: RawClient) -> bool:
    number = client.open(ECHO)
    client.send(number, framed(b""))
    answer = await client.answer(number)
    return answer.done and answer.headers.get("grpc-status") == "0" and bytes(answer.data) == framed(b"")


async def still_serves(port: int) -> bool:
    async with RawClient.connect(port) as client:
        return await answers_well(client)


async def test_size_is_judged_before_the_body_is_there() -> None:
    async with edge(Probe(), grpc_max_message_size=2000) as (_, port), RawClient.connect(port) as client:
        number = client.open(ECHO)
        client.send(number, framed(b"", size=2001), end=False)
        answer = await client.answer(number)
        assert answer.status == RESOURCE_EXHAUSTED
        assert "2001" in answer.message
        assert "2000" in answer.message
        assert answer.headers["content-type"] == "application/grpc"
        assert await answers_well(client)


async def test_compressed_flag() -> None:
    async with edge(Probe()) as (_, port), RawClient.connect(port) as client:
        number = client.open(ECHO, ("grpc-encoding", "gzip"))
        client.send(number, framed(b"abc", flag=1))
        answer = await client.answer(number)
        assert answer.status == UNIMPLEMENTED
        assert answer.headers["grpc-accept-encoding"] == "identity"
        assert await answers_well(client)


@pytest.mark.parametrize("data", [b"\0", b"\0\0\0\0", framed(b"abc", size=9), framed(b"", size=1)])
async def test_request_that_is_cut_short(data: bytes) -> None:
    async with edge(Probe()) as (_, port), RawClient.connect(port) as client:
        number = client.open(ECHO)
        client.send(number, data)
        answer = await client.answer(number)
        assert answer.status == INVALID_ARGUMENT
        assert "cut short" in answer.message
        assert await answers_well(client)


async def test_call_without_a_message() -> None:
    async with edge(Probe()) as (_, port), RawClient.connect(port) as client:
        answer = await client.answer(client.open(ECHO, end=True))
        assert answer.status == INVALID_ARGUMENT


async def test_message_in_many_small_frames_and_empty_ones() -> None:
    data = framed(JobRequest(args=bytes(range(256))).SerializeToString())
    async with edge(Probe()) as (_, port), RawClient.connect(port) as client:
        number = client.open(ECHO)
        for byte in data:
            client.send(number, bytes([byte]), end=False)
            client.send(number, b"", end=False)
        client.send(number, b"")
        assert (await client.answer(number)).data == data


async def test_server_side_deadline() -> None:
    probe = Probe()
    async with edge(probe) as (_, port), RawClient.connect(port) as client:
        for limit in longer_and_longer(50):
            number = client.open("/probe.Probe/Wait", ("grpc-timeout", f"{limit}m"))
            client.send(number, framed(b""))
            assert (await client.answer(number)).status == DEADLINE_EXCEEDED
            if probe.cancelled:
                break
        number = client.open(ECHO, ("grpc-timeout", "soon"))
        client.send(number, framed(b""))
        assert (await client.answer(number)).status == INVALID_ARGUMENT
        assert await answers_well(client)


async def test_binary_metadata_that_is_none() -> None:
    async with edge(Probe()) as (_, port), RawClient.connect(port) as client:
        number = client.open(ECHO, ("x-some-bin", "a"), ("x-text", "gr\u00fcn"))
        client.send(number, framed(b""))
        assert (await client.answer(number)).status == INVALID_ARGUMENT
        assert await answers_well(client)


@pytest.mark.parametrize(("header", "status"), [("application/json", "415"), ("application/grpc-web", "415")])
async def test_http2_that_is_not_grpc(header: str, status: str) -> None:
    async with edge(Probe()) as (_, port), RawClient.connect(port) as client:
        number = client.http2.get_next_available_stream_id()
        client.http2.send_headers(number, [*HEADERS, ("content-type", header)], end_stream=True)
        client.flush()
        assert (await client.answer(number)).headers[":status"] == status
        assert await answers_well(client)


@pytest.mark.parametrize("pieces", [1, 5])
async def test_http1_gets_an_answer(pieces: int) -> None:
    request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with edge(Probe()) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for start in range(0, len(request), len(request) // pieces):
            writer.write(request[start : start + len(request) // pieces])
            await writer.drain()
        answer = await reader.read()
        await closed(writer)
        assert answer.startswith(b"HTTP/1.1 505 ")
        assert b"gRPC (HTTP/2)" in answer


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
        bytes(3000),
        b"PRI * HTTP/1.1\r\n\r\n",
        b"\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"GET / HTTP/1.1\r\n\r\n" * 10,
    ],
)
async def test_garbage_ends_its_own_connection_only(garbage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with edge(Probe()) as (_, port), RawClient.connect(port) as client:
        assert await answers_well(client)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(garbage)
        writer.write_eof()
        with anyio.fail_after(PATIENCE_SEC):
            await reader.read()
        await closed(writer)
        assert await answers_well(client)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_what_is_not_http2_goes_to_the_other_side() -> None:
    class Other(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = cast("asyncio.Transport", transport)

        def data_received(self, data: bytes) -> None:
            self.transport.write(b"other: " + data)
            self.transport.close()

    async with serve([Probe()], Settings(grpc_addresses=LOOPBACK), other=Other) as bound:
        reader, writer = await asyncio.open_connection("127.0.0.1", bound.addresses[0].port)
        writer.write(b"GET / HTTP/1.1")
        assert await reader.read() == b"other: GET / HTTP/1.1"
        await closed(writer)


async def test_peer_that_says_nothing_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_bytes, "_PATIENCE_SEC", 0.01)
    async with edge(Probe()) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with anyio.fail_after(PATIENCE_SEC), contextlib.suppress(ConnectionResetError):
            assert not await reader.read()
        await closed(writer)


async def test_token_may_be_any_text() -> None:
    async with edge(Probe(), auth_token="s\u00e9cret") as (_, port), RawClient.connect(port) as client:
        number = client.open(ECHO, ("jobworkerp-auth", "s\u00e9cret"))
        client.send(number, framed(b""))
        assert (await client.answer(number)).status == 0


async def test_half_a_preface_is_waited_for() -> None:
    async with edge(Probe()) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"PRI * HTTP/2.0\r\n")
        await writer.drain()
        await anyio.sleep(0.01)
        writer.write(b"\r\nSM\r\n\r\n" + SettingsFrame(0).serialize())
        header = await reader.readexactly(9)
        frame, _ = Frame.parse_frame_header(memoryview(header))
        assert isinstance(frame, SettingsFrame)
        await closed(writer)


async def test_what_is_announced() -> None:
    codes = h2.settings.SettingCodes
    async with edge(Probe(), max_frame_size=65_536) as (_, port), RawClient.connect(port) as client:
        assert await answers_well(client)
        told = client.http2.remote_settings
        assert told[codes.MAX_CONCURRENT_STREAMS] == 10_000
        assert told[codes.MAX_FRAME_SIZE] == 65_536
        assert told[codes.MAX_HEADER_LIST_SIZE] == 65_536


async def test_unknown_frames_are_ignored() -> None:
    async with edge(Probe()) as (_, port), RawClient.connect(port) as client:
        client.writer.write(b"\0\0\x08\xbe\0\0\0\0\0whatever")
        assert await answers_well(client)


async def test_too_long_a_header_list_ends_the_connection() -> None:
    async with edge(Probe()) as (_, port):
        async with RawClient.connect(port) as client:
            client.open(ECHO, *((f"x-{n}", "y" * 1000) for n in range(100)))
            with anyio.fail_after(PATIENCE_SEC):
                while not client.ended:
                    await client.events()
        assert await still_serves(port)


async def test_rapid_reset_is_stopped_and_leaves_nothing_behind() -> None:
    async with edge(Probe()) as (bound, port):
        async with RawClient.connect(port) as client:
            block = client.http2.encoder.encode(
                [(":method", "POST"), (":path", ECHO), ("content-type", "application/grpc"), ("te", "trailers")]
            )
            for number in range(1, 40_000, 2):
                headers = HeadersFrame(number, block, flags=["END_HEADERS"])
                client.writer.write(headers.serialize() + RstStreamFrame(number, 8).serialize())
            with anyio.fail_after(PATIENCE_SEC):
                while not client.ended:
                    await client.events()
        await until(lambda: not bound.reception.open and not bound.connections)
        assert await still_serves(port)


async def test_a_few_early_resets_are_tolerated() -> None:
    async with edge(Probe()) as (bound, port), RawClient.connect(port) as client:
        for _ in range(200):
            number = client.http2.get_next_available_stream_id()
            client.http2.send_headers(number, [*HEADERS, ("content-type", "application/grpc")])
            client.http2.reset_stream(number)
        client.flush()
        assert await answers_well(client)
        await until(lambda: not bound.reception.open)
        (connection,) = bound.connections
        assert not connection.processor.streams


@pytest.mark.parametrize(
    "frame",
    [PingFrame(0, b"12345678"), SettingsFrame(0), DataFrame(1), ExtensionFrame(0xBE, 0)],
    ids=lambda frame: type(frame).__name__,
)
async def test_flood_of_frames_that_carry_nothing_is_stopped(frame: Frame) -> None:
    async with edge(Probe()) as (bound, port):
        async with RawClient.connect(port) as client:
            client.open(ECHO)
            client.writer.write(frame.serialize() * 200_000)
            calm = None
            with anyio.fail_after(PATIENCE_SEC):
                while not client.ended:
                    for event in await client.events():
                        calm = event.error_code if isinstance(event, ConnectionTerminated) else calm
            assert calm in (None, 11)
        await until(lambda: not bound.connections)
        assert await still_serves(port)


async def test_pings_now_and_then_are_answered() -> None:
    async with edge(Probe()) as (_, port), RawClient.connect(port) as client:
        for _ in range(20):
            client.http2.ping(b"12345678")
            client.flush()
            assert await answers_well(client)


@pytest.mark.parametrize("window", [65_535, 2**31 - 1], ids=["by its window", "by the socket"])
async def test_slow_reader_stops_the_writer(window: int) -> None:
    probe = Probe()
    async with edge(probe) as (_, port), RawClient.connect(port, window) as client:
        number = client.open("/probe.Probe/Flood")
        before = psutil.Process().memory_info().rss
        client.send(number, framed(JobRequest(run_after_time=30_000).SerializeToString()))
        seen = -1
        while not seen == probe.sent > 0:
            seen = probe.sent
            for _ in range(100):  # turns that the writer, which is in this process, would have used
                await anyio.sleep(0.001)
        assert probe.sent < 500
        assert psutil.Process().memory_info().rss - before < 20 * 2**20
        answer = await client.answer(number)
        assert answer.status == 0
        assert len(answer.data) > 30_000_000


async def test_uploads_that_stand_still_do_not_block_others() -> None:
    probe = Probe()
    async with edge(probe) as (_, port), RawClient.connect(port) as client:
        assert await answers_well(client)
        for _ in range(8):
            number = client.open("/probe.Probe/Forever")
            client.send(number, framed(b""), end=False)
            while (room := client.http2.local_flow_control_window(number)) > 0:
                client.send(number, bytes(min(room, 16_384)), end=False)
        assert await answers_well(client)
