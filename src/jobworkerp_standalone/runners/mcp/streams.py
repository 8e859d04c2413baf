"""What a session reads from and writes to, whatever is in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream
from mcp.shared.exceptions import MCPError
from mcp.shared.message import SessionMessage

Incoming = SessionMessage | Exception


class Outgoing(Protocol):
    """Takes messages for a server; never waits for it."""

    async def send(self, item: SessionMessage, /) -> None:
        """Take one message."""
        ...

    async def aclose(self) -> None:
        """Take no more."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> bool | None: ...


class Unreachable(Exception):
    """A server cannot be reached or used; the message says why, without secrets."""


class Denied(Unreachable):
    """A server at an address does not know who asks, or does not let them."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"it answered with status {status}: {text}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Streams:
    """An open connection to a server."""

    read: MemoryObjectReceiveStream[Incoming]
    write: Outgoing
    ended: anyio.Event
    """Set when the server is gone."""
    why: Callable[[], str]
    """Says why it is gone."""
    denied: Callable[[], int] = lambda: 0
    """Returns the status, 401 or 403, with which a server at an address denied the latest request; else 0."""


def reason(error: BaseException) -> str:
    """Return what went wrong as one line: the first real error within groups."""
    found = next(_leaves(error), error)
    text = " ".join(str(found).split())
    if isinstance(found, Unreachable | MCPError):
        return text
    return f"{type(found).__name__}: {text}" if text else type(found).__name__


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
            yield from _leaves(each)  # pyright: ignore[reportUnknownArgumentType]
    else:
        yield error
