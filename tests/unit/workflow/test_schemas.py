"""Schemas of inputs and outputs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from jobworkerp_standalone.runners.host import Host
from jobworkerp_standalone.settings import load_settings
from jobworkerp_standalone.workflow.checks import Checks
from jobworkerp_standalone.workflow.errors import STANDARD_TYPES, WorkflowError
from jobworkerp_standalone.workflow.expressions.evaluator import Evaluator
from jobworkerp_standalone.workflow.model.values import Origin, Schema
from jobworkerp_standalone.workflow.schemas import CompiledSchema, schema_problems
from jobworkerp_standalone.workflow.source import SourceRules
from tests.support.patience import turns


@asynccontextmanager
async def checking(**environment: str) -> AsyncIterator[Checks]:
    settings = load_settings(environment)
    async with anyio.create_task_group() as tasks:
        host = Host(settings, tasks)
        try:
            yield Checks(SourceRules.of(settings), host.shared(Evaluator))
        finally:
            await host.aclose()


def of(document: Any) -> Schema:
    assert schema_problems(document) == []
    return Schema(origin=Origin(""), compiled=CompiledSchema(document))


async def refused(checks: Checks, schema: Any, value: Any) -> WorkflowError:
    with pytest.raises(WorkflowError) as raised:
        await checks.check(value, of(schema), "the input")
    return raised.value


async def test_defaults_are_filled_in_after_the_check() -> None:
    schema = {
        "properties": {
            "limit": {"default": 10},
            "opt": {"properties": {"deep": {"default": 1}}},
            "gone": {"properties": {"deep": {"default": 1}}},
        }
    }
    given: dict[str, Any] = {"opt": {}}
    async with checking() as checks:
        assert await checks.accepted(given, of(schema), "the input") == {"opt": {"deep": 1}, "limit": 10}
        assert given == {"opt": {}}
        with pytest.raises(WorkflowError):
            await checks.accepted({}, of({"required": ["a"], "properties": {"a": {"default": 1}}}), "the input")


async def test_a_missing_input_is_the_default_of_the_schema() -> None:
    schema = of({"type": "string", "default": "/"})
    async with checking() as checks:
        assert await checks.accepted(None, schema, "the input") == "/"
        assert await checks.accepted("/tmp", schema, "the input") == "/tmp"


@pytest.mark.parametrize("more", [{}, {"uniqueItems": True}], ids=["in the daemon", "in a helper"])
async def test_every_violation_is_told_with_its_place(more: dict[str, Any]) -> None:
    async with checking() as checks:
        schema = {"properties": {"a/b": {"type": "integer"}}, "required": ["b"], **more}
        error = await refused(checks, schema, {"a/b": "x"})
        assert error.type == STANDARD_TYPES + "validation"
        assert "/a~1b: 'x' is not of type 'integer'" in str(error)
        assert "'b' is a required property" in str(error)
        many = await refused(checks, {"items": {"type": "integer"}, **more}, [f"x{n}" for n in range(40)])
        assert "and 35 more" in str(many)
        await checks.check({"b": 1, "a/b": 2}, of(schema), "the input")


async def test_large_values_are_looked_at_in_a_helper() -> None:
    async with checking() as checks:
        schema = {"items": {"type": "integer"}}
        await checks.check(list(range(50_000)), of(schema), "the input")
        error = await refused(checks, schema, [*range(50_000), "x"])
        assert "/50000: 'x' is not of type 'integer'" in str(error)
        assert "or more" in str(await refused(checks, schema, ["x"] * 50_000))


DOUBLED = {f"d{number}": {"allOf": [{"$ref": f"#/$defs/d{number + 1}"}] * 2} for number in range(40)}
UNUSABLE: dict[str, tuple[Any, Any, str]] = {
    "fetching": ({"$ref": "http://127.0.0.1:9/schema.json"}, {}, "nothing is fetched"),
    "no such part": ({"$ref": "#/nope"}, {}, "no part of it"),
    "itself": ({"$ref": "#"}, {}, "refers to itself without end"),
    "circle": ({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, 1, "end"),
    "base": ({"$id": "http://[bad", "properties": {"a": {"$ref": "x"}}}, {"a": 1}, "Invalid IPv6"),
    "number": ({"multipleOf": 0.01}, 10**400, "too large"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNUSABLE)
async def test_schemas_that_cannot_be_used_fail_their_task(name: str) -> None:
    schema, value, words = UNUSABLE[name]
    async with checking() as checks:
        error = await refused(checks, schema, value)
    assert error.type == STANDARD_TYPES + "configuration"
    assert words in str(error)


ENDLESS: dict[str, tuple[Any, Any]] = {
    "pattern": ({"pattern": "^(a+)+$"}, "a" * 60 + "!"),
    "name": ({"patternProperties": {"^(a+)+$": {}}}, {"a" * 60 + "!": 1}),
    "doubling": ({"$defs": {**DOUBLED, "d40": {}}, "$ref": "#/$defs/d0"}, 1),
    "unique": ({"uniqueItems": True}, [{"a": number} for number in range(20_000)]),
}


async def test_schemas_that_never_end_fail_their_task_and_hold_up_nobody() -> None:
    failed: dict[str, str] = {}
    async with checking(WORKFLOW_EXPRESSION_TIMEOUT_MS="1000", WORKFLOW_EXPRESSION_HELPERS="3") as checks:

        async def hostile(name: str) -> None:
            error = await refused(checks, *ENDLESS[name])
            assert error.type == STANDARD_TYPES + "configuration"
            failed[name] = str(error)

        async with turns() as seen, anyio.create_task_group() as tasks:
            for name in ENDLESS:
                tasks.start_soon(hostile, name)
    for name in ENDLESS:
        assert any(f"longer than {limit}" in failed[name] for limit in ("1 s", "10 s, and hardly")), failed
    assert seen.longest_sec < 0.5, "somebody waited for a schema"


async def test_the_dialect_is_what_the_schema_names() -> None:
    async with checking() as checks:
        old = {"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "integer"}]}
        assert "'x' is not of type 'integer'" in str(await refused(checks, old, ["x"]))
        assert schema_problems({"items": [{"type": "integer"}]})
        for unknown in ("http://[bad", "https://example.com/dialect"):
            assert schema_problems({"$schema": unknown, "type": "object"}) == []


@pytest.mark.parametrize(
    ("schema", "quick"),
    [
        (True, True),
        ({"type": "object", "required": ["a"], "properties": {"a": {"enum": [1, 2]}}}, True),
        ({"anyOf": [{"type": "string"}, {"items": {"minimum": 1}}]}, True),
        ({"description": "x", "$defs": {"a": {"pattern": "x"}}}, True),
        ({"properties": {"a": {"pattern": "x"}}}, False),
        ({"allOf": [{"not": {"uniqueItems": True}}]}, False),
        ({"$ref": "#/$defs/a", "$defs": {"a": {}}}, False),
        ({"unevaluatedProperties": False}, False),
        ({"x-unknown": 1}, False),
        ({"enum": list(range(5_000))}, False),
    ],
)
def test_which_schemas_are_looked_at_in_the_daemon(schema: Any, quick: bool) -> None:
    assert CompiledSchema(schema).is_quick_with({"a": 1}) is quick


def test_a_schema_that_is_nested_too_deeply_is_looked_at_elsewhere() -> None:
    schema: dict[str, Any] = {}
    for _ in range(60):
        schema = {"properties": {"a": schema}}
    assert schema_problems(schema) == []
    assert not CompiledSchema(schema).is_quick_with({})


@pytest.mark.parametrize(
    "schema",
    [
        1,
        {"$schema": {}},
        {"$schema": 5},
        {"$id": 5},
        {"$ref": 5},
        {"enum": 5},
        {"type": "objekt"},
        {"pattern": "("},
        {"pattern": "(" * 5_000 + ")" * 5_000},
        {"properties": {"a": 1}},
    ],
)
def test_a_schema_that_is_none(schema: Any) -> None:
    assert schema_problems(schema)
