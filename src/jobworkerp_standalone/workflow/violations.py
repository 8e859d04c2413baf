"""In what a value does not fit a JSON Schema: in the daemon where that is quick whatever the value, else in a helper.

A pattern or a reference can keep the library busy for ever, so only schemas without such are looked at in the daemon.
A schema refers to its own parts only: nothing is fetched.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import islice
from typing import Any, Final, cast

from jobworkerp_standalone.workflow.expressions.failure import EvaluationFailed
from jobworkerp_standalone.workflow.pointers import escaped

_SHOWN: Final = 5
_COUNTED: Final = 1_000
"""Most violations that are counted."""
_LONGEST: Final = 300
_DEEPEST: Final = 16
"""Levels of a schema that is looked at in the daemon, whose stack may be full of tasks already."""
_NOTES: Final = frozenset({
    "$comment", "$defs", "$schema", "contentEncoding", "contentMediaType", "default", "deprecated", "description",
    "examples", "format", "readOnly", "title", "writeOnly",
})  # fmt: skip
_PLAIN: Final = frozenset({
    "const", "dependentRequired", "enum", "exclusiveMaximum", "exclusiveMinimum", "maxContains", "maxItems",
    "maxLength", "maxProperties", "maximum", "minContains", "minItems", "minLength", "minProperties", "minimum",
    "required", "type",
})  # fmt: skip
_SCHEMA: Final = frozenset(("additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then"))
_SCHEMAS: Final = frozenset(("allOf", "anyOf", "dependentSchemas", "oneOf", "prefixItems", "properties"))


def dialect_of(schema: Any) -> Any:
    """Return the library's class for what ``$schema`` names; for 2020-12 where it names nothing that is known."""
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - takes a while, and few documents have schemas
    from jsonschema.validators import validator_for  # noqa: PLC0415 - see above

    named: Any = cast("Mapping[str, Any]", schema).get("$schema") if isinstance(schema, Mapping) else None
    if not isinstance(named, str):
        return Draft202012Validator
    try:
        return cast("Any", validator_for)({"$schema": named}, default=Draft202012Validator)
    except ValueError:  # no URI
        return Draft202012Validator


def validator_of(schema: Any) -> Any:
    """Return what checks values against a schema."""
    from referencing import Registry  # noqa: PLC0415 - see above

    return dialect_of(schema)(schema, registry=cast("Any", Registry)())


def load() -> None:
    """Load what the first check would load, which takes much longer than most checks."""
    validator_of({})


def violations(validator: Any, value: Any) -> list[str]:
    """Return what is wrong with a value, each with its place; those after the first few are counted.

    Raises:
        EvaluationFailed: the schema cannot be used.
    """
    from referencing.exceptions import Unresolvable  # noqa: PLC0415 - see above

    try:
        errors = islice(validator.iter_errors(value), _COUNTED)
        found = [_message(error) for error in islice(errors, _SHOWN)]
        more = sum(1 for _ in errors)
    except Unresolvable as error:
        raise EvaluationFailed(f"it refers to {error.ref!r}, which is no part of it; nothing is fetched") from error
    except RecursionError as error:
        raise EvaluationFailed("it refers to itself without end, or it or the value is nested too deeply") from error
    except (ValueError, ArithmeticError) as error:
        raise EvaluationFailed(short(str(error))) from error
    if more:
        found.append(f"and {more}{' or' if more + _SHOWN == _COUNTED else ''} more")
    return found


def violations_of_text(schema: str, value: Any) -> list[str]:
    """Return the same for a schema as JSON text, which is read once where it comes again.

    Raises:
        EvaluationFailed: the schema cannot be used.
    """
    return violations(_validator(schema), value)


@lru_cache(8)
def _validator(text: str) -> Any:
    return validator_of(json.loads(text))


def plain_size(schema: Any, depth: int = 0) -> int | None:
    """Return of how many parts a schema is that takes no longer than its parts times those of a value; else None."""
    if not isinstance(schema, Mapping):
        return 1
    if depth > _DEEPEST:
        return None
    size = 1
    for key, inner in cast("Mapping[str, Any]", schema).items():
        if key in _NOTES:
            continue
        if key in _PLAIN:
            size += len(cast("list[Any]", inner)) if isinstance(inner, list) else 1
            continue
        for each in _inside(key, inner):
            more = plain_size(each, depth + 1)
            if more is None:
                return None
            size += more
        if key not in _SCHEMA and key not in _SCHEMAS:
            return None
    return size


def _inside(key: str, inner: Any) -> Iterable[Any]:
    if key in _SCHEMA:
        return (inner,)
    if key not in _SCHEMAS:
        return ()
    return cast("Mapping[str, Any]", inner).values() if isinstance(inner, Mapping) else cast("list[Any]", inner)


def _message(error: Any) -> str:
    place = pointer_of(error.absolute_path)
    return f"{place}: {told(error)}" if place else told(error)


def told(error: Any) -> str:
    """Return what the library says is wrong, with values as JSON has them: null, not None."""
    said = str(error.message)
    for value in (error.instance, error.validator_value):
        if not isinstance(value, str):
            said = said.replace(repr(value), json.dumps(value, ensure_ascii=False), 1)
    return short(said)


def short(text: str) -> str:
    """Return a text without its end where it is long."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def pointer_of(path: Iterable[Any]) -> str:
    """Return a path as a JSON pointer."""
    return "".join(f"/{escaped(str(part))}" for part in path)
