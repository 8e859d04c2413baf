"""What one job of GRPC wants: its args, and the settings that count before them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from jobworkerp_standalone.jobs.errors import BadInput, Fatal
from jobworkerp_standalone.net.identity import Identity
from jobworkerp_standalone.runners.grpc.metadata import BadMetadata, Pairs, Value, to_send
from jobworkerp_standalone.runners.grpc.schemas import ProtoSource, proto_source
from jobworkerp_standalone.runners.grpc.target import Target
from jobworkerp_standalone.runners.messages import args_of, settings_of
from jobworkerp_standalone.schema.messages import message_class

_SETTINGS: Final = message_class("jobworkerp.runner.grpc.GrpcRunnerSettings")
_ARGS: Final = message_class("jobworkerp.runner.grpc.GrpcArgs")


@dataclass(frozen=True, slots=True)
class WorkerRules:
    """The settings of a worker."""

    target: Target
    metadata: Pairs
    method: str
    """Empty: each job names one."""
    timeout_ms: int
    as_json: bool | None
    """None: each job says."""
    proto: ProtoSource | None
    reflection: bool

    @classmethod
    def read(cls, data: bytes) -> Self:
        """Decode the settings of a worker.

        Raises:
            Fatal: they are no settings, or cannot be used.
        """
        settings = settings_of(_SETTINGS, data)
        target = Target.of(
            settings.host,
            settings.port,
            tls=settings.tls,
            files=settings.tls_config if settings.HasField("tls_config") else None,
            connect_timeout_ms=settings.connection_timeout,
            max_message_bytes=settings.max_message_size,
        )
        try:
            return cls(
                target,
                with_token(to_send(settings.metadata), settings.auth_token),
                method_path(settings.method) if settings.method.strip() else "",
                settings.timeout,
                settings.as_json if settings.HasField("as_json") else None,
                _proto(settings),
                settings.use_reflection,
            )
        except (BadMetadata, BadInput) as error:
            raise Fatal(f"settings: {error}") from error


@dataclass(frozen=True, slots=True)
class Order:
    """One call."""

    method: str
    body: bytes
    json_body: str | None
    metadata: Pairs
    timeout_ms: int
    as_json: bool
    proto: ProtoSource | None
    status_is_failure: bool
    target: Target
    as_declared: bool
    """Streams on both sides as the method is declared."""

    @classmethod
    def read(cls, data: bytes, rules: WorkerRules) -> Self:
        """Decode the args of a job and lay the settings over them.

        Raises:
            BadInput: they are no args, or name no method.
        """
        args = args_of(_ARGS, data)
        try:
            metadata = {**to_send(args.metadata), **rules.metadata}
        except BadMetadata as error:
            raise BadInput(str(error)) from error
        return cls(
            rules.method or method_path(args.method),
            args.body,
            args.json_body if args.HasField("json_body") else None,
            metadata,
            rules.timeout_ms or args.timeout,
            args.as_json if rules.as_json is None else rules.as_json,
            rules.proto or _proto(args),
            args.treat_error_status_as_error,
            rules.target.showing(_identity(args)) if args.HasField("client_certificate") else rules.target,
            args.as_declared,
        )


def method_path(text: str) -> str:
    """Return a method as ``/package.Service/Method``.

    Raises:
        BadInput: it is none.
    """
    service, slash, name = text.strip().removeprefix("/").partition("/")
    if not (service and slash and name) or "/" in name or not f"{service}{name}".isascii():
        raise BadInput(f"method {text!r} is not one; write package.Service/Method")
    return f"/{service}/{name}"


def with_token(metadata: Mapping[str, Value], token: str) -> Pairs:
    """Return the metadata with a bearer token, where there is one."""
    return {**metadata, **to_send({"authorization": f"Bearer {token}"})} if token else metadata


def _identity(args: Any) -> Identity:
    given = args.client_certificate
    return Identity(given.certificate, given.key, given.password)


def _proto(message: Any) -> ProtoSource | None:
    if not message.HasField("proto"):
        return None
    proto = message.proto
    return proto_source(proto.source, proto.fetch_headers, insecure=proto.allow_insecure_http)
