"""JSON and message bytes, by the proto texts that the server publishes for each runner."""

from __future__ import annotations

import json
from typing import Any, Final

from google.protobuf.message import DecodeError, Message

from jobworkerp_standalone.client.errors import DoesNotFit, NoSuch
from jobworkerp_standalone.pb.jobworkerp.data import MethodSchema, Runner
from jobworkerp_standalone.schema.convert import JsonObject, bytes_to_json, json_to_bytes
from jobworkerp_standalone.schema.text import BadProtoText, root_message

DEFAULT_METHOD: Final = "run"


def encode_settings(runner: Runner, value: str | JsonObject) -> bytes:
    """Return the bytes of a worker's settings, from JSON text or what it stands for; empty text means none.

    Raises:
        DoesNotFit: the JSON does not fit the runner's schema.
    """
    return _encode("settings", value, runner.data.runner_settings_proto if runner.data else "")


def encode_args(runner: Runner, using: str | None, value: str | JsonObject) -> bytes:
    """Return the bytes of a job's arguments, from JSON text or what it stands for; empty text means none.

    Raises:
        NoSuch: the runner has no method ``using``.
        DoesNotFit: the JSON does not fit the method's schema.
    """
    method = method_of(runner, using)
    return _encode("args", value, method.args_proto if method else "")


def encode_settings_tree(runner: Runner, tree: Any) -> bytes:
    """Return the bytes of a worker's settings that were parsed before; the name of a oneof stands for its member.

    Raises:
        DoesNotFit: they do not fit the runner's schema, or it has none.
    """
    proto = runner.data.runner_settings_proto if runner.data else ""
    if not proto.strip():
        raise DoesNotFit(f"settings: runner {runner.data.name if runner.data else ''!r} takes none")
    return _by_schema("settings", tree, proto, oneof_groups=True)


def encode_args_leniently(runner: Runner, using: str, args: JsonObject) -> bytes:
    """Return the bytes of a job's arguments, without those that the method's schema does not know.

    Raises:
        NoSuch: the runner has no method ``using``, or the server publishes no schema of it.
        DoesNotFit: they do not fit the method's schema.
    """
    method = method_of(runner, using)
    if method is None or not method.args_proto.strip():
        raise NoSuch(f"runner {runner.data.name if runner.data else ''!r} has no method {using!r} with arguments")
    return _by_schema("args", args, method.args_proto, ignore_unknown=True, oneof_groups=True)


def decode_settings(runner: Runner | None, data: bytes) -> Any:
    """Return a worker's settings as JSON, or as text where no schema fits; None where there are none."""
    return _decode(data, runner.data.runner_settings_proto if runner and runner.data else "")


def decode_args(runner: Runner | None, using: str | None, data: bytes) -> Any:
    """Return a job's arguments as JSON, or as text where no schema fits; None where there are none."""
    method = find_method(runner, using)
    return _decode(data, method.args_proto if method else "")


def decode_output(runner: Runner | None, using: str | None, data: bytes) -> Any:
    """Return a result, or an item of a stream, as JSON, or as text where no schema fits."""
    method = find_method(runner, using)
    return _decode(data, method.result_proto if method else "")


def find_method(runner: Runner | None, using: str | None) -> MethodSchema | None:
    """Return the schemas of a method: without ``using`` the only one, or ``run``."""
    if runner is None or runner.data is None or runner.data.method_proto_map is None:
        return None
    methods = runner.data.method_proto_map.schemas
    if len(methods) == 1 and (using is None or DEFAULT_METHOD in methods):
        return next(iter(methods.values()))
    return methods.get(using or DEFAULT_METHOD)


def method_of(runner: Runner, using: str | None) -> MethodSchema | None:
    """Return the schemas of a method as ``find_method``; None only for a runner without methods.

    Raises:
        NoSuch: the runner has methods, and not this one.
    """
    found = find_method(runner, using)
    data = runner.data
    if found is None and data and data.method_proto_map and data.method_proto_map.schemas:
        known = ", ".join(sorted(data.method_proto_map.schemas))
        if using is None:
            raise NoSuch(f"runner {data.name!r} has several methods: choose one with --using ({known})")
        raise NoSuch(f"runner {data.name!r} has no method {using!r}; it has {known}")
    return found


def _encode(what: str, value: str | JsonObject, proto: str) -> bytes:
    if isinstance(value, str) and not value.strip():
        return b""
    if not proto.strip():
        return (value if isinstance(value, str) else json.dumps(value)).encode()
    return _by_schema(what, value, proto)


def _by_schema(
    what: str, value: str | JsonObject, proto: str, *, ignore_unknown: bool = False, oneof_groups: bool = False
) -> bytes:
    try:
        return json_to_bytes(value, root_message(proto), ignore_unknown=ignore_unknown, oneof_groups=oneof_groups)
    except BadProtoText as error:
        raise DoesNotFit(f"{what}: the server's schema cannot be used: {error}") from error
    except ValueError as error:
        raise DoesNotFit(f"{what}: {error}") from error


def _decode(data: bytes, proto: str) -> Any:
    message_type = _message_type(proto)
    if message_type is None:
        return data.decode("utf-8", "replace") if data else None
    try:
        return bytes_to_json(data, message_type)
    except (DecodeError, ValueError):
        return data.decode("utf-8", "replace")


def _message_type(proto: str) -> type[Message] | None:
    try:
        return root_message(proto) if proto.strip() else None
    except BadProtoText:
        return None
