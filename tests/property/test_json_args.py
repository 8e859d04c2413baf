"""Arguments of any shape travel as a proto message and arrive as the JSON that was meant."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobworkerp_standalone.schema.convert import json_to_bytes
from jobworkerp_standalone.schema.json_args import JsonArgs
from jobworkerp_standalone.schema.layout import Extra
from jobworkerp_standalone.schema.shape import Kind, Shape, read_shape

EXTRAS = (Extra("treat_error_status_as_error", 100, "bool", "Ours."),)
NAMES = st.one_of(
    st.sampled_from(["a", "fooBar", "foo_bar", "foo-bar", "message", "string", "2nd", "_x", "Inner", "größe", "a b"]),
    st.sampled_from(["treat_error_status_as_error", "arguments_json", "optional", "repeated", "reserved", '"', "\\"]),
    st.text(min_size=1, max_size=6),
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
INTEGERS = st.integers(-(2**63), 2**63 - 1)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), INTEGERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(TEXTS, inner, max_size=2)),
    max_leaves=4,
)


class Typed(NamedTuple):
    """A JSON Schema, and values that it allows."""

    schema: dict[str, Any]
    values: st.SearchStrategy[Any]


SCALARS = (
    Typed({"type": "string"}, TEXTS),
    Typed({"type": "string", "enum": ["plain", "with-dash", ""]}, st.sampled_from(["plain", "with-dash", ""])),
    Typed({"const": "only"}, st.just("only")),
    Typed({"type": "integer", "minimum": 0}, INTEGERS.filter(lambda number: number >= 0)),
    Typed({"enum": [1, 2, 3]}, st.sampled_from([1, 2, 3])),
    Typed({"type": "number"}, NUMBERS),
    Typed({"type": "boolean"}, st.booleans()),
)
ODD = (
    Typed({}, JSON),
    Typed({"type": ["string", "integer"]}, st.one_of(TEXTS, INTEGERS)),
    Typed({"anyOf": [{"type": "integer"}, {"type": "boolean"}]}, st.one_of(INTEGERS, st.booleans())),
    Typed({"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}, st.lists(TEXTS)),
    Typed({"type": "object"}, st.dictionaries(TEXTS, JSON, max_size=2)),
    Typed({"type": "object", "additionalProperties": {"type": "number"}}, st.dictionaries(TEXTS, INTEGERS, max_size=2)),
    Typed({"type": "array"}, st.lists(JSON, max_size=2)),
    Typed({"type": "array", "items": {"type": "array", "items": {"type": "integer"}}}, st.lists(st.lists(INTEGERS))),
    Typed({"type": "array", "items": {"type": ["integer", "null"]}}, st.lists(st.one_of(st.none(), INTEGERS))),
)


def nullable(typed: Typed) -> Typed:
    return Typed({"anyOf": [typed.schema, {"type": "null"}]}, st.one_of(st.none(), typed.values))


def array(typed: Typed) -> Typed:
    return Typed({"type": "array", "items": typed.schema}, st.lists(typed.values, max_size=3))


@st.composite
def objects(draw: st.DrawFn, inner: st.SearchStrategy[Typed]) -> Typed:
    properties = draw(st.dictionaries(NAMES, inner, min_size=1, max_size=4))
    required = draw(st.lists(st.sampled_from(sorted(properties)), unique=True))
    values = st.fixed_dictionaries(
        {name: typed.values for name, typed in properties.items() if name in required},
        optional={name: typed.values for name, typed in properties.items() if name not in required},
    )
    schema = {name: typed.schema for name, typed in properties.items()}
    return Typed({"type": "object", "properties": schema, "required": required}, values)


def types() -> st.SearchStrategy[Typed]:
    leaves = st.sampled_from([*SCALARS, *ODD])
    return st.recursive(
        leaves,
        lambda inner: st.one_of(inner.map(nullable), inner.map(array), objects(inner)),
        max_leaves=5,
    )


def spelled(value: Any, shape: Shape) -> Any:
    """Return the JSON of a message: what is marked as JSON text is written as that."""
    if shape.many:
        one = Shape(shape.kind, members=shape.members)
        return None if value is None else [spelled(each, one) for each in value]
    if shape.kind is Kind.JSON:
        return json.dumps(value)
    if shape.kind is Kind.OBJECT and value is not None:
        shapes = {member.name: member.shape for member in shape.members}
        return {name: spelled(each, shapes[name]) for name, each in value.items()}
    return value


def canonical(value: Any, shape: Shape) -> Any:
    """Return the value without what says nothing: an optional null, an optional array without items."""
    if shape.kind is not Kind.OBJECT or value is None:
        return value
    if shape.many:
        return [canonical(each, Shape(shape.kind, members=shape.members)) for each in value]
    found = {}
    for member in shape.members:
        if member.name not in value:
            continue
        given = value[member.name]
        empty = given is None and member.shape.kind is not Kind.JSON
        if member.required or not (empty or (member.shape.many and given == [])):
            found[member.name] = canonical(given, member.shape)
    return found


@given(objects(types()), st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_json_becomes_bytes_and_the_json_that_was_meant(typed: Typed, data: st.DataObject) -> None:
    value = data.draw(typed.values)
    args = JsonArgs.make(typed.schema, "ServerToolArgs", "Arguments.", EXTRAS)
    shape = read_shape(typed.schema)
    whole = "arguments_json" in args.extras
    sent = {"arguments_json": json.dumps(value)} if whole else spelled(value, shape)
    message = args.parse(json_to_bytes(sent, args.message))
    arrived = args.to_json(message)
    assert arrived == (value if whole else canonical(value, shape)), args.text
    assert json.loads(json.dumps(arrived, allow_nan=False)) == arrived


@given(JSON)
@settings(max_examples=200, deadline=None)
def test_no_schema_is_too_odd(schema: Any) -> None:
    """Whatever a server sends as a schema, its tool can be called."""
    odd = schema if isinstance(schema, dict) else {"type": "object", "properties": {"a": schema}}
    args = JsonArgs.make(odd, "ServerToolArgs", "Arguments.", EXTRAS)
    assert args.to_json(args.parse(b"")) in ({}, {"a": None}, {"a": []})


KEYWORDS = ("type", "properties", "items", "anyOf", "oneOf", "allOf", "$ref", "enum", "const", "required", "$defs")


@given(
    st.recursive(
        st.one_of(
            st.sampled_from(["object", "string", "array", "null", "#", "#/$defs/a", "#/properties/a"]), st.none()
        ),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(st.sampled_from([*KEYWORDS, "a"]), inner, max_size=4)
        ),
        max_leaves=12,
    )
)
@settings(max_examples=300, deadline=None)
def test_no_schema_made_of_keywords_is_too_odd(schema: Any) -> None:
    odd = {"type": "object", **schema} if isinstance(schema, dict) else {"properties": {"a": schema}}
    args = JsonArgs.make(odd, "ServerToolArgs", "Arguments.", EXTRAS)
    assert isinstance(args.to_json(args.parse(b"")), dict)
