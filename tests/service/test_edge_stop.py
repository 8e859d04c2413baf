"""Binding and stopping: addresses, health, and what callers hear at the end."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from typing import Any

import anyio
import grpc.aio
import pytest
from grpclib.client import Channel, UnaryStreamMethod, UnaryUnaryMethod
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from h2.events import ConnectionTerminated

from jobworkerp_standalone.jobs.errors import SettingsError
from jobworkerp_standalone.rpc import server
from jobworkerp_standalone.rpc.server import serve
from jobworkerp_standalone.settings import Address, Settings
from tests.service.edge_probe import LOOPBACK, JobRequest, Probe, RawClient, closed, edge, framed, until
from tests.support.patience import PATIENCE_SEC

SERVING, NOT_SERVING, SERVICE_UNKNOWN = 1, 2, 3


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


def wait_method(channel: Channel) -> UnaryUnaryMethod[Any, Any]:
    return UnaryUnaryMethod(channel, "/probe.Probe/Wait", JobRequest, JobRequest)


async def outcome(call: Any) -> tuple[Status, str]:
    try:
        await call
    except GRPCError as error:
        return error.status, error.message or ""
    return Status.OK, ""


async def test_waiting_calls_are_told_that_the_server_stops(caplog: pytest.LogCaptureFixture) -> None:
    probe = Probe()
    async with edge(probe, grace_sec=0.05) as (bound, port):
        channel = Channel("127.0.0.1", port)
        calls = [asyncio.ensure_future(outcome(wait_method(channel)(JobRequest()))) for _ in range(50)]
        grpcio = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        call = grpcio.unary_unary("/probe.Probe/Wait")(b"", timeout=PATIENCE_SEC)
        await until(lambda: probe.waiting == 51)
    assert await call.code() is grpc.StatusCode.UNAVAILABLE
    assert await call.details() == "server is stopping"
    assert set(await asyncio.gather(*calls)) == {(Status.UNAVAILABLE, "server is stopping")}
    assert not bound.reception.open
    assert not bound.connections
    channel.close()
    await grpcio.close()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_calls_that_finish_within_the_grace_are_answered() -> None:
    probe = Probe()
    async with anyio.create_task_group() as tasks:
        async with edge(probe, grace_sec=3600) as (bound, port):
            channel = Channel("127.0.0.1", port)
            calls = [asyncio.ensure_future(outcome(wait_method(channel)(JobRequest()))) for _ in range(5)]
            await until(lambda: probe.waiting == 5)

            async def release_soon() -> None:
                await until(lambda: bound.reception.closed)
                probe.release.set()

            tasks.start_soon(release_soon)
        assert set(await asyncio.gather(*calls)) == {(Status.OK, "")}
        channel.close()


async def test_new_calls_are_refused_while_the_last_ones_finish() -> None:
    probe = Probe()
    async with anyio.create_task_group() as tasks:
        async with edge(probe, grace_sec=3600) as (bound, port):
            channel = Channel("127.0.0.1", port)
            waiting = asyncio.ensure_future(outcome(wait_method(channel)(JobRequest())))
            await until(lambda: probe.waiting == 1)

            async def try_another() -> None:
                await until(lambda: bound.reception.closed)
                status, text = await outcome(wait_method(channel)(JobRequest()))
                assert status is Status.UNAVAILABLE
                assert "stopping" in text
                with pytest.raises(OSError, match=r"."):
                    await asyncio.open_connection("127.0.0.1", port)
                probe.release.set()

            tasks.start_soon(try_another)
        assert await waiting == (Status.OK, "")
        channel.close()


async def test_open_streams_end_as_unavailable_and_the_connection_says_goodbye() -> None:
    probe = Probe()
    events: list[Any] = []
    async with anyio.create_task_group() as tasks, edge(probe, grace_sec=0.05) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        client = RawClient(reader, writer)
        number = client.open("/probe.Probe/Header")
        client.send(number, framed(b""))
        await until(lambda: probe.waiting == 1)

        async def listen() -> None:
            while not client.ended:
                events.extend(await client.events())
            writer.close()

        tasks.start_soon(listen)
    headers = [dict(event.headers) for event in events if hasattr(event, "headers")]
    assert headers[-1]["grpc-status"] == "14"
    goodbye = [event for event in events if isinstance(event, ConnectionTerminated)]
    assert [event.error_code for event in goodbye] == [0]


async def test_a_client_that_is_busy_gets_time_to_read_its_last_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many drop what they have received and not handed on when they come upon the end of the connection."""
    monkeypatch.setattr(server, "_LAST_WORD_SEC", 0.01)
    monkeypatch.setattr(server, "_READING_SEC", PATIENCE_SEC)
    probe = Probe()
    async with anyio.create_task_group() as tasks, edge(probe, grace_sec=0.01) as (bound, port):
        client = RawClient(*await asyncio.open_connection("127.0.0.1", port))
        client.flush()
        number = client.open("/probe.Probe/Wait")
        client.send(number, framed(b""))
        await until(lambda: probe.waiting == 1)

        async def read_late() -> None:
            await until(lambda: not bound.reception.open)
            await anyio.sleep(0.1)
            assert bound.connections, "it is still there"
            assert (await client.answer(number)).status == 14
            await closed(client.writer)

        tasks.start_soon(read_late)


async def test_a_reader_that_stands_still_does_not_hold_the_end_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_READING_SEC", 0.05)
    probe = Probe()
    async with edge(probe, grace_sec=0.05) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        client = RawClient(reader, writer)
        client.http2.increment_flow_control_window(2**30)
        number = client.open("/probe.Probe/Flood")
        client.http2.increment_flow_control_window(2**30, number)
        client.send(number, framed(JobRequest(run_after_time=100_000).SerializeToString()))
        await until(lambda: probe.sent > 10)
        await anyio.sleep(0.05)
    writer.transport.abort()


async def test_cancellation_while_stopping_is_unavailable() -> None:
    class Engine(Probe):
        async def wait(self, stream: Any) -> None:
            await stream.recv_message()
            future = asyncio.get_running_loop().create_future()
            self.waiting += 1
            await self.release.wait()
            future.cancel()
            await future

    probe = Engine()
    async with edge(probe) as (bound, port), Channel("127.0.0.1", port) as channel:
        call = asyncio.ensure_future(outcome(wait_method(channel)(JobRequest())))
        await until(lambda: probe.waiting == 1)
        bound.stopping()
        probe.release.set()
        assert await call == (Status.UNAVAILABLE, "server is stopping")


async def test_health() -> None:
    async with edge(Probe(), auth_token="t") as (bound, port), Channel("127.0.0.1", port) as channel:
        check = UnaryUnaryMethod(channel, "/grpc.health.v1.Health/Check", HealthCheckRequest, HealthCheckResponse)

        async def state(name: str) -> int:
            return (await check(HealthCheckRequest(service=name))).status

        names = ["", "probe.Probe", "jobworkerp.service.JobService", "grpc.health.v1.Health"]
        names += ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"]
        assert [await state(name) for name in names] == [SERVING] * len(names)
        assert (await outcome(state("no.Such")))[0] is Status.NOT_FOUND
        bound.stopping()
        assert [await state(name) for name in names] == [NOT_SERVING] * len(names)


async def test_health_is_watched() -> None:
    heard: list[tuple[str, int]] = []
    ends: list[Status] = []

    async def watch(port: int, name: str) -> None:
        path = "/grpc.health.v1.Health/Watch"
        async with Channel("127.0.0.1", port) as channel:
            method = UnaryStreamMethod(channel, path, HealthCheckRequest, HealthCheckResponse)
            try:
                async with method.open() as stream:
                    await stream.send_message(HealthCheckRequest(service=name), end=True)
                    async for answer in stream:
                        heard.append((name, answer.status))  # noqa: PERF401 - what came before the error counts
            except GRPCError as error:
                ends.append(error.status)

    async with anyio.create_task_group() as tasks, edge(Probe(), grace_sec=60) as (bound, port):
        tasks.start_soon(watch, port, "")
        tasks.start_soon(watch, port, "no.Such")
        await until(lambda: len(heard) == 2)
        bound.board.set(serving=False)
        await until(lambda: len(heard) == 3)
        bound.board.set(serving=True)
        await until(lambda: len(heard) == 4)
    assert [state for name, state in heard if not name] == [SERVING, NOT_SERVING, SERVING, NOT_SERVING]
    assert [state for name, state in heard if name] == [SERVICE_UNKNOWN]
    assert ends == [Status.UNAVAILABLE] * 2


async def test_both_families_with_free_ports() -> None:
    both = (Address("127.0.0.1", 0), Address("::1", 0))
    async with serve([Probe()], Settings(grpc_addresses=both)) as bound:
        assert [address.host for address in bound.addresses] == ["127.0.0.1", "::1"]
        for address in bound.addresses:
            assert address.port > 0
            async with Channel(address.host, address.port) as channel:
                echo = UnaryUnaryMethod(channel, "/probe.Probe/Echo", JobRequest, JobRequest)
                assert await echo(JobRequest(worker_name="a")) == JobRequest(worker_name="a")


async def test_address_in_use_names_address_and_remedy() -> None:
    async with edge(Probe()) as (bound, port):
        taken = Settings(grpc_addresses=(*LOOPBACK, Address("127.0.0.1", port)))
        with pytest.raises(SettingsError, match=rf"^GRPC_ADDR: 127\.0\.0\.1:{port} is in use; .*127\.0\.0\.1:0$"):
            async with serve([Probe()], taken):
                pass
        assert bound.addresses


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
async def test_address_that_cannot_be_used(host: str) -> None:
    with pytest.raises(SettingsError, match=f"GRPC_ADDR: {host}:0 "):
        async with serve([Probe()], Settings(grpc_addresses=(Address(host, 0),))):
            pass


@pytest.mark.parametrize("default", [True, False])
async def test_machine_without_ipv6(
    default: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bind = server._bind

    async def without_ipv6(edge: server.Edge, address: Address) -> asyncio.Server:
        if ":" in address.host:
            raise OSError(errno.EADDRNOTAVAIL, "cannot assign requested address")
        return await bind(edge, Address(address.host, 0))

    monkeypatch.setattr(server, "_bind", without_ipv6)
    if default:
        async with serve([Probe()], Settings()) as bound:
            assert [address.host for address in bound.addresses] == ["127.0.0.1"]
        assert "no IPv6" in caplog.text
    else:
        with pytest.raises(SettingsError, match="not an address of this machine"):
            async with serve([Probe()], Settings(grpc_addresses=(*LOOPBACK, Address("::1", 0)))):
                pass


async def test_nagle_is_off_and_idle_peers_are_probed() -> None:
    async with edge(Probe()) as (bound, port), RawClient.connect(port) as client:
        await client.events()
        (connection,) = bound.connections
        sock: socket.socket = connection.connection._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
