"""Where the bytes of a fetch go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from anyio import AsyncFile


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said of the bytes it sent."""

    url: str
    content_type: str
    charset: str | None


class Sink(Protocol):
    """Takes the bytes of one body; of the next one after ``restart``."""

    async def restart(self) -> None:
        """Forget what came so far."""
        ...

    async def add(self, data: bytes) -> None:
        """Take the next bytes."""
        ...


class MemorySink:
    """Keeps them."""

    def __init__(self) -> None:
        self.content = bytearray()

    async def restart(self) -> None:
        """Forget what came so far."""
        self.content.clear()

    async def add(self, data: bytes) -> None:
        """Take the next bytes."""
        self.content += data


class FileSink:
    """Writes them to an open file."""

    def __init__(self, file: AsyncFile[bytes]) -> None:
        self._file = file

    async def restart(self) -> None:
        """Empty the file."""
        await self._file.seek(0)
        await self._file.truncate()

    async def add(self, data: bytes) -> None:
        """Append the next bytes."""
        await self._file.write(data)
