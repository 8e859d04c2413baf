"""Server-sent events (``text/event-stream``), as they arrive."""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from collections.abc import AsyncIterable, AsyncIterator
from typing import Final

_LINE_END: Final = re.compile(rb"\r\n|\r|\n")
_DATA: Final = b"data"


async def event_data(pieces: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Yield the data of each event; events without any are left out, the last one may end with the stream."""
    lines = _Lines()
    waiting: list[bytes] = []
    async for piece in pieces:
        for line in lines.completed_by(piece):
            if not line and waiting:
                yield b"\n".join(waiting)
                waiting = []
            elif (data := _data_of(line)) is not None:
                waiting.append(data)
    if (data := _data_of(lines.rest())) is not None:
        waiting.append(data)
    if waiting:
        yield b"\n".join(waiting)


def _data_of(line: bytes) -> bytes | None:
    name, _, value = line.partition(b":")
    return value.removeprefix(b" ") if name == _DATA else None


class _Lines:
    """Takes lines apart, whatever they end with; each piece is looked at once."""

    def __init__(self) -> None:
        self._begun: list[bytes] = []
        self._after_return = False
        """The last piece ended between a carriage return and what may be its line feed."""
        self._first = True

    def completed_by(self, piece: bytes) -> list[bytes]:
        """Return the lines that a piece completes."""
        if self._after_return:
            piece = piece.removeprefix(b"\n")
        if not piece:
            return []
        self._after_return = piece.endswith(b"\r")
        first, *more = _LINE_END.split(piece)
        self._begun.append(first)
        if not more:
            return []
        lines = [self.rest(), *more[:-1]]
        self._begun = [more[-1]]
        return lines

    def rest(self) -> bytes:
        """Return the line that was begun."""
        line = b"".join(self._begun)
        if self._first:
            self._first = False
            return line.removeprefix(BOM_UTF8)
        return line
