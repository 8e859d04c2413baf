"""A gRPC caller that does almost nothing: frames are prepared once, and answers are only looked at for their status.

It makes the same unary call again and again on one connection, with a fixed number in flight.
"""

from __future__ import annotations

import socket
import struct
import time
from dataclasses import dataclass, field
from typing import Final

from hpack import Decoder, Encoder

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_FRAME: Final = struct.Struct(">HBBBI")
_FRAME_BYTES: Final = 9
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY = 0, 1, 3, 4, 6, 7
_ACK: Final = 1
_END_STREAM: Final = 1
_END_HEADERS: Final = 4
_PADDED_OR_PRIORITY: Final = 0x28
_LARGEST_WINDOW: Final = 2**31 - 1
_DEFAULT_WINDOW: Final = 65_535
_INITIAL_WINDOW_SIZE: Final = 4
_READ_BYTES: Final = 256 * 1024
_SILENCE_SEC: Final = 60.0


class CallFailed(Exception):
    """A call was not answered well."""


@dataclass(slots=True)
class Run:
    """What one run of calls took, on the monotonic clock that all processes share."""

    calls: int = 0
    began: float = 0.0
    ended: float = 0.0
    cpu_seconds: float = 0.0
    """What this process spent on it."""
    latencies: list[float] = field(default_factory=list[float])

    @property
    def seconds(self) -> float:
        """Return the time from the first call to the last answer."""
        return self.ended - self.began


class Caller:
    """One connection, one method, one message."""

    def __init__(self, port: int, path: str, message: bytes, host: str = "127.0.0.1") -> None:
        self._socket = socket.create_connection((host, port), _SILENCE_SEC)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._first, self._next = _call_frames(f"{host}:{port}", path, message)
        self._stream = 1
        self._rest = b""
        self._sent: dict[int, float] = {}
        self._decoder = Decoder()
        self._known: dict[bytes, str | None] = {}
        self.body = b""
        """Data of the last answer: its gRPC prefix and its message."""
        settings = _frame(_SETTINGS, 0, 0, struct.pack(">HI", _INITIAL_WINDOW_SIZE, _LARGEST_WINDOW))
        window = _frame(8, 0, 0, (_LARGEST_WINDOW - _DEFAULT_WINDOW).to_bytes(4, "big"))
        self._socket.sendall(_PREFACE + settings + window)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def call(self) -> bytes:
        """Call once and return the message of the answer."""
        self.run(1, calls=1)
        return self.body[5:]

    def run(self, in_flight: int, *, calls: int | None = None, seconds: float | None = None) -> Run:
        """Keep ``in_flight`` calls open until so many were made or so much time is over.

        Raises:
            CallFailed: one was answered with a status other than OK, or the connection broke.
        """
        left = calls if calls is not None else 2**62
        run = Run(began=time.monotonic())
        until = run.began + seconds if seconds is not None else float("inf")
        cpu = time.process_time()
        left -= self._start(min(in_flight, left))
        while self._sent:
            ended = self._answers()
            now = time.monotonic()
            run.latencies.extend(now - self._sent.pop(stream) for stream in ended)
            if left and now < until:
                left -= self._start(min(len(ended), left))
        run.ended = time.monotonic()
        run.cpu_seconds = time.process_time() - cpu
        run.calls = len(run.latencies)
        return run

    def _start(self, count: int) -> int:
        """Send so many calls in one piece."""
        if not count:
            return 0
        pieces: list[bytes] = []
        streams = range(self._stream, self._stream + 2 * count, 2)
        for stream in streams:
            headers, begin, message = self._first if stream == 1 else self._next
            number = stream.to_bytes(4, "big")
            pieces += (headers[:5], number, headers[5:], begin, number, message)
        self._stream += 2 * count
        self._sent.update(dict.fromkeys(streams, time.monotonic()))
        self._socket.sendall(b"".join(pieces))
        return count

    def _answers(self) -> list[int]:
        """Wait for bytes; return the streams that ended with them."""
        received = self._socket.recv(_READ_BYTES)
        if not received:
            raise CallFailed("the server closed the connection")
        data = self._rest + received
        ended: list[int] = []
        at, size = 0, len(data)
        while size - at >= _FRAME_BYTES:
            high, low, kind, flags, stream = _FRAME.unpack_from(data, at)
            begin = at + _FRAME_BYTES
            end = begin + (high << 8) + low
            if end > size:
                break
            if kind == _HEADERS:
                self._read_headers(data[begin:end], flags)
                if flags & _END_STREAM:
                    ended.append(stream)
            elif kind == _DATA:
                self.body = data[begin:end]
            else:
                self._control(kind, flags, data[begin:end])
            at = end
        self._rest = data[at:]
        return ended

    def _read_headers(self, block: bytes, flags: int) -> None:
        """Check the status. A block that leaves the decoder's table alone is decoded once."""
        if flags & _PADDED_OR_PRIORITY or not flags & _END_HEADERS:
            raise CallFailed(f"headers with flags {flags:#x} are more than this caller reads")
        if block not in self._known:
            before = list(self._decoder.header_table.dynamic_entries)
            headers = {_text(name): _text(value) for name, value in self._decoder.decode(block)}
            if headers.get("grpc-status", "0") != "0" or headers.get(":status", "200") != "200":
                raise CallFailed(f"the answer is {headers}")
            if list(self._decoder.header_table.dynamic_entries) == before:
                self._known[block] = None
            else:
                self._known.clear()

    def _control(self, kind: int, flags: int, payload: bytes) -> None:
        if kind in (_SETTINGS, _PING) and not flags & _ACK:
            self._socket.sendall(_frame(kind, _ACK, 0, payload if kind == _PING else b""))
        elif kind in (_RESET, _GOAWAY):
            raise CallFailed(f"the server sent a frame of type {kind}: {payload!r}")


def _call_frames(authority: str, path: str, message: bytes) -> tuple[tuple[bytes, bytes, bytes], ...]:
    """Return the frames of the first call and of all later ones, whose headers are in the server's table by then.

    Each comes in three pieces, between which the stream's number belongs: HEADERS (it goes in after 5 bytes), the
    beginning of DATA, and the rest of DATA.
    """
    encoder = Encoder()
    headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", authority),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("user-agent", "jobworkerp-benchmark"),
    ]
    body = b"\0" + len(message).to_bytes(4, "big") + message
    data = _frame(_DATA, _END_STREAM, 0, body)
    blocks = [_frame(_HEADERS, _END_HEADERS, 0, encoder.encode(headers)) for _ in range(2)]
    return tuple((block[:5] + block[_FRAME_BYTES:], data[:5], data[_FRAME_BYTES:]) for block in blocks)


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    size = len(payload)
    return _FRAME.pack(size >> 8, size & 0xFF, kind, flags, stream) + payload


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")
