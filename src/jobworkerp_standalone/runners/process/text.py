"""Bytes of a program's output as text that a protobuf string can carry."""

from __future__ import annotations

from codecs import utf_8_decode


def without_final_line_ending(data: bytes | bytearray) -> bytes:
    """Leave out one LF or CRLF at the end, and nothing else."""
    if data.endswith(b"\r\n"):
        return bytes(data[:-2])
    return bytes(data[:-1] if data.endswith(b"\n") else data)


def decode(data: bytes) -> tuple[str, bytes | None]:
    """Return the text, with U+FFFD for what is not UTF-8, and the bytes where the text cannot give them back."""
    try:
        return data.decode(), None
    except UnicodeDecodeError:
        return data.decode(errors="replace"), data


class Utf8Pieces:
    """Decodes output as it arrives. A sequence split over two reads is held until the rest of it is there.

    However the bytes are cut, the texts joined are the whole decoded at once.
    """

    def __init__(self) -> None:
        self._held = b""

    def decode(self, data: bytes, *, final: bool = False) -> tuple[str, bytes | None]:
        """Take the next bytes; return text and, where it is not all of UTF-8, the bytes it stands for."""
        data = self._held + data
        raw = False
        try:
            text, used = utf_8_decode(data, "strict", final)
        except UnicodeDecodeError:
            text, used = utf_8_decode(data, "replace", final)
            raw = True
        self._held = data[used:]
        return text, data[:used] if raw else None
