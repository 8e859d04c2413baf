"""JSON Schemas of inputs, outputs and exports: checked when a document is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final, NamedTuple, cast

from jobworkerp_standalone.jobs.json_size import size_up_to
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.problems import did_you_mean
from jobworkerp_standalone.workflow.violations import dialect_of, plain_size, pointer_of, short, told, validator_of

_AT_ONCE: Final = 500
"""Parts of a schema times parts of a value that are looked at within a few milliseconds."""
_TYPES: Final = ("array", "boolean", "integer", "null", "number", "object", "string")
_PART: Final = 8
"""Characters by which ``size_up_to`` counts a part."""


class CompiledSchema:
    """A schema that values are checked against. The schema itself has been checked."""

    def __init__(self, document: Any) -> None:
        self.document = document

    def is_quick_with(self, value: JSON) -> bool:
        """Tell whether a value may be checked in the daemon."""
        size = self._size
        if size is None:
            return False
        most = _AT_ONCE * _PART // size
        return size_up_to(most, [value]) <= most

    def or_default(self, value: JSON) -> JSON:
        """Return a value, or the schema's own default for one that is missing altogether (null)."""
        if value is None and isinstance(self.document, Mapping):
            return cast("Mapping[str, Any]", self.document).get("default")
        return value

    @cached_property
    def validator(self) -> Any:
        """Return what checks values in the daemon."""
        return validator_of(self.document)

    @cached_property
    def text(self) -> str:
        """Return the schema as JSON text."""
        return json.dumps(self.document)

    @cached_property
    def _size(self) -> int | None:
        return plain_size(self.document)


def with_defaults(value: Any, schema: Any) -> Any:
    """Return an object with the defaults of members that it lacks, also in members that are objects."""
    if not (isinstance(value, Mapping) and isinstance(schema, Mapping)):
        return cast("Any", value)
    members: Any = cast("Mapping[str, Any]", schema).get("properties")
    if not isinstance(members, Mapping):
        return cast("Any", value)
    found = dict(cast("Mapping[str, Any]", value))
    for key, inner in cast("Mapping[str, Any]", members).items():
        if key in found:
            found[key] = with_defaults(found[key], inner)
        elif isinstance(inner, Mapping) and "default" in inner:
            found[key] = inner["default"]
    return found


class SchemaProblem(NamedTuple):
    """A mistake in a schema."""

    pointer: str
    message: str
    suggestion: str | None = None


def schema_problems(schema: Any) -> list[SchemaProblem]:
    """Return what is wrong with a schema, each mistake with its place in it."""
    if not isinstance(schema, dict | bool):
        return [SchemaProblem("", "it must be an object, or true or false")]
    kind = dialect_of(cast("Any", schema))
    checker: Any = kind(kind.META_SCHEMA, format_checker=kind.FORMAT_CHECKER)
    try:
        errors = sorted(checker.iter_errors(schema), key=lambda each: pointer_of(each.absolute_path))
    except (RecursionError, OverflowError):
        return [SchemaProblem("", "a part of it, such as a pattern, is nested too deeply")]
    return list(dict.fromkeys(map(_problem, errors)))


def _problem(error: Any) -> SchemaProblem:
    place = pointer_of(error.absolute_path)
    if list(error.schema_path)[-3:] != ["properties", "type", "anyOf"]:
        return SchemaProblem(place, told(error))
    named = error.instance
    shown = f"'{named}'" if isinstance(named, str) else json.dumps(named)
    message = short(f"{shown} is no type: a type is {', '.join(_TYPES)}")
    return SchemaProblem(place, message, did_you_mean(named, _TYPES) if isinstance(named, str) else None)
