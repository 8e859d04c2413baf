"""GRPC_UNARY: one unary call in bytes, in the messages of the older generation."""

from __future__ import annotations

from typing import Any, Final

from jobworkerp_standalone.jobs.errors import BadInput, Fatal
from jobworkerp_standalone.runners.base import Call, Runner
from jobworkerp_standalone.runners.grpc.call import Question, ask, failure_of
from jobworkerp_standalone.runners.grpc.connections import Connections
from jobworkerp_standalone.runners.grpc.metadata import BadMetadata, Pairs, to_send
from jobworkerp_standalone.runners.grpc.order import method_path, with_token
from jobworkerp_standalone.runners.grpc.target import Target
from jobworkerp_standalone.runners.host import Host
from jobworkerp_standalone.runners.messages import args_of, settings_of
from jobworkerp_standalone.schema.messages import message_class

_SETTINGS: Final = message_class("jobworkerp.runner.GrpcUnaryRunnerSettings")
_ARGS: Final = message_class("jobworkerp.runner.GrpcUnaryArgs")
_RESULT: Final[Any] = message_class("jobworkerp.runner.GrpcUnaryResult")


def make(host: Host) -> Runner:
    """Return a new instance."""
    return GrpcUnaryRunner(host.shared(Connections))


class GrpcUnaryRunner(Runner):
    """One instance; connections are shared with GRPC."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._target: Target
        self._token: Pairs = {}
        self._timeout_ms = 0

    async def load(self, settings: bytes) -> None:
        """Read the settings."""
        read = settings_of(_SETTINGS, settings)
        self._target = Target.of(
            read.host,
            read.port,
            tls=read.tls,
            files=read.tls_config if read.HasField("tls_config") else None,
            max_message_bytes=read.max_message_size,
        )
        self._timeout_ms = read.timeout_ms
        try:
            self._token = with_token({}, read.auth_token)
        except BadMetadata as error:
            raise Fatal(f"settings: auth_token: {error}") from error

    async def run(self, call: Call) -> bytes:
        """Call, and return the answer."""
        args = args_of(_ARGS, call.args)
        try:
            metadata = {**to_send(args.metadata), **self._token}
        except BadMetadata as error:
            raise BadInput(str(error)) from error
        limits = [limit for limit in (self._timeout_ms, args.timeout) if limit > 0]
        question = Question(method_path(args.method), (args.request,), metadata, min(limits, default=0))
        async with self._connections.lend(self._target) as connection:
            reply, ending = await ask(connection, question)
        if args.treat_error_status_as_error and (failure := failure_of(ending)) is not None:
            raise failure
        body = ending.details if ending.code else reply
        result = _RESULT(metadata=ending.metadata, body=body, code=ending.code, message=ending.message)
        return result.SerializeToString()
