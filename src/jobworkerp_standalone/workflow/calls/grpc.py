"""``call: grpc``."""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass, replace
from typing import Any, Final, cast

from jobworkerp_standalone.jobs.json_in import json_value
from jobworkerp_standalone.net.identity import Identity
from jobworkerp_standalone.runners.children import Secret
from jobworkerp_standalone.schema.messages import message_class
from jobworkerp_standalone.workflow.calls.asking import Asking, Given
from jobworkerp_standalone.workflow.calls.credentials import credentials_of, renewed
from jobworkerp_standalone.workflow.calls.identity import fields_of, masked
from jobworkerp_standalone.workflow.calls.resources import resource_text
from jobworkerp_standalone.workflow.calls.secrets import MASK
from jobworkerp_standalone.workflow.child_jobs import Work, on_runner, result_of
from jobworkerp_standalone.workflow.errors import Standard, WorkflowError
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.json_writer import json_text
from jobworkerp_standalone.workflow.model.calls import GrpcCall

_ARGS: Final[Any] = message_class("jobworkerp.runner.grpc.GrpcArgs")
_SETTINGS: Final[Any] = message_class("jobworkerp.runner.grpc.GrpcRunnerSettings")
_RESULT: Final[Any] = message_class("jobworkerp.runner.grpc.GrpcStreamingResult")
_PORT: Final = re.compile(r"[0-9]{1,5}")
_MOST_PORT: Final = 65_535
_CONNECT_TIMEOUT_MS: Final = 10_000
_UNAUTHENTICATED: Final = 16
_STATUSES: Final = {
    1: ("CANCELLED", 499),
    2: ("UNKNOWN", 500),
    3: ("INVALID_ARGUMENT", 400),
    4: ("DEADLINE_EXCEEDED", 504),
    5: ("NOT_FOUND", 404),
    6: ("ALREADY_EXISTS", 409),
    7: ("PERMISSION_DENIED", 403),
    8: ("RESOURCE_EXHAUSTED", 429),
    9: ("FAILED_PRECONDITION", 400),
    10: ("ABORTED", 409),
    11: ("OUT_OF_RANGE", 400),
    12: ("UNIMPLEMENTED", 501),
    13: ("INTERNAL", 500),
    14: ("UNAVAILABLE", 503),
    15: ("DATA_LOSS", 500),
    _UNAUTHENTICATED: ("UNAUTHENTICATED", 401),
}
"""The codes of gRPC, and the HTTP status that means the same."""


@dataclass(frozen=True, slots=True)
class _Order:
    """A call, and what others may see of it."""

    method: str
    arguments: JSON
    shown: JSON
    proto: str | None
    authorization: str | None
    identity: Identity | None

    def args(self) -> bytes:
        """Return what the runner gets."""
        return self._built(self.arguments, self.authorization, self.identity)

    def shown_args(self) -> bytes:
        """Return the args of the job."""
        authorization = None if self.authorization is None else MASK
        return self._built(self.shown, authorization, masked(self.identity))

    def _built(self, arguments: JSON, authorization: str | None, identity: Identity | None) -> bytes:
        args = _ARGS(
            method=self.method,
            json_body=json_text(arguments),
            as_json=True,
            as_declared=True,
            client_certificate=fields_of(identity),
        )
        if self.proto is not None:
            args.proto.source = self.proto
        if authorization is not None:
            args.metadata["authorization"] = authorization
        return args.SerializeToString()


async def output(asking: Asking, call: Any) -> JSON:
    """Call the method, and return code, message and body of its answer."""
    form = cast("GrpcCall", call)
    credentials = await credentials_of(form.authentication, asking, "service/authentication")
    if credentials is not None and credentials.digest is not None:
        raise Standard.CONFIGURATION.error(
            "An authentication policy cannot be used",
            "gRPC has no digest; use basic, bearer, certificate, oauth2 or oidc",
        ).at(asking.pointer("service/authentication"))
    proto = (await resource_text(asking, form.proto, "proto", (".proto",)))[1] if form.proto is not None else None
    settings = await _settings(asking, form, reflection=proto is None)
    service = await asking.plain(form.service, "service/name")
    method = f"{service}/{await asking.plain(form.method, 'method')}"
    arguments = await _arguments(asking, form)
    order = _Order(
        method,
        arguments.value,
        arguments.shown,
        proto,
        credentials.header if credentials is not None else None,
        credentials.identity if credentials is not None else None,
    )
    result = await _answered(asking, settings, order)
    if result.code == _UNAUTHENTICATED and (others := await renewed(credentials, asking)) is not None:
        result = await _answered(asking, settings, replace(order, authorization=others.header))
        if result.code == _UNAUTHENTICATED:
            await renewed(others, asking)
    return _output(result)


async def _arguments(asking: Asking, form: GrpcCall) -> Given:
    """Return what is sent: a message, or several."""
    given = await asking.given(form.arguments, "arguments")
    if given.value is None:
        return Given.plain({})
    messages = given.value if isinstance(given.value, list) else [given.value]
    if not all(isinstance(each, dict) for each in messages):
        raise asking.wrong("arguments", "object, or array of objects,", given.shown)
    return given if isinstance(given.shown, type(given.value)) else Given(given.value, {})


async def _answered(asking: Asking, settings: bytes, order: _Order) -> Any:
    worker, spec, method = await on_runner(asking.run, "GRPC", "streaming", settings=settings)
    args, shown = order.args(), order.shown_args()
    secret = Secret(args, asking.revealed.hidden) if args != shown else None
    result = await result_of(asking.run, asking.state, Work(worker, spec, method, shown, secret))
    assert result is not None, "calls are waited for"
    return _RESULT.FromString(result.output or b"")


async def _settings(asking: Asking, form: GrpcCall, *, reflection: bool) -> bytes:
    host = await asking.plain(form.host, "service/host")
    settings = _SETTINGS(host=host, use_reflection=reflection, connection_timeout=_CONNECT_TIMEOUT_MS)
    if form.port is not None:
        port = (await asking.given(form.port, "service/port")).value
        number = int(port) if isinstance(port, str) and _PORT.fullmatch(port) else port
        if isinstance(number, bool) or not isinstance(number, int) or not 0 < number <= _MOST_PORT:
            raise asking.wrong("service/port", "port from 1 to 65535", port)
        settings.port = number
    return settings.SerializeToString()


def _output(result: Any) -> JSON:
    if result.code:
        raise _failed(result.code, result.message)
    found: dict[str, JSON] = {"code": result.code, "body": _body(result)}
    if result.metadata:
        found["metadata"] = cast("JSON", dict(result.metadata))
    if result.message:
        found["message"] = result.message
    return found


def _body(result: Any) -> JSON:
    """Return the message or the messages; in base64 where they do not fit their description."""
    if result.WhichOneof("response_data") == "json_body":
        return json_value(result.json_body)
    bodies = [b64encode(each).decode() for each in result.bodies.items]
    return bodies[0] if len(bodies) == 1 else cast("JSON", bodies)


def _failed(code: int, message: str) -> WorkflowError:
    name, status = _STATUSES.get(code, (str(code), 500))
    return Standard.COMMUNICATION.error(f"The server answered {name}", message or None, status=status)
