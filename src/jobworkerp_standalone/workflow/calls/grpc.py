"""``call: grpc``."""

from __future__ import annotations

from base64 import b64encode
from typing import Any, Final, cast

from jobworkerp_standalone.runners.children import Secret
from jobworkerp_standalone.schema.messages import message_class
from jobworkerp_standalone.workflow.calls.asking import Asking, Given
from jobworkerp_standalone.workflow.calls.credentials import credentials_of
from jobworkerp_standalone.workflow.calls.resources import resource_text
from jobworkerp_standalone.workflow.calls.secrets import MASK
from jobworkerp_standalone.workflow.errors import Standard, WorkflowError
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.jobs import Work, on_runner, result_of
from jobworkerp_standalone.workflow.json_in import json_value
from jobworkerp_standalone.workflow.json_out import json_text
from jobworkerp_standalone.workflow.model.calls import GrpcCall

_ARGS: Final[Any] = message_class("jobworkerp.runner.grpc.GrpcArgs")
_SETTINGS: Final[Any] = message_class("jobworkerp.runner.grpc.GrpcRunnerSettings")
_RESULT: Final[Any] = message_class("jobworkerp.runner.grpc.GrpcUnaryResult")
_MOST_PORT: Final = 65_535
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
    16: ("UNAUTHENTICATED", 401),
}
"""The codes of gRPC, and the HTTP status that means the same."""


async def output(asking: Asking, call: Any) -> JSON:
    """Call the method, and return code, message and body of its answer."""
    form = cast("GrpcCall", call)
    credentials = await credentials_of(form.authentication, asking, "service/authentication")
    if credentials is not None and credentials.header is None:
        raise Standard.CONFIGURATION.error(
            "An authentication policy cannot be used", "gRPC has no digest; use basic, bearer, oauth2 or oidc"
        ).at(asking.pointer("service/authentication"))
    proto = (await resource_text(asking, form.proto, "proto"))[1] if form.proto is not None else None
    settings = await _settings(asking, form, reflection=proto is None)
    service = await asking.plain(form.service, "service/name")
    method = f"{service}/{await asking.plain(form.method, 'method')}"
    arguments = await asking.given(form.arguments, "arguments")
    if not isinstance(arguments.value, (dict, type(None))):
        raise asking.wrong("arguments", "object", arguments.shown)

    def args(value: JSON, header: str | None) -> bytes:
        built = _ARGS(method=method, json_body=json_text(value if value is not None else {}), as_json=True)
        if proto is not None:
            built.proto.source = proto
        if header is not None:
            built.metadata["authorization"] = header
        return built.SerializeToString()

    header = credentials.header if credentials is not None else None
    secret = args(arguments.value, header)
    shown = args(_as_object(arguments), MASK if header is not None else None)
    worker, unary = await on_runner(asking.run, "GRPC", "unary", settings=settings)
    spec = asking.run.tools.children.runner("GRPC")
    assert spec is not None, "it is built in"
    work = Work(worker, spec, unary, shown, Secret(secret, asking.revealed.hidden) if secret != shown else None)
    result = await result_of(asking.run, asking.state, work)
    assert result is not None, "calls are waited for"
    return _answer(result.output or b"")


async def _settings(asking: Asking, form: GrpcCall, *, reflection: bool) -> bytes:
    settings = _SETTINGS(host=await asking.plain(form.host, "service/host"), use_reflection=reflection)
    if form.port is not None:
        port = (await asking.given(form.port, "service/port")).value
        number = int(port) if isinstance(port, str) and port.isdecimal() else port
        if isinstance(number, bool) or not isinstance(number, int) or not 0 < number <= _MOST_PORT:
            raise asking.wrong("service/port", "port from 1 to 65535", port)
        settings.port = number
    return settings.SerializeToString()


def _as_object(arguments: Given) -> JSON:
    return arguments.shown if isinstance(arguments.shown, dict) else {}


def _answer(data: bytes) -> JSON:
    result = _RESULT.FromString(data)
    if result.code:
        raise _failed(result.code, result.message)
    body: JSON = None
    if result.WhichOneof("response_data") == "json_body":
        body = json_value(result.json_body)
    elif result.body:
        body = b64encode(result.body).decode()
    found: dict[str, JSON] = {"code": result.code, "body": body}
    if result.metadata:
        found["metadata"] = cast("JSON", dict(result.metadata))
    if result.message:
        found["message"] = result.message
    return found


def _failed(code: int, message: str) -> WorkflowError:
    name, status = _STATUSES.get(code, (str(code), 500))
    return Standard.COMMUNICATION.error(f"The server answered {name}", message or None, status=status)
