"""Schemas of inputs and outputs."""

from __future__ import annotations

from typing import Any

import pytest

from jobworkerp_standalone.workflow.errors import STANDARD_TYPES, WorkflowError
from jobworkerp_standalone.workflow.schemas import CompiledSchema, schema_problems


def test_defaults_are_filled_in_after_the_check() -> None:
    schema = CompiledSchema(
        {
            "properties": {
                "limit": {"default": 10},
                "opt": {"properties": {"deep": {"default": 1}}},
                "gone": {"properties": {"deep": {"default": 1}}},
            }
        }
    )
    given: dict[str, Any] = {"opt": {}}
    assert schema.accepted(given, "the input") == {"opt": {"deep": 1}, "limit": 10}
    assert given == {"opt": {}}
    with pytest.raises(WorkflowError):
        CompiledSchema({"required": ["a"], "properties": {"a": {"default": 1}}}).accepted({}, "the input")


def test_a_missing_input_is_the_default_of_the_schema() -> None:
    schema = CompiledSchema({"type": "string", "default": "/"})
    assert schema.accepted(None, "the input") == "/"
    assert schema.accepted("/tmp", "the input") == "/tmp"


def test_every_violation_is_told_with_its_place() -> None:
    schema = CompiledSchema({"properties": {"a": {"type": "integer"}}, "required": ["b"]})
    with pytest.raises(WorkflowError) as caught:
        schema.check({"a": "x"}, "the input")
    assert caught.value.type == STANDARD_TYPES + "validation"
    assert "/a: 'x' is not of type 'integer'" in str(caught.value)
    assert "'b' is a required property" in str(caught.value)


def test_nothing_is_fetched_for_a_reference() -> None:
    with pytest.raises(WorkflowError, match="nothing is fetched"):
        CompiledSchema({"$ref": "http://127.0.0.1:9/schema.json"}).check({}, "the input")


@pytest.mark.parametrize("schema", [1, {"type": "objekt"}, {"pattern": "("}, {"properties": {"a": 1}}])
def test_a_schema_that_is_none(schema: Any) -> None:
    assert schema_problems(schema)
