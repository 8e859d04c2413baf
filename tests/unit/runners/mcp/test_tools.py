"""From a job's args to a call: a method for each tool, and the older form that names one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobworkerp_standalone.jobs.errors import BadInput
from jobworkerp_standalone.runners.mcp.tools import Toolbox, ToolCall, ToolInfo
from jobworkerp_standalone.schema.convert import json_to_bytes
from jobworkerp_standalone.schema.messages import message_class
from jobworkerp_standalone.schema.text import root_message

ZONE = {"type": "object", "properties": {"timezone": {"type": "string"}}, "required": ["timezone"]}
ADD = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}}
NOW, SUM = ToolInfo("get_current_time", "Tells the time.", ZONE), ToolInfo("add", "Adds.", ADD)
ONE, TWO = Toolbox.make("time", [NOW]), Toolbox.make("time", [NOW, SUM])


def encode(box: Toolbox, method: str, value: dict[str, Any]) -> bytes:
    return json_to_bytes(value, root_message(box.methods()[method].args_proto))


def seed(tool: str, arg_json: str = "", **more: Any) -> bytes:
    args = message_class("jobworkerp.runner.McpServerArgs")(tool_name=tool, arg_json=arg_json, **more)
    return args.SerializeToString()


def test_each_tool_is_a_method_beside_run() -> None:
    methods = TWO.methods()
    assert list(methods) == ["get_current_time", "add", "run"]
    assert "message TimeGetCurrentTimeArgs {" in methods["get_current_time"].args_proto
    assert methods["add"].description == "Adds."
    assert "message McpServerResult {" in methods["add"].result_proto


def test_a_tool_is_called_with_its_arguments() -> None:
    assert TWO.read("add", encode(TWO, "add", {"a": 0, "b": 2**60})) == ToolCall("add", {"a": 0, "b": 2**60}, False)
    strict = encode(TWO, "add", {"treat_error_status_as_error": True})
    assert TWO.read("add", strict) == ToolCall("add", {}, True)


@pytest.mark.parametrize("box", [ONE, TWO])
def test_the_older_form_names_the_tool(box: Toolbox) -> None:
    wanted = ToolCall("get_current_time", {"timezone": "Asia/Tokyo", "n": 1}, False)
    arg_json = json.dumps(wanted.arguments)
    assert box.read("run", seed("get_current_time", arg_json)) == wanted
    published = {"tool_name": "get_current_time", "arg_json": arg_json}
    assert box.read("run", encode(box, "run", published)) == wanted
    assert box.read("run", seed("get_current_time")).arguments == {}
    assert box.read("run", seed("get_current_time", treat_error_status_as_error=True)).strict


def test_a_server_with_one_tool_needs_no_name() -> None:
    wanted = ToolCall("get_current_time", {"timezone": "UTC"}, False)
    assert ONE.read("run", encode(ONE, "run", {"timezone": "UTC"})) == wanted
    own = encode(ONE, "get_current_time", {"timezone": "UTC"})
    assert ONE.read("run", own) == wanted, "bytes of the tool's own message, sent without its name"
    assert ONE.read("run", b"") == ToolCall("get_current_time", {}, False)


@pytest.mark.parametrize(
    ("box", "args", "words"),
    [
        (TWO, seed("nothing", "{}"), ["'nothing'", "get_current_time, add"]),
        (ONE, seed("nothing", "{}"), ["'nothing'", "get_current_time"]),
        (TWO, b"", ["tool_name is missing", "get_current_time, add"]),
        (TWO, seed("add", "{"), ["arg_json is not JSON"]),
        (TWO, seed("add", "[]"), ["arg_json is not a JSON object"]),
        (TWO, seed("add", '{"a": NaN}'), ["arg_json", "NaN"]),
        (TWO, b"\x0a\xff", ["McpServerArgs"]),
        (Toolbox.make("time", []), seed("add"), ["'add'", "no tools"]),
    ],
)
def test_what_names_no_call_is_bad_input(box: Toolbox, args: bytes, words: list[str]) -> None:
    with pytest.raises(BadInput) as caught:
        box.read("run", args)
    for word in ["MCP server 'time'", *words]:
        assert word in str(caught.value)


def test_a_tool_may_be_called_run() -> None:
    box = Toolbox.make("s", [ToolInfo("run", "", ADD), NOW])
    assert box.read("run", encode(box, "run", {"a": 1})) == ToolCall("run", {"a": 1}, False)


def test_a_tool_may_have_arguments_with_our_names() -> None:
    names = ["tool_name", "arg_json", "treat_error_status_as_error"]
    schema = {"type": "object", "properties": {name: {"type": "string"} for name in names}}
    box = Toolbox.make("s", [ToolInfo("odd", "", schema)])
    value = dict.fromkeys(names, "x")
    assert box.read("odd", encode(box, "odd", value)) == ToolCall("odd", value, False)
    assert box.read("run", seed("odd", json.dumps(value))) == ToolCall("odd", value, False)


@pytest.mark.parametrize(
    "names", [("foo-bar", "foo_bar"), ("foo_bar", "foo-bar", "fooBar"), ("a", "A", "a_2"), ("x y", "x_y", "x-y")]
)
def test_arguments_may_have_names_that_are_nearly_the_same(names: tuple[str, ...]) -> None:
    schema = {"type": "object", "properties": {name: {"type": "string"} for name in names}}
    box = Toolbox.make("s", [ToolInfo("t", "", schema)])
    assert "arguments_json" not in box.methods()["t"].args_proto
    value = {name: name for name in names}
    assert box.read("t", encode(box, "t", value)) == ToolCall("t", value, False)


def test_a_name_that_no_field_can_have_is_in_the_arguments_as_a_whole() -> None:
    box = Toolbox.make("s", [ToolInfo("t", "", {"type": "object", "properties": {"a\0b": {"type": "integer"}}})])
    sent = encode(box, "t", {"arguments_json": json.dumps({"a\0b": 1})})
    assert box.read("t", sent) == ToolCall("t", {"a\0b": 1}, False)


def test_numbers_without_json_and_texts_that_are_none_are_bad_input() -> None:
    schema = {"type": "object", "properties": {"x": {"type": "number"}, "o": {"type": "object"}}}
    box = Toolbox.make("s", [ToolInfo("t", "", schema)])
    for value, word in [({"x": "NaN"}, "x: nan"), ({"o": "{"}, "o is not JSON")]:
        with pytest.raises(BadInput, match=word):
            box.read("t", encode(box, "t", value))


def test_union_arguments_say_what_they_are() -> None:
    schema = {"type": "object", "properties": {"u": {"anyOf": [{"type": "integer"}, {"type": "string"}]}}}
    box = Toolbox.make("s", [ToolInfo("t", "", schema)])
    assert "one of: integer | string. JSON text, or plain text." in box.methods()["t"].args_proto
    for sent, meant in [("5", 5), ('"5"', "5"), ("next week", "next week")]:
        assert box.read("t", encode(box, "t", {"u": sent})).arguments == {"u": meant}


ODD = [
    {"allOf": [{"type": "object", "properties": 5}]},
    {"allOf": [{"properties": {"a": {}}, "required": True}], "required": {}},
    {"allOf": [{"properties": {"a": {}}}], "properties": None},
    {"properties": {"a": {"$ref": "#/list/\u00b2"}}, "list": [1, 2]},
    {"properties": {"a": {"type": "string", "description": "a\0b\x1bc"}}},
    {"$ref": "#"},
    {"anyOf": [{"$ref": "#/anyOf/0"}]},
    {"anyOf": [{"$ref": f"#/anyOf/{'0' * 5_000}"}]},
]


@pytest.mark.parametrize("schema", ODD)
@pytest.mark.parametrize("name", ["t", "a\0b", "*/ }\n{", "\u540d", "1-2"])
def test_an_odd_tool_costs_no_other(schema: dict[str, Any], name: str) -> None:
    box = Toolbox.make("odd", [ToolInfo(name, "", schema), SUM])
    assert {name, "add"} <= box.methods().keys()
    assert box.read("add", encode(box, "add", {"a": 1})).arguments == {"a": 1}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["object", "array", "null", "#", "#/$defs/A", "\0"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "properties", "required", "allOf", "anyOf", "oneOf", "enum", "const", "items", "$ref", "$defs",
                 "additionalProperties", "patternProperties", "prefixItems", "a", "b-c", "A", "description"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)  # fmt: skip


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["type", "properties", "required", "allOf", "anyOf", "$ref", "$defs"]), JSON))
def test_no_schema_is_too_odd(schema: dict[str, Any]) -> None:
    assert "t" in Toolbox.make("odd", [ToolInfo("t", "", schema)]).methods()


def test_a_schema_that_unfolds_without_end_is_cut() -> None:
    levels = {
        f"L{n}": {"type": "object", "properties": {f"p{k}": {"$ref": f"#/$defs/L{n + 1}"} for k in range(20)}}
        for n in range(6)
    }
    box = Toolbox.make("odd", [ToolInfo("t", "", {"$ref": "#/$defs/L0", "$defs": levels})])
    assert len(box.methods()["t"].args_proto) < 1_000_000
    assert box.read("t", encode(box, "t", {"p19": '{"p1": {}}'})).arguments == {"p19": {"p1": {}}}


@pytest.mark.parametrize("depth", [100, 101, 900, 100_000])
def test_json_that_could_not_be_written_again_is_bad_input(depth: int) -> None:
    args = seed("add", '{"a":' * depth + "1" + "}" * depth)
    if depth == 100:
        assert TWO.read("run", args).tool == "add"
    else:
        with pytest.raises(BadInput, match="arg_json"):
            TWO.read("run", args)
