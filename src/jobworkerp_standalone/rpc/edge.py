"""Every call passes here: the token before it, a proper status after it, whatever happens in between."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, Final, Protocol

from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError
from grpclib.metadata import Deadline, decode_timeout
from grpclib.protocol import AbstractHandler

from jobworkerp_standalone.jobs.errors import (
    InvalidRequest,
    NotBuilt,
    RequestError,
    StorageError,
    Unauthenticated,
    Unavailable,
    WaitTimedOut,
)
from jobworkerp_standalone.rpc.codec import WireCodec
from jobworkerp_standalone.rpc.connection import EdgeStream
from jobworkerp_standalone.rpc.metadata import AUTH_HEADER, request_metadata
from jobworkerp_standalone.rpc.stream import CallStream, Compressed, Method, Reading, is_gone
from jobworkerp_standalone.settings import Settings

_log = logging.getLogger(__name__)

_OPEN_PREFIXES: Final = ("/grpc.health.v1.", "/grpc.reflection.")
_REFERENCE_SCOPE: Final = frozenset(
    f"/jobworkerp.{path}"
    for path in (
        "service.JobService/Enqueue",
        "service.JobService/EnqueueForStream",
        "service.JobService/EnqueueWithClientStream",
        "service.JobProcessingStatusService/Cleanup",
        "service.JobProcessingStatusService/PurgeStaleJobs",
        "function.service.FunctionService/Call",
        "function.service.FunctionService/CreateWorker",
        "function.service.FunctionService/UpsertWorker",
    )
)
_CONTENT_TYPES: Final = frozenset(("application/grpc", "application/grpc+proto"))
Headers = list[tuple[str, str]]


class Servable(Protocol):
    """A gRPC service: its methods by path, as grpclib and betterproto2 write them."""

    def __mapping__(self) -> Any:
        """Return ``grpclib.const.Handler`` by ``/package.Service/Method``."""


Services = Sequence[Servable]


class Cut(Enum):
    """Why a call was cut short."""

    HUNG_UP = "the caller is gone"
    EXPIRED = "the call's own deadline is over"
    STOPPING = "the server is stopping"


class Reception:
    """What all connections share: the methods, the token, the open calls, and whether the server is stopping."""

    def __init__(self, services: Services, settings: Settings) -> None:
        self.methods = {
            path: Method(path, *handler, guarded=_is_guarded(path, settings))
            for service in services
            for path, handler in service.__mapping__().items()
        }
        self.reading = Reading(WireCodec(), settings.grpc_max_message_size)
        self.token = settings.auth_token.encode() if settings.auth_token else None
        self.open: set[Call] = set()
        self.stopping = False
        """A call that is cancelled from now on is told that the server is stopping."""
        self.closed = False
        """No new call is taken."""

    def method(self, path: str) -> Method:
        """Return what serves ``path``, if only to say that nothing does."""
        return self.methods.get(path) or Method(path, _unknown(path), Cardinality.STREAM_STREAM, None, None, False)

    def admit(self, method: Method, headers: dict[str, str]) -> None:
        """Let a call in.

        Raises:
            Unavailable: the server is closing.
            Unauthenticated: the token is missing or wrong.
        """
        if self.closed:
            raise Unavailable("the server is stopping; try again later or elsewhere")
        if self.token is None or not method.guarded:
            return
        given = headers.get(AUTH_HEADER)
        if given is None:
            raise Unauthenticated(f"the token is missing: send it as metadata {AUTH_HEADER}")
        if not hmac.compare_digest(given.encode("latin-1"), self.token):
            raise Unauthenticated(f"the token in metadata {AUTH_HEADER} is not the server's")


class Calls(AbstractHandler):
    """The open calls of one connection, each in a task of its own."""

    def __init__(self, reception: Reception) -> None:
        self._reception = reception
        self._open: dict[EdgeStream, Call] = {}

    def accept(self, stream: Any, headers: Headers, release_stream: Callable[[], None]) -> None:
        """Start serving a call."""
        call = self._open[stream] = Call(self._reception, stream, headers)
        self._reception.open.add(call)
        call.task.add_done_callback(lambda task: self._ended(task, call, release_stream))

    def cancel(self, stream: Any) -> None:
        """End a call whose caller took it back."""
        if call := self._open.get(stream):
            call.cut(Cut.HUNG_UP)

    def close(self) -> None:
        """End every call: the connection is gone."""
        for call in self._open.values():
            call.cut(Cut.HUNG_UP)

    def _ended(self, task: asyncio.Task[None], call: Call, release_stream: Callable[[], None]) -> None:
        self._open.pop(call.stream, None)
        self._reception.open.discard(call)
        release_stream()
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a call ended without an answer", exc_info=error)


class Call:
    """One call, from its headers to its trailers."""

    def __init__(self, reception: Reception, stream: EdgeStream, headers: Headers) -> None:
        self._reception = reception
        self.stream = stream
        self._headers = headers
        self._cut: Cut | None = None
        self.task = asyncio.get_running_loop().create_task(self._run())

    def cut(self, reason: Cut) -> None:
        """Cancel the method; what the caller hears follows from the first reason."""
        if self._cut is None or reason is Cut.HUNG_UP:
            self._cut = reason
            self.task.cancel()

    async def _run(self) -> None:
        self.stream.started = True
        headers = dict(self._headers)
        try:
            if refusal := _http_refusal(headers):
                await self.stream.send_headers(refusal, end_stream=True)
                self.stream.close_and_flush()
            else:
                await self._answer(headers)
        except Exception as error:
            if self.stream.closable and not is_gone(error):
                raise

    async def _answer(self, headers: dict[str, str]) -> None:
        method = self._reception.method(headers.get(":path", ""))
        stream = CallStream(self.stream, method, self._reception.reading)
        timer: asyncio.TimerHandle | None = None
        try:
            self._reception.admit(method, headers)
            stream.metadata = request_metadata(self._headers)
            if (timeout := headers.get("grpc-timeout")) is not None:
                timer = self._start_clock(stream, timeout)
            await method.func(stream)
            await stream.finish()
        except asyncio.CancelledError:
            if (ending := self._reason_to_tell()) is None:
                raise
            await _fail(stream, ending)
        except Exception as error:
            if not self.stream.closable:
                return
            await _fail(stream, error)
        finally:
            if timer is not None:
                timer.cancel()

    def _start_clock(self, stream: CallStream, timeout: str) -> asyncio.TimerHandle:
        try:
            seconds = decode_timeout(timeout)
        except ValueError as error:
            raise InvalidRequest(f"grpc-timeout {timeout!r} is not a time, for example 500m or 30S") from error
        stream.deadline = Deadline.from_timeout(seconds)
        return asyncio.get_running_loop().call_later(seconds, self.cut, Cut.EXPIRED)

    def _reason_to_tell(self) -> Exception | None:
        """Return what a cancelled call's caller is told; None where nobody listens, or a stranger cancelled us."""
        if self._cut is Cut.HUNG_UP:
            return None
        if self._cut is not None:
            self.task.uncancel()
        if self._cut is Cut.EXPIRED:
            return WaitTimedOut("the call's own time limit is over; a job that was accepted goes on")
        if self._cut is Cut.STOPPING or self._reception.stopping:
            return Unavailable("server is stopping")
        return None if self.task.cancelling() else RuntimeError("something that the call waited for was cancelled")


async def _fail(stream: CallStream, error: BaseException) -> None:
    error = _first(error)
    if isinstance(error, Compressed):
        await stream.refuse_compression(error.message)
    elif isinstance(error, RequestError):
        await stream.fail(Status(int(error.code)), error.message, error.trailers)
    elif isinstance(error, GRPCError):
        await stream.fail(error.status, error.message or "", {})
    elif isinstance(error, StorageError):
        _log.warning("%s: the storage failed: %s", stream.path, error)
        await stream.fail(Status.UNAVAILABLE, "the storage does not answer; try again later", {})
    else:
        _log.error("%s failed", stream.path, exc_info=error)
        await stream.fail(Status.INTERNAL, "internal error; the server's log says more", {})


def _first(error: BaseException) -> BaseException:
    """Return the error itself, out of the groups that task groups wrap around it."""
    while isinstance(error, BaseExceptionGroup):
        group: BaseExceptionGroup[BaseException] = error  # pyright: ignore[reportUnknownVariableType] - narrowed
        error = group.exceptions[0]
    return error


def _is_guarded(path: str, settings: Settings) -> bool:
    if settings.auth_scope == "reference":
        return path in _REFERENCE_SCOPE
    return not path.startswith(_OPEN_PREFIXES)


def _unknown(path: str) -> Callable[[CallStream], Any]:
    async def refuse(_stream: CallStream) -> None:
        raise NotBuilt(f"this server has no method {path!r}; reflection lists what it serves")

    return refuse


def _http_refusal(headers: dict[str, str]) -> Headers | None:
    """Return the answer to what is HTTP/2 and not gRPC."""
    content_type = headers.get("content-type", "")
    if content_type not in _CONTENT_TYPES and content_type.partition(";")[0].strip() not in _CONTENT_TYPES:
        status, text = "415", "content-type must be application/grpc"
    elif headers.get(":method") != "POST":
        status, text = "405", "the method must be POST"
    else:
        return None
    return [(":status", status), ("grpc-status", str(Status.UNKNOWN.value)), ("grpc-message", text)]
