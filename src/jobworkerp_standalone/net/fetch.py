"""Reads one document or file by http(s).

This module is cheap to import; the HTTP library is imported at the first fetch, in a thread.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import anyio
import anyio.to_thread

from jobworkerp_standalone.jobs.errors import FetchError
from jobworkerp_standalone.net.charsets import codec_of
from jobworkerp_standalone.net.rules import FetchRules
from jobworkerp_standalone.net.sinks import Answer, FileSink, MemorySink, Sink

__all__ = ["FetchError", "FetchRules", "Fetched", "download", "fetch"]


@dataclass(frozen=True, slots=True)
class Fetched:
    """A document."""

    url: str
    """Where it was in the end, without credentials and query."""
    content: bytes
    content_type: str
    charset: str | None
    """As the server names it."""

    @property
    def text(self) -> str:
        """Return the content as text, in the server's charset or UTF-8, without a byte order mark.

        Raises:
            FetchError: it is not that.
        """
        charset = "utf-8-sig" if self.content.startswith(BOM_UTF8) else self.charset or "utf-8"
        codec = codec_of(charset)
        try:
            if codec is not None:
                return self.content.decode(codec)
            reason = "that is no known charset"
        except UnicodeDecodeError as error:
            reason = str(error)
        raise FetchError(
            f"{self.url} is not text in {charset} ({reason}): serve it as UTF-8, or name its charset in Content-Type"
        )


async def fetch(url: str, rules: FetchRules) -> Fetched:
    """Read what is at ``url`` into memory.

    Raises:
        FetchError: it could not be had; the text names the URL, the reason and a remedy.
    """
    sink = MemorySink()
    answer = await _read(url, rules, sink)
    return Fetched(answer.url, bytes(sink.content), answer.content_type, answer.charset)


async def download(url: str, path: Path, rules: FetchRules) -> None:
    """Write what is at ``url`` into the file ``path``, which is empty or incomplete if this fails.

    Raises:
        FetchError: it could not be had; the text names the URL, the reason and a remedy.
        OSError: the file cannot be written.
    """
    async with await anyio.open_file(path, "wb") as file:
        await _read(url, rules, FileSink(file))


async def _read(url: str, rules: FetchRules, sink: Sink) -> Answer:
    read = await anyio.to_thread.run_sync(_reader)
    return await read(url, rules, sink)


@cache
def _reader() -> Callable[[str, FetchRules, Sink], Awaitable[Answer]]:
    from jobworkerp_standalone.net.reading import read  # noqa: PLC0415 - httpx takes 0.1 s to import

    return read
