"""Whether a JSON Schema is one (2020-12)."""

from __future__ import annotations

from typing import Any


def schema_problems(schema: Any) -> list[tuple[str, str]]:
    """Return what is wrong with a schema: a JSON pointer into it, and a message, for each mistake."""
    if not isinstance(schema, dict | bool):
        return [("", "it must be an object, or true or false")]
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - most documents have no schema; it takes 0.1 s

    checker: Any = Draft202012Validator(
        Draft202012Validator.META_SCHEMA, format_checker=Draft202012Validator.FORMAT_CHECKER
    )
    errors = sorted(checker.iter_errors(schema), key=lambda each: list(map(str, each.absolute_path)))
    return [("".join(f"/{_escaped(part)}" for part in each.absolute_path), each.message) for each in errors]


def _escaped(part: object) -> str:
    return str(part).replace("~", "~0").replace("/", "~1")
