"""What clients see of the edge, with grpcio and grpclib as clients."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import grpc
import grpc.aio
import pytest
from grpclib.client import Channel, StreamStreamMethod, UnaryStreamMethod, UnaryUnaryMethod

from tests.service.edge_probe import CREATE_WORKER, ENQUEUE, JobRequest, Probe, edge, until
from tests.support.patience import PATIENCE_SEC

ECHO = "/probe.Probe/Echo"


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


@asynccontextmanager
async def grpcio(port: int, **options: Any) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=list(options.items())) as channel:
        yield channel


async def call(channel: grpc.aio.Channel, path: str, data: bytes = b"", **kwargs: Any) -> bytes:
    return await channel.unary_unary(path)(data, timeout=PATIENCE_SEC, **kwargs)


async def refusal(channel: grpc.aio.Channel, path: str, data: bytes = b"", **kwargs: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(channel, path, data, **kwargs)
    return caught.value


@asynccontextmanager
async def grpclib_channel(port: int) -> AsyncIterator[Channel]:
    async with Channel("127.0.0.1", port) as channel:
        yield channel


async def test_both_kinds_of_client_get_their_answer() -> None:
    request = JobRequest(worker_name="w", args=b"\x00\xff", priority=1)
    async with edge(Probe()) as (_, port):
        async with grpcio(port) as channel:
            assert JobRequest.FromString(await call(channel, ECHO, request.SerializeToString())) == request
        async with grpclib_channel(port) as channel:
            assert await UnaryUnaryMethod(channel, ECHO, JobRequest, JobRequest)(request) == request
            counted = await UnaryStreamMethod(channel, "/probe.Probe/Count", JobRequest, JobRequest)(
                JobRequest(run_after_time=300)
            )
            assert [each.run_after_time for each in counted] == list(range(300))


async def test_client_stream_is_read_to_its_end() -> None:
    async with edge(Probe()) as (_, port), grpcio(port) as channel:
        parts = [JobRequest(args=bytes(size)).SerializeToString() for size in (0, 1, 100_000, 7)]
        answer = await channel.stream_unary("/probe.Probe/Gather")(iter(parts), timeout=PATIENCE_SEC)
        assert JobRequest.FromString(answer).run_after_time == 100_008
        assert JobRequest.FromString(await channel.stream_unary("/probe.Probe/Gather")(iter([]))).run_after_time == 0


@pytest.mark.parametrize(
    "data",
    [b"\xff\xff\xff", b"\x0a\x05ab", b"\x22\x01\x80", b"\x12\x02\xff\xfe", b"\x0a"],
    ids=lambda data: data.hex(),
)
async def test_malformed_request_is_invalid_and_names_its_type(data: bytes) -> None:
    async with edge(Probe()) as (_, port), grpcio(port) as channel:
        error = await refusal(channel, ECHO, data)
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "jobworkerp.service.JobRequest" in (error.details() or "")
        assert await call(channel, ECHO) == b""


async def test_unknown_enum_number_names_its_path() -> None:
    async with edge(Probe()) as (_, port), grpcio(port) as channel:
        for request, expected in (
            (JobRequest(priority=9), "priority: 9"),
            (JobRequest(overrides={"response_type": -3}), "overrides.response_type: -3"),
            (JobRequest(overrides={"retry_policy": {"type": 77}}), "overrides.retry_policy.type: 77"),
        ):
            error = await refusal(channel, ECHO, request.SerializeToString())
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert (error.details() or "").startswith(expected)


async def test_message_over_the_limit_is_refused_and_the_connection_goes_on() -> None:
    async with edge(Probe(), grpc_max_message_size=1024) as (_, port), grpcio(port) as channel:
        error = await refusal(channel, ECHO, JobRequest(args=bytes(5_000_000)).SerializeToString())
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "1024" in (error.details() or "")
        assert "GRPC_MAX_MESSAGE_SIZE" in (error.details() or "")
        assert await call(channel, ECHO) == b""


async def test_largest_message_goes_both_ways() -> None:
    most = 64 * 1024 * 1024
    options = {"grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1}
    async with edge(Probe()) as (_, port), grpcio(port, **options) as channel:
        request = JobRequest(args=bytes(most - 5)).SerializeToString()
        assert len(request) == most
        with anyio.fail_after(PATIENCE_SEC):
            assert await call(channel, ECHO, request) == request
        assert (await refusal(channel, ECHO, request + b"\x1a\x00")).code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_large_answers_beside_each_other_arrive() -> None:
    """Each is more than the socket takes at once: that the peer has not read yet what is just written is no fault."""
    options = {"grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1}
    request = JobRequest(args=bytes(6 * 1024 * 1024)).SerializeToString()
    async with edge(Probe()) as (_, port), grpcio(port, **options) as channel, anyio.create_task_group() as tasks:

        async def one_after_another() -> None:
            for _ in range(4):
                assert await call(channel, ECHO, request) == request

        for _ in range(6):
            tasks.start_soon(one_after_another)


async def test_compressed_request_is_not_supported_and_says_what_is() -> None:
    async with edge(Probe()) as (_, port), grpcio(port) as channel:
        error = await refusal(
            channel, ECHO, JobRequest(args=bytes(5000)).SerializeToString(), compression=grpc.Compression.Gzip
        )
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_many_waiting_calls_do_not_block_the_next_one() -> None:
    probe = Probe()
    async with edge(probe) as (_, port), grpclib_channel(port) as channel, anyio.create_task_group() as tasks:
        wait = UnaryUnaryMethod(channel, "/probe.Probe/Wait", JobRequest, JobRequest)
        for _ in range(1000):
            tasks.start_soon(wait, JobRequest())
        await until(lambda: probe.waiting == 1000)
        with anyio.fail_after(PATIENCE_SEC):
            await UnaryUnaryMethod(channel, ECHO, JobRequest, JobRequest)(JobRequest())
        probe.release.set()


async def test_many_waiting_grpcio_calls_do_not_block_the_next_one() -> None:
    probe = Probe()
    async with edge(probe) as (_, port), grpcio(port) as channel, anyio.create_task_group() as tasks:
        for _ in range(300):
            tasks.start_soon(call, channel, "/probe.Probe/Wait")
        await until(lambda: probe.waiting == 300)
        assert await call(channel, ECHO) == b""
        probe.release.set()


@pytest.mark.parametrize(
    ("scope", "path", "guarded"),
    [
        ("all", ENQUEUE, True),
        ("all", CREATE_WORKER, True),
        ("all", "/grpc.health.v1.Health/Check", False),
        ("reference", ENQUEUE, True),
        ("reference", CREATE_WORKER, False),
        ("reference", "/grpc.health.v1.Health/Check", False),
    ],
)
async def test_token(scope: str, path: str, guarded: bool) -> None:
    async with edge(Probe(), auth_token="s3cret", auth_scope=scope) as (_, port), grpcio(port) as channel:
        right = ("jobworkerp-auth", "s3cret")
        assert await call(channel, path, metadata=[right]) is not None
        for metadata, text in (([], "missing"), ([("jobworkerp-auth", "secret")], "not the server's")):
            if guarded:
                error = await refusal(channel, path, metadata=metadata)
                assert error.code() is grpc.StatusCode.UNAUTHENTICATED
                assert text in (error.details() or "")
            else:
                await call(channel, path, metadata=metadata)


async def test_token_is_asked_for_before_the_request_is_looked_at() -> None:
    async with edge(Probe(), auth_token="t") as (_, port), grpcio(port) as channel:
        assert (await refusal(channel, ENQUEUE, b"\xff")).code() is grpc.StatusCode.UNAUTHENTICATED


async def test_what_metadata_goes_with_a_job() -> None:
    probe = Probe()
    async with edge(probe, auth_token="t") as (_, port), grpcio(port) as channel:
        auth = ("jobworkerp-auth", "t")
        await call(channel, ECHO, metadata=[auth])
        sent = [("traceparent", "00-1"), ("x-twice", "1"), ("x-twice", "2"), ("x-raw-bin", b"\x00\xff")]
        secret = [("authorization", "Bearer x"), ("cookie", "c=1"), ("jobworkerp-more", "1")]
        await call(channel, ECHO, metadata=[auth, *sent, *secret])
    assert probe.seen == [{}, {"traceparent": "00-1", "x-twice": "2", "x-raw-bin": "AP8="}]


async def test_errors_carry_status_text_and_trailers(caplog: pytest.LogCaptureFixture) -> None:
    async with edge(Probe()) as (_, port), grpcio(port) as channel:

        async def fail(kind: str) -> grpc.aio.AioRpcError:
            return await refusal(channel, "/probe.Probe/Fail", JobRequest(worker_name=kind).SerializeToString())

        error = await fail("not found")
        assert error.code() is grpc.StatusCode.NOT_FOUND
        assert error.details() == "worker 7 does not exist; list the workers \u2192 find the right one\n100%"
        assert (await fail("group")).code() is grpc.StatusCode.NOT_FOUND
        error = await fail("trailers")
        assert error.code() is grpc.StatusCode.ABORTED
        trailers = dict(error.trailing_metadata())
        assert trailers["x-job-id-bin"] == b"\x08\x07"
        assert trailers["x-big-bin"] == bytes(4000)
        assert 500 < len(error.details() or "") < 8000
        assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("storage", grpc.StatusCode.UNAVAILABLE),
        ("stranger", grpc.StatusCode.INTERNAL),
        ("nothing", grpc.StatusCode.INTERNAL),
        ("bug", grpc.StatusCode.INTERNAL),
    ],
)
async def test_unexpected_errors_are_logged_and_not_told(
    kind: str, code: grpc.StatusCode, caplog: pytest.LogCaptureFixture
) -> None:
    async with edge(Probe()) as (_, port), grpcio(port) as channel:
        error = await refusal(channel, "/probe.Probe/Fail", JobRequest(worker_name=kind).SerializeToString())
        assert error.code() is code
        assert "secret" not in (error.details() or "")
        assert any("/probe.Probe/Fail" in record.getMessage() for record in caplog.records)


async def test_unknown_method_is_unimplemented() -> None:
    async with edge(Probe()) as (_, port), grpcio(port) as channel:
        for path in ("/probe.Probe/Nope", "/nope.Nope/Echo"):
            error = await refusal(channel, path)
            assert error.code() is grpc.StatusCode.UNIMPLEMENTED
            assert path in (error.details() or "")


async def test_initial_metadata_arrives_before_the_first_message() -> None:
    probe = Probe()
    async with edge(probe) as (_, port), grpcio(port) as channel:
        stream = channel.unary_stream("/probe.Probe/Header")(b"")
        assert dict(await stream.initial_metadata())["x-job-id-bin"] == b"\x08\x2a"
        probe.release.set()
        assert JobRequest.FromString(await stream.read()).run_after_time == 1
        assert not await stream.read()
        assert await stream.code() is grpc.StatusCode.OK


async def test_hang_up_cancels_the_method_silently(caplog: pytest.LogCaptureFixture) -> None:
    probe = Probe()
    async with edge(probe) as (bound, port):
        async with grpcio(port) as channel:
            waiting = channel.unary_unary("/probe.Probe/Wait")(b"")
            await until(lambda: probe.waiting == 1)
            waiting.cancel()
            await until(lambda: probe.cancelled == 1)
            lost = channel.unary_unary("/probe.Probe/Wait")(b"")
            await until(lambda: probe.waiting == 1)
        await until(lambda: probe.cancelled == 2)
        assert lost.cancelled()
        await until(lambda: not bound.reception.open)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_stream_in_both_directions_with_grpclib() -> None:
    probe = Probe()
    async with edge(probe) as (_, port), grpclib_channel(port) as channel:
        method = StreamStreamMethod(channel, "/probe.Probe/Forever", JobRequest, JobRequest)
        async with method.open() as stream:
            await stream.send_message(JobRequest())
            await until(lambda: probe.waiting == 1)
            probe.release.set()
            await stream.send_message(JobRequest(), end=True)
            assert await stream.recv_message() is None
