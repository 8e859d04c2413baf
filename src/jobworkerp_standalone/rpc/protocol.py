"""HTTP/2 on a connection: bytes in, calls out, floods stopped."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final, cast

from grpclib.config import Configuration
from grpclib.protocol import AbstractHandler, EventsProcessor, H2Protocol
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    PingAckReceived,
    PingReceived,
    PriorityUpdated,
    RemoteSettingsChanged,
    StreamReset,
    UnknownFrameReceived,
)

from jobworkerp_standalone.rpc.connection import HTTP2, EdgeConnection, EdgeStream, Http2, set_up_socket

_log = logging.getLogger(__name__)

_SLICE: Final = 16 * 1024
"""Bytes looked at in one go, so that a flood is noticed in the middle of it."""
_FLOOD_PER_SECOND: Final = 1000
_KEEPALIVE: Final = Configuration(
    _keepalive_time=7200.0, _keepalive_permit_without_calls=True, _http2_max_pings_without_data=0
).__for_server__()
_IDLE_EVENTS: Final = (PingReceived, RemoteSettingsChanged, PriorityUpdated, UnknownFrameReceived)


class EdgeProcessor(EventsProcessor):
    """Hands what arrives to the calls it belongs to, and counts frames that only make work.

    Pings and the like are forgiven whenever this side sends something, as some clients measure a transfer with them;
    calls that are taken back in the same breath are not.
    """

    connection: EdgeConnection
    streams: dict[int, EdgeStream]  # pyright: ignore[reportIncompatibleVariableOverride] - made by the connection

    def __init__(self, calls: AbstractHandler, connection: EdgeConnection) -> None:
        super().__init__(calls, connection)
        self.echoed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done once the peer answered a ping of ours, or is gone."""
        self._second = 0
        self._frames_sent = 0
        self._idle = 0
        self._taken_back = 0

    def process(self, event: Event) -> None:
        """Take one event; those of frames that this server does not know are ignored."""
        if isinstance(event, _IDLE_EVENTS):
            self._idle += 1
        process: Any = getattr(self, "processors", {}).get(event.__class__)
        if process is not None:
            process(event)

    def process_ping_ack_received(self, event: PingAckReceived) -> None:
        """Take note that the peer has read everything up to a ping."""
        super().process_ping_ack_received(event)
        self.hear_echo()

    def hear_echo(self) -> None:
        """Wake whoever waits for the peer to catch up."""
        if not self.echoed.done():
            self.echoed.set_result(None)

    def process_data_received(self, event: DataReceived) -> None:
        """Hand bytes to their call."""
        if event.flow_controlled_length:
            super().process_data_received(event)
        elif event.stream_ended is None:
            self._idle += 1

    def process_stream_reset(self, event: StreamReset) -> None:
        """End a call that its caller took back."""
        stream = self.streams.get(event.stream_id or 0)
        if stream is not None and not stream.started:
            self._taken_back += 1
        super().process_stream_reset(event)

    def is_flooded(self, now: float) -> bool:
        """Whether the peer makes too much work for nothing."""
        if self._second != int(now):
            self._second, self._idle, self._taken_back = int(now), 0, 0
        if self._frames_sent != self.connection.frames_sent:
            self._frames_sent, self._idle = self.connection.frames_sent, 0
        return self._idle > _FLOOD_PER_SECOND or self._taken_back > _FLOOD_PER_SECOND


class EdgeProtocol(H2Protocol):
    """HTTP/2 on one connection."""

    connection: EdgeConnection
    processor: EdgeProcessor

    def __init__(self, calls: AbstractHandler, frame_bytes: int, connections: set[EdgeProtocol]) -> None:
        super().__init__(calls, _KEEPALIVE, HTTP2)
        self._frame_bytes = frame_bytes
        self._connections = connections
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Announce what this server takes."""
        set_up_socket(transport.get_extra_info("socket"))
        self.connection = EdgeConnection(  # pyright: ignore[reportIncompatibleVariableOverride] - of the same kind
            Http2(self._frame_bytes), cast("asyncio.Transport", transport), config=self.config
        )
        self.connection.flush()
        self.connection.initialize()
        processor = EdgeProcessor(self.handler, self.connection)
        self.processor = processor  # pyright: ignore[reportIncompatibleVariableOverride] - of the same kind
        self._connections.add(self)

    def caught_up(self) -> asyncio.Future[None]:
        """Return what is done once the peer has read everything sent so far, or is gone.

        Clients drop answers that they have received but not handed on when they read the end of the connection.
        """
        self.processor.echoed = asyncio.get_running_loop().create_future()
        if self.connection.is_closing():
            self.processor.hear_echo()
        else:
            self.connection.ask_for_echo()
        return self.processor.echoed

    def data_received(self, data: bytes) -> None:
        """Take bytes, in slices."""
        if len(data) <= _SLICE:
            self._take(data)
            return
        for start in range(0, len(data), _SLICE):
            self._take(data[start : start + _SLICE])

    def connection_lost(self, exc: BaseException | None) -> None:
        """End every call of the connection."""
        super().connection_lost(exc)
        self._connections.discard(self)
        self.processor.hear_echo()
        self.closed.set_result(None)

    def close(self) -> None:
        """Say goodbye, and close once everything is written."""
        self._end(ErrorCodes.NO_ERROR, "server closed")

    def abort(self) -> None:
        """Close without waiting for anything."""
        self.connection.abort()

    def _take(self, data: bytes) -> None:
        if self.connection.is_closing():
            return
        try:
            events = self.connection.feed(data)
        except Exception as error:  # whatever a peer sends must harm no connection but its own
            _log.debug("connection closed, what arrived is not proper HTTP/2: %r", error)
            self.connection.flush()
            self.processor.close("protocol error")
            return
        self.connection.flush()
        for event in events:
            self.processor.process(event)
        self.connection.flush()
        if self.processor.is_flooded(asyncio.get_running_loop().time()):
            _log.warning("connection closed: the client floods it with frames that carry nothing")
            self._end(ErrorCodes.ENHANCE_YOUR_CALM, "flooded")

    def _end(self, code: ErrorCodes, reason: str) -> None:
        self.connection.say_goodbye(code)
        self.processor.close(reason)
