"""GRPC: calls a method of another gRPC server, unary or streaming.

- A status other than OK is a successful job with its code, unless ``treat_error_status_as_error`` is set. A server
  that is not there, a lost connection and a time-out are failures that a retry policy sees.
- ``json_body`` and ``as_json`` need a description of the messages: ``proto``, or the server's reflection.
- With ``as_declared`` several messages are sent to a method that takes a stream.
- As a stream each item is one message of the server; its metadata and status travel in the trailer.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any, Final, cast

import anyio.to_thread
from google.protobuf.message import Message

from jobworkerp_standalone.jobs.errors import BadInput
from jobworkerp_standalone.runners.base import Call, Collector, Runner, Send
from jobworkerp_standalone.runners.grpc.call import Ending, Question, ask, failure_of, follow
from jobworkerp_standalone.runners.grpc.connections import Connection, Connections
from jobworkerp_standalone.runners.grpc.order import Order, WorkerRules
from jobworkerp_standalone.runners.grpc.schemas import MethodTypes, Schemas
from jobworkerp_standalone.runners.host import Host
from jobworkerp_standalone.schema.convert import bytes_to_json, json_to_bytes
from jobworkerp_standalone.schema.messages import message_class

STREAMING: Final = "streaming"
STATUS_KEY: Final = "grpc-status"
MESSAGE_KEY: Final = "grpc-message"
"""In the trailer of a stream: how the call ended, where it did not end well."""
_UNARY_RESULT: Final[Any] = message_class("jobworkerp.runner.grpc.GrpcUnaryResult")
_STREAMING_RESULT: Final[Any] = message_class("jobworkerp.runner.grpc.GrpcStreamingResult")
_AT_ONCE_BYTES: Final = 64 * 1024
"""Longer messages are converted in a thread."""


def make(host: Host) -> Runner:
    """Return a new instance."""
    return GrpcRunner(host.shared(Connections), host.shared(Schemas), host.settings.grpc_collect_max_bytes)


class GrpcRunner(Runner):
    """One instance; connections and schemas are shared by all.

    Args:
        connections: lends connections.
        schemas: knows messages.
        collect_max_bytes: the most that a collected stream may hold.
    """

    def __init__(self, connections: Connections, schemas: Schemas, collect_max_bytes: int) -> None:
        self._connections = connections
        self._schemas = schemas
        self._collect_max_bytes = collect_max_bytes
        self._rules: WorkerRules
        self._ending = Ending()

    async def load(self, settings: bytes) -> None:
        """Read the settings and compile their proto text."""
        self._rules = WorkerRules.read(settings)
        if self._rules.proto is not None and self._rules.method:
            await self._schemas.from_source(self._rules.proto, self._rules.method)

    async def run(self, call: Call) -> bytes:
        """Call, and return the answer or all answers."""
        order = Order.read(call.args, self._rules)
        async with self._connections.lend(order.target) as connection:
            types = await self._types(connection, order)
            question = await _question(order, types)
            if call.method == STREAMING:
                return await self._collected(connection, question, order, types)
            reply, ending = await ask(connection, question)
        _check(order, ending)
        result = _UNARY_RESULT(metadata=ending.metadata, code=ending.code, message=ending.message)
        if ending.code:
            result.body = ending.details
        elif (text := await _as_json(reply, types, order)) is not None:
            result.json_body = text
        else:
            result.body = reply
        return result.SerializeToString()

    async def stream(self, call: Call, send: Send) -> None:
        """Call, and send each answer as it comes."""
        if call.method != STREAMING:
            await send(await self.run(call))
            return
        order = Order.read(call.args, self._rules)
        self._ending = ending = Ending()
        try:
            async with self._connections.lend(order.target) as connection:
                known = order.json_body is not None or order.as_declared
                types = await self._types(connection, order) if known else None
                question = await _question(order, types)
                await follow(connection, question, send, ending)
        finally:
            call.trailer.update(ending.metadata)
            if ending.code:
                call.trailer[STATUS_KEY] = str(ending.code)
                call.trailer[MESSAGE_KEY] = ending.message or ""
        _check(order, ending)

    def collector(self, method: str) -> Collector:
        """Return what folds the answers of a stream into a ``GrpcStreamingResult``."""
        return _Answers(self) if method == STREAMING else super().collector(method)

    @property
    def ending(self) -> Ending:
        """How the stream of this instance ended."""
        return self._ending

    async def _types(self, connection: Connection, order: Order) -> MethodTypes | None:
        """Return what the messages look like, where the job needs to know it."""
        if order.json_body is None and not (order.as_json or order.as_declared):
            return None
        if order.proto is not None:
            return await self._schemas.from_source(order.proto, order.method)
        if self._rules.reflection:
            return await self._schemas.from_server(connection, order.method, self._rules.metadata)
        if order.as_declared:
            raise BadInput("as_declared needs to know the method: set use_reflection or proto")
        if order.json_body is None:
            return None
        raise BadInput("json_body needs to know the messages: set use_reflection or proto, or send body")

    async def _collected(
        self, connection: Connection, question: Question, order: Order, types: MethodTypes | None
    ) -> bytes:
        replies: list[bytes] = []
        room = self._collect_max_bytes

        async def take(message: bytes) -> None:
            nonlocal room
            room -= len(message)
            if room < 0:
                raise BadInput(
                    f"the answers are longer than {self._collect_max_bytes} bytes (GRPC_COLLECT_MAX_BYTES); "
                    "enqueue the job for streaming instead"
                )
            replies.append(message)

        ending = Ending()
        await follow(connection, question, take, ending)
        _check(order, ending)
        result = _streaming_result(replies, ending)
        if (texts := [await _as_json(reply, types, order) for reply in replies]) and None not in texts:
            known = [text for text in texts if text is not None]
            is_one = order.as_declared and types is not None and not types.gives_stream and len(known) == 1
            result.json_body = known[0] if is_one else f"[{','.join(known)}]"
        return result.SerializeToString()


class _Answers:
    """Folds a stream; how it ended is known to the instance that ran it."""

    def __init__(self, runner: GrpcRunner) -> None:
        self._runner = runner
        self._replies: list[bytes] = []

    def add(self, item: bytes) -> None:
        """Take the next answer."""
        self._replies.append(item)

    def result(self) -> bytes:
        """Return all answers so far."""
        return _streaming_result(self._replies, self._runner.ending).SerializeToString()


def _streaming_result(replies: list[bytes], ending: Ending) -> Any:
    result = _STREAMING_RESULT(metadata=ending.metadata, code=ending.code, message=ending.message)
    result.bodies.items.extend(replies)
    return result


def _check(order: Order, ending: Ending) -> None:
    if order.status_is_failure and (failure := failure_of(ending)) is not None:
        raise failure


async def _question(order: Order, types: MethodTypes | None) -> Question:
    takes_stream = order.as_declared and types is not None and types.takes_stream
    requests: tuple[bytes, ...] = (order.body,)
    if order.json_body is not None and types is not None:
        make = partial(_requests, order.json_body, types.request, several=takes_stream)
        try:
            requests = make() if len(order.json_body) <= _AT_ONCE_BYTES else await anyio.to_thread.run_sync(make)
        except (ValueError, RecursionError) as error:
            raise BadInput(f"json_body: {error}") from error
    return Question(order.method, requests, order.metadata, order.timeout_ms, takes_stream)


def _requests(text: str, kind: type[Message], *, several: bool) -> tuple[bytes, ...]:
    """Return the message in a JSON text; where there may be several those of an array."""
    if not several:
        return (json_to_bytes(text, kind),)
    given: Any = json.loads(text)
    messages = cast("list[Any]", given) if isinstance(given, list) else [given]
    return tuple(json_to_bytes(each, kind) for each in messages)


async def _as_json(reply: bytes, types: MethodTypes | None, order: Order) -> str | None:
    """Return a message as JSON text, where that is wanted and possible."""
    if types is None or not order.as_json:
        return None

    def convert() -> str:
        return json.dumps(bytes_to_json(reply, types.reply), ensure_ascii=False)

    try:
        return convert() if len(reply) <= _AT_ONCE_BYTES else await anyio.to_thread.run_sync(convert)
    except (ValueError, TypeError):
        return None
