"""One HTTP/2 connection and its streams, on grpclib's, with bounds for peers that ask for more than they read."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any, Final

from grpclib.protocol import Connection
from grpclib.protocol import Stream as H2Stream
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError, StreamClosedError
from h2.settings import SettingCodes
from h2.settings import Settings as Http2Settings

from jobworkerp_standalone.rpc.inbox import Inbox

logging.getLogger("hpack").setLevel(logging.INFO)  # its debug output holds every header, the token's too

MAX_STREAMS: Final = 10_000
STREAM_WINDOW: Final = 1024 * 1024
"""What one call may send ahead of its reader."""
CONNECTION_WINDOW: Final = 64 * 1024 * 1024
"""Many calls with slow readers may stand still before the others on their connection do."""
MAX_HEADER_LIST: Final = 64 * 1024
_MAX_UNREAD_ANSWERS: Final = 1024 * 1024
_TCP_KEEPALIVE: Final = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))
"""A peer whose machine is gone is noticed within two minutes; one whose program is only halted is not bothered."""
_SWEEP_AFTER: Final = 64
_PING: Final = b"all read"
_FRAME_BYTES: Final = 256 * 1024
_SMALL_ANSWER: Final = 16 * 1024
"""What is written although the peer has not read everything yet; larger answers wait for that."""
_FRAMES_IN_A_ROW: Final = 32
"""A stream that never has to wait lets others run after so many."""

HTTP2: Final = H2Configuration(
    client_side=False,
    header_encoding="latin-1",  # never fails; what may be in a header is checked where it is used
    validate_inbound_headers=False,
    validate_outbound_headers=False,
    normalize_inbound_headers=False,
    normalize_outbound_headers=False,
)


class Http2(H2Connection):
    """The protocol's state machine as a server announces it.

    h2 counts every open stream whenever a call comes in, and drops closed ones on the way. With thousands of waiting
    calls that costs more than the call, so they are counted only after as many again have come, or near the limit.
    It also remembers how the last 65,536 streams of a connection were closed, in 6 MB; what matters is only what may
    still be on its way to a call that this side gave up.
    """

    MAX_CLOSED_STREAMS = MAX_STREAMS

    def __init__(self, frame_bytes: int) -> None:
        super().__init__(HTTP2)
        self.local_settings = Http2Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
                SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
                SettingCodes.MAX_FRAME_SIZE: frame_bytes,
                SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEADER_LIST,
            },
        )
        self.max_inbound_frame_size = frame_bytes
        self.decoder.max_header_list_size = MAX_HEADER_LIST
        self._sweep_at = _SWEEP_AFTER
        self.initiate_connection()
        self.increment_flow_control_window(CONNECTION_WINDOW - 65_535)

    @property
    def open_inbound_streams(self) -> int:
        """How many streams the peer has open, at most; exact near the limit."""
        known = len(self.streams)
        if known < min(self._sweep_at, MAX_STREAMS):
            return known
        count = super().open_inbound_streams
        self._sweep_at = 2 * len(self.streams) + _SWEEP_AFTER
        return count


class EdgeStream(H2Stream):
    """One HTTP/2 stream, with room to put several frames into one write."""

    id: int
    started = False
    """Whether anybody has begun to serve the call."""
    buffer: Inbox
    connection: EdgeConnection

    def init_stream(self, stream_id: int, connection: Connection) -> None:
        """Give the stream its number and its inbox."""
        self.id = stream_id  # pyright: ignore[reportIncompatibleVariableOverride] - a call that came in has a number
        self.buffer = Inbox(lambda size: connection.ack(stream_id, size))

    async def writable(self) -> None:
        """Wait until the connection takes more.

        Raises:
            StreamClosedError: the stream is gone.
        """
        while not self.connection.write_ready.is_set():  # whoever was woken first may have filled the buffer again
            await self.connection.write_ready.wait()
        if self.connection.is_closing() or self.id not in self._h2_connection.streams:
            raise StreamClosedError(self.id)

    async def send_data(self, data: bytes, end_stream: bool = False) -> None:
        """Send a message, in as many frames as it takes; waits while the reader is slow.

        Raises:
            StreamClosedError: the stream is gone.
        """
        left = memoryview(data)
        while left:
            await self.writable()
            http2 = self._h2_connection
            window = http2.local_flow_control_window(self.id)
            if window <= 0:
                self.window_updated.clear()
                await self.window_updated.wait()
                continue
            size = min(window, http2.max_outbound_frame_size, _FRAME_BYTES, len(left))
            http2.send_data(self.id, left[:size], end_stream=end_stream and size == len(left))
            left = left[size:]
            self.connection.data_send_process()
            self.connection.flush()
            if self.connection.frames_sent % _FRAMES_IN_A_ROW == 0:
                await asyncio.sleep(0)

    def put_headers(self, headers: list[tuple[str, str]], *, end_stream: bool = False) -> None:
        """Add headers to what the next flush writes."""
        self._h2_connection.send_headers(self.id, headers, end_stream=end_stream)
        self.connection.headers_send_process()

    def put_data(self, data: bytes) -> bool:
        """Add a message to what the next flush writes; False where it is too large for that now."""
        http2 = self._h2_connection
        most = _FRAME_BYTES if self.connection.write_ready.is_set() else _SMALL_ANSWER
        if len(data) > min(http2.local_flow_control_window(self.id), http2.max_outbound_frame_size, most):
            self.connection.flush()
            return False
        http2.send_data(self.id, data)
        return True

    def close_and_flush(self) -> None:
        """Tell a client that is still sending that nobody reads it, and write what was put."""
        if self.closable:
            self._h2_connection.reset_stream(self.id, error_code=ErrorCodes.NO_ERROR)
        self.connection.flush()


class EdgeConnection(Connection):
    """One HTTP/2 connection with a bound on answers that its peer does not read."""

    frames_sent = 0
    _owed = 0

    def create_stream(self, *, stream_id: int | None = None, wrapper: Any = None) -> EdgeStream:
        """Return the stream for a call that comes in."""
        return EdgeStream(self, self._connection, self._transport, stream_id=stream_id, wrapper=wrapper)

    def flush(self) -> None:
        """Write what HTTP/2 has ready. A peer that lets answers pile up loses the connection."""
        data = self._connection.data_to_send()
        if not data or self.is_closing():
            return
        was_behind = not self.write_ready.is_set()  # the peer had no chance yet to read what is written now
        self._transport.write(data)
        if was_behind:
            self._owed += len(data)
            if self._owed > _MAX_UNREAD_ANSWERS:
                self._transport.abort()

    def headers_send_process(self) -> None:
        """Take note that headers were sent."""
        self.frames_sent += 1
        super().headers_send_process()

    def data_send_process(self) -> None:
        """Take note that data was sent."""
        self.frames_sent += 1
        super().data_send_process()

    def resume_writing(self) -> None:
        """Go on: the peer reads again."""
        self._owed = 0
        super().resume_writing()

    def ask_for_echo(self) -> None:
        """Send a ping."""
        self._connection.ping(_PING)
        self.flush()

    def say_goodbye(self, code: ErrorCodes) -> None:
        """Tell the peer that the connection ends."""
        try:
            self._connection.close_connection(code)
        except ProtocolError:
            return  # it ended already
        self.flush()

    def abort(self) -> None:
        """Close without waiting for what is not written."""
        if not self.is_closing():
            self._transport.abort()


def set_up_socket(sock: socket.socket | None) -> None:
    """Send at once, and notice peers that are gone."""
    if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _TCP_KEEPALIVE:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
