"""What a document hands to built-in runners, as far as it is written down and no expression.

Others may be there where the document runs: of their names and arguments nothing is known here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from jobworkerp_standalone.workflow.decode.cursor import At
from jobworkerp_standalone.workflow.problems import did_you_mean

if TYPE_CHECKING:
    from jobworkerp_standalone.schema.convert import Descriptor

_ALIKE: Final = 0.85
"""How much a name must be like that of a built-in runner to be taken for it: plugins may have similar names."""


class BuiltIn(NamedTuple):
    """A built-in runner: its messages, by their names in the package ``jobworkerp.runner``."""

    args: Mapping[str, str] = {}
    """By method, the first of which is the default; none where nothing is known of them."""
    settings: str = ""


_OWN_RULES: Final = BuiltIn()
"""Of a runner that is not built, or whose arguments the engine reads in its own way."""
BUILT_IN: Final[Mapping[str, BuiltIn]] = {
    "COMMAND": BuiltIn({"run": "CommandArgs"}),
    "HTTP_REQUEST": BuiltIn({"run": "HttpRequestArgs"}, "HttpRequestRunnerSettings"),
    "GRPC_UNARY": BuiltIn({"run": "GrpcUnaryArgs"}, "GrpcUnaryRunnerSettings"),
    "GRPC": BuiltIn({"unary": "grpc.GrpcArgs", "streaming": "grpc.GrpcArgs"}, "grpc.GrpcRunnerSettings"),
    "DOCKER": BuiltIn({"run": "DockerArgs"}, "DockerRunnerSettings"),
    "SLACK_POST_MESSAGE": BuiltIn({"run": "SlackChatPostMessageArgs"}, "SlackRunnerSettings"),
    "PYTHON_COMMAND": BuiltIn({"run": "PythonCommandArgs"}, "PythonCommandRunnerSettings"),
    "INLINE_WORKFLOW": BuiltIn({"run": "InlineWorkflowArgs"}),
    "REUSABLE_WORKFLOW": BuiltIn({"run": "ReusableWorkflowArgs"}, "ReusableWorkflowRunnerSettings"),
    "WORKFLOW": _OWN_RULES,
    "LLM": _OWN_RULES,
    "LLM_CHAT": _OWN_RULES,
    "LLM_COMPLETION": _OWN_RULES,
    "FUNCTION_SET_SELECTOR": _OWN_RULES,
}


def check_runner(name: At, using: At | None, arguments: At | None, settings: At | None) -> None:
    """Note what a built-in runner would refuse, and warn of what it would not look at."""
    if not isinstance(name.value, str) or name.is_expression:
        return
    runner = BUILT_IN.get(name.value)
    if runner is None:
        if (meant := did_you_mean(name.value, BUILT_IN, alike=_ALIKE)) is not None:
            name.warn(f"no built-in runner has the name '{name.value}'", meant)
        return
    if not runner.args:
        return
    method = _method(using, runner, name.value)
    if arguments is not None and method is not None:
        _check_message(arguments, runner.args[method])
    if settings is None:
        return
    if runner.settings:
        _check_message(settings, runner.settings)
    elif settings.value not in ({}, None):
        settings.warn(f"runner {name.value} has no settings: these are not looked at", "leave them out")


def _method(using: At | None, runner: BuiltIn, name: str) -> str | None:
    default = next(iter(runner.args))
    if using is None or len(runner.args) == 1:
        return default
    if using.is_expression or not isinstance(using.value, str):
        return None
    if using.value not in runner.args:
        using.wrong(
            f"runner {name} has no method '{using.value}'",
            did_you_mean(using.value, runner.args) or f"it has {', '.join(runner.args)}",
        )
        return None
    return using.value


def _check_message(at: At, name: str) -> None:
    if not at.is_object:
        return
    from jobworkerp_standalone.schema.messages import message_class  # noqa: PLC0415 - few documents need it

    _check_members(at, message_class(f"jobworkerp.runner.{name}").DESCRIPTOR, top=True)


def _check_members(at: At, message: Descriptor, *, top: bool = False) -> None:
    known = {spelled: field for field in message.fields for spelled in (field.json_name, field.name)}
    for key, inner in at.members():
        field = known.get(key)
        if field is not None:
            _check_field(inner, field)
        elif not (top and key in message.oneofs_by_name):
            at.unknown_key(key, [each.name for each in message.fields], warning=True)


def _check_field(at: At, field: Descriptor) -> None:
    if at.value is None or at.is_expression:
        return
    if field.message_type and field.message_type.GetOptions().map_entry:
        if not at.is_object:
            at.must_be("an object")
            return
        for _, inner in at.members():
            _check_value(inner, field.message_type.fields_by_name["value"])
    elif field.is_repeated:
        for item in at.items():
            _check_value(item, field)
    else:
        _check_value(at, field)


def _check_value(at: At, field: Descriptor) -> None:
    if at.is_expression or (at.notes.loose and isinstance(at.value, str)):
        return
    if field.message_type:
        if field.message_type.full_name.startswith("google.protobuf."):
            return
        if at.is_object:
            _check_members(at, field.message_type)
        else:
            at.must_be("an object")
    elif not _fits(at.value, field):
        at.must_be(_wanted(field))


def _fits(value: Any, field: Descriptor) -> bool:
    """Tell whether a value can be read as the one member of its message; of an array, as its one item."""
    from google.protobuf.message_factory import GetMessageClass  # noqa: PLC0415 - see above

    from jobworkerp_standalone.schema.convert import json_to_bytes  # noqa: PLC0415 - see above

    if value is None:
        return False
    if isinstance(value, str) and field.type == field.TYPE_STRING:
        return True
    try:
        json_to_bytes({field.name: [value] if field.is_repeated else value}, GetMessageClass(field.containing_type))
    except ValueError:
        return False
    return True


def _wanted(field: Descriptor) -> str:
    if field.enum_type:
        return f"one of {', '.join(field.enum_type.values_by_name)}"
    if field.type == field.TYPE_BYTES:
        return "text in base64"
    kinds = {field.CPPTYPE_STRING: "text", field.CPPTYPE_BOOL: "true or false"}
    floats = (field.CPPTYPE_DOUBLE, field.CPPTYPE_FLOAT)
    return kinds.get(field.cpp_type, "a number" if field.cpp_type in floats else "a whole number that fits")
