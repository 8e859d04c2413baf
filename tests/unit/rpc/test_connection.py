from __future__ import annotations

import asyncio
from typing import Any

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.exceptions import TooManyStreamsError

from jobworkerp_standalone.rpc import connection
from jobworkerp_standalone.rpc.connection import Http2
from jobworkerp_standalone.rpc.edge import Calls
from jobworkerp_standalone.rpc.protocol import EdgeProtocol


class FakeTransport(asyncio.Transport):
    """A connection whose other end never reads."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.aborted = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def write(self, data: Any) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True

    def close(self) -> None:
        self.aborted = True


def client() -> H2Connection:
    http2 = H2Connection(H2Configuration(client_side=True))
    http2.initiate_connection()
    return http2


async def test_answers_that_nobody_reads_are_bounded() -> None:
    connections: set[EdgeProtocol] = set()
    protocol = EdgeProtocol(Calls.__new__(Calls), 16_384, connections)
    transport, http2 = FakeTransport(), client()
    protocol.connection_made(transport)
    protocol.data_received(http2.data_to_send())
    protocol.pause_writing()
    pings = 0
    while not transport.aborted and pings < 200_000:
        http2.ping(b"12345678")
        protocol.connection.headers_send_process()  # as if calls were answered in between, which forgives pings
        protocol.data_received(http2.data_to_send())
        pings += 1
    assert transport.aborted
    assert 2**20 < len(transport.written) < 2**20 + 10_000


async def test_answers_that_are_read_are_not_counted_together() -> None:
    protocol = EdgeProtocol(Calls.__new__(Calls), 16_384, set())
    transport, http2 = FakeTransport(), client()
    protocol.connection_made(transport)
    protocol.data_received(http2.data_to_send())
    for _ in range(3):
        protocol.pause_writing()
        for _ in range(30_000):
            http2.ping(b"12345678")
            protocol.connection.headers_send_process()
            protocol.data_received(http2.data_to_send())
        protocol.resume_writing()
    assert not transport.aborted


def opened(server: Http2, peer: H2Connection, count: int) -> list[int]:
    numbers: list[int] = []
    for _ in range(count):
        number = peer.get_next_available_stream_id()
        peer.send_headers(number, [(":method", "POST"), (":scheme", "http"), (":path", "/x"), (":authority", "a")])
        server.receive_data(peer.data_to_send())
        numbers.append(number)
    return numbers


def test_open_streams_are_counted_well_enough() -> None:
    server, peer = Http2(16_384), client()
    server.receive_data(peer.data_to_send())
    peer.receive_data(server.data_to_send())
    numbers = opened(server, peer, 500)
    assert server.open_inbound_streams == 500
    for number in numbers[:400]:
        server.reset_stream(number)
    peer.receive_data(server.data_to_send())
    opened(server, peer, 2000)
    assert 2100 <= server.open_inbound_streams <= 2500
    assert len(server.streams) < 2600


def test_the_limit_itself_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_STREAMS", 300)
    server, peer = Http2(16_384), client()
    server.receive_data(peer.data_to_send())
    peer.receive_data(server.data_to_send())
    numbers = opened(server, peer, 300)
    assert server.open_inbound_streams == 300
    server.reset_stream(numbers[0])
    peer.receive_data(server.data_to_send())
    assert server.open_inbound_streams == 299
    opened(server, peer, 1)
    peer.remote_settings.max_concurrent_streams = 1000
    with pytest.raises(TooManyStreamsError, match="300 open"):
        opened(server, peer, 1)
