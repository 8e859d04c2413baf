"""The tools of one server as methods: names, schemas, and from a job's args to a call."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self, cast

from google.protobuf.message import Message

from jobworkerp_standalone.jobs.errors import BadInput
from jobworkerp_standalone.jobs.model import DEFAULT_METHOD, OutputType
from jobworkerp_standalone.runners.builtin import proto_text
from jobworkerp_standalone.runners.description import Method
from jobworkerp_standalone.schema.json_args import BadArguments, JsonArgs, json_object
from jobworkerp_standalone.schema.layout import Extra, pascal_case

_log = logging.getLogger(__name__)
_STRICT: Final = "treat_error_status_as_error"
_STRICT_FIELD: Final = Extra(_STRICT, 100, "bool", "A result with is_error fails the attempt.")
_ANY_TOOL: Final = (
    Extra("tool_name", 1, "string", "The tool."),
    Extra("arg_json", 2, "string", "Its arguments, as a JSON object."),
    _STRICT_FIELD,
)
_FIRST_OF_ONE_TOOL: Final = 101
"""Where the arguments of a server's only tool begin in the message of method ``run``."""


class ToolInfo(NamedTuple):
    """What a server says of a tool."""

    name: str
    description: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """What a job asks for."""

    tool: str
    arguments: dict[str, Any]
    strict: bool
    """A result that says it is an error fails the attempt."""


@dataclass(frozen=True, slots=True)
class Toolbox:
    """All tools of a server."""

    server: str
    tools: Mapping[str, ToolInfo]
    _args: Mapping[str, JsonArgs]
    _any: JsonArgs
    """Of the method ``run``, unless a tool has that name."""

    @classmethod
    def make(cls, server: str, infos: Iterable[ToolInfo]) -> Self:
        """Lay out every tool. Compiles schemas: call it in a thread."""
        tools = {info.name: info for info in infos if info.name}
        args: dict[str, JsonArgs] = {}
        for name, info in tools.items():
            note = f"Arguments of tool {name} of MCP server {server}."
            args[name] = JsonArgs.make(info.schema, pascal_case(server, name, "Args"), note, (_STRICT_FIELD,))
        return cls(server, tools, args, _any_tool(server, list(tools.values())))

    def methods(self) -> dict[str, Method]:
        """Return a method for each tool, and ``run``."""
        result = proto_text("mcp_server_result")
        found = {
            name: Method(name, self._args[name].text, result, info.description, OutputType.BOTH)
            for name, info in self.tools.items()
        }
        found.setdefault(
            DEFAULT_METHOD,
            Method(DEFAULT_METHOD, self._any.text, result, "Call the tool that the args name.", OutputType.BOTH),
        )
        return found

    def read(self, method: str, args: bytes) -> ToolCall:
        """Return the call that a job's args mean.

        Raises:
            BadInput: they mean none; the text says what is wrong.
        """
        try:
            if method in self.tools:
                return self._of_tool(method, args)
            return self._of_any(args)
        except BadArguments as error:
            raise BadInput(f"the args of MCP server {self.server!r}, method {method!r}: {error}") from error

    def _of_tool(self, name: str, data: bytes) -> ToolCall:
        args = self._args[name]
        message = args.parse(data)
        return ToolCall(name, args.to_json(message), _is_strict(args, message))

    def _of_any(self, data: bytes) -> ToolCall:
        message = self._any.parse(data)
        name: str = getattr(message, "tool_name", "")
        arg_json: str = getattr(message, "arg_json", "")
        strict = _is_strict(self._any, message)
        if name in self.tools:
            return ToolCall(name, json_object(arg_json, "arg_json"), strict)
        only = next(iter(self.tools)) if len(self.tools) == 1 else None
        if only is None or _names_a_tool(name, arg_json):
            given = f"tool_name {name!r} is not a tool" if name else "tool_name is missing"
            raise BadArguments(f"{given}; use one of {', '.join(self.tools) or '(it has no tools)'}")
        if not name and not arg_json:
            return ToolCall(only, self._any.to_json(message), strict)
        return self._of_tool(only, data)  # args of the tool's own method, sent without its name


def _any_tool(server: str, tools: list[ToolInfo]) -> JsonArgs:
    """Return the args of method ``run``: of a server with one tool, that tool's arguments fit in as well."""
    note = "A tool to call, and its arguments."
    if len(tools) == 1:
        args = JsonArgs.make(
            tools[0].schema, pascal_case(server, "RunArgs"), note, _ANY_TOOL, first_number=_FIRST_OF_ONE_TOOL
        )
        if len(args.extras) >= len(_ANY_TOOL):
            return args
    return JsonArgs.make({"type": "object"}, "McpServerArgs", note, _ANY_TOOL)


def _is_strict(args: JsonArgs, message: Message) -> bool:
    return _STRICT in args.extras and cast("bool", getattr(message, _STRICT))


def _names_a_tool(name: str, arg_json: str) -> bool:
    """Whether text that is no tool's name was meant as one: what follows is a JSON object."""
    try:
        json_object(arg_json, "arg_json")
    except BadArguments:
        return False
    return bool(name and arg_json)
