"""One call of another server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final, cast

import anyio
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError
from grpclib.metadata import Deadline

from jobworkerp_standalone.jobs.errors import Aborted, BadInput, Fatal, JobError, Retryable
from jobworkerp_standalone.runners.grpc.connections import Connection, RawStream
from jobworkerp_standalone.runners.grpc.metadata import Pairs, received

_FAILURES: Final[dict[Status, type[JobError]]] = {
    Status.UNAVAILABLE: Retryable,
    Status.DEADLINE_EXCEEDED: Retryable,
    Status.CANCELLED: Aborted,
    Status.ABORTED: Aborted,
    Status.UNKNOWN: BadInput,
}


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a server."""

    method: str
    """``/package.Service/Method``."""
    requests: tuple[bytes, ...]
    """One, where the method takes no stream."""
    metadata: Pairs
    timeout_ms: int = 0
    """0: none of its own."""
    takes_stream: bool = False


@dataclass(slots=True)
class Ending:
    """How a call ended, as the server said."""

    metadata: dict[str, str] = field(default_factory=dict[str, str])
    code: int = 0
    message: str | None = None
    details: bytes = b""


async def ask(connection: Connection, question: Question) -> tuple[bytes, Ending]:
    """Make a unary call and return its answer; an error of the server is an ending with its code.

    Raises:
        Retryable: no answer came: time-out, no connection, connection lost.
    """
    ending = Ending()
    reply = b""
    with _time_limit(connection, question):
        async with _opened(connection, question, ending, Cardinality.UNARY_UNARY) as stream:
            await stream.send_message(question.requests[0], end=True)
            reply = await stream.recv_message() or b""
    if _ran_out(question, ending):
        raise _timed_out(connection, question)
    return reply, ending


async def follow(
    connection: Connection, question: Question, take: Callable[[bytes], Awaitable[None]], ending: Ending
) -> None:
    """Make a streaming call, hand each message to ``take`` and tell how it ended in ``ending``.

    The time limit of the question holds until the server begins to answer.

    Raises:
        Retryable: no answer came, or the connection was lost in the middle.
    """

    async def receive(stream: RawStream) -> None:
        with _time_limit(connection, question):
            if not question.takes_stream:
                await stream.send_message(question.requests[0], end=True)
            await stream.recv_initial_metadata()
        while (message := await stream.recv_message()) is not None:
            await take(message)

    if not question.takes_stream:
        async with _opened(connection, question, ending, Cardinality.UNARY_STREAM) as stream:
            await receive(stream)
        return
    async with _opened(connection, question, ending, Cardinality.STREAM_STREAM) as stream:
        with _time_limit(connection, question):
            await stream.send_request()
        await _while_sending(stream, question.requests, receive)


async def _while_sending(
    stream: RawStream, requests: Sequence[bytes], receive: Callable[[RawStream], Awaitable[None]]
) -> None:
    """Send and receive at the same time: a server that answers in the meantime may read no more until it is heard."""
    failure: Exception | None = None

    async def send() -> None:
        # What breaks the sending off ends the receiving too, which tells of it.
        with suppress(StreamTerminatedError, ProtocolError, ConnectionError):
            for request in requests:
                await stream.send_message(request)
            await stream.end()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send)
        try:
            await receive(stream)
        except Exception as error:
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:  # by itself, not as one of a group
        raise failure


def failure_of(ending: Ending) -> JobError | None:
    """Return the failure that a status other than OK is, where the job wants it to be one."""
    if not ending.code:
        return None
    status = Status(ending.code)
    text = f"the server answered {status.name} ({ending.code}): {ending.message or 'no text'}"
    return _FAILURES.get(status, Fatal)(text)


@asynccontextmanager
async def _opened(
    connection: Connection, question: Question, ending: Ending, kind: Cardinality
) -> AsyncIterator[RawStream]:
    """Open a call; what it ends with is written into ``ending``, a call that got no answer raises."""
    await connection.connected()
    told = question.timeout_ms and kind is Cardinality.UNARY_UNARY
    deadline = Deadline.from_timeout(question.timeout_ms / 1000) if told else None
    stream = connection.call(question.method, question.metadata, kind, deadline)
    try:
        async with stream:
            yield stream
    except GRPCError as error:
        ending.code, ending.message = error.status.value, error.message
        ending.details = error.details if isinstance(error.details, bytes) else b""
    except (StreamTerminatedError, ProtocolError, ConnectionError) as error:
        raise Retryable(f"the connection to {connection.target} broke off during {question.method}: {error}") from error
    finally:
        ending.metadata = received(pair for part in _metadata(stream) for pair in part.items())


def _metadata(stream: RawStream) -> list[Pairs]:
    """Return headers and trailers, as far as they came."""
    found = (stream.initial_metadata, stream.trailing_metadata)
    return [cast("Pairs", part) for part in found if part]


@contextmanager
def _time_limit(connection: Connection, question: Question) -> Iterator[None]:
    try:
        with anyio.fail_after(question.timeout_ms / 1000 if question.timeout_ms else None):
            yield
    except TimeoutError as error:
        raise _timed_out(connection, question) from error


def _ran_out(question: Question, ending: Ending) -> bool:
    """Whether the server was the first to notice that our time is over."""
    return ending.code == Status.DEADLINE_EXCEEDED.value and bool(question.timeout_ms)


def _timed_out(connection: Connection, question: Question) -> Retryable:
    return Retryable(f"timeout: no answer of {connection.target} to {question.method} within {question.timeout_ms} ms")
