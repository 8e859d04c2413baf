"""JSON Schemas (2020-12) of inputs, outputs and exports: checked when a document is read, compiled once.

The library behind it is imported for documents that have a schema. A schema refers to its own parts only: nothing is
fetched.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from jobworkerp_standalone.workflow.errors import Standard

_SHOWN: Final = 5
_LONGEST: Final = 300


class CompiledSchema:
    """A schema that values are checked against. The schema itself has been checked."""

    def __init__(self, document: Any) -> None:
        self.document = document
        self._validator: Any = None

    def check(self, value: Any, what: str) -> None:
        """Look at a value.

        Args:
            value: a JSON value.
            what: what it is, for the message, such as ``the input``.

        Raises:
            WorkflowError: it is not what the schema allows; the detail says where and why.
        """
        from referencing.exceptions import Unresolvable  # noqa: PLC0415 - see the top

        try:
            messages = [_message(error) for error in self._errors(value)]
        except Unresolvable as error:
            raise Standard.CONFIGURATION.error(
                "a schema cannot be used", f"it refers to {error.ref!r}, which is no part of it; nothing is fetched"
            ) from error
        if messages:
            more = f"; and {len(messages) - _SHOWN} more" if len(messages) > _SHOWN else ""
            raise Standard.VALIDATION.error(
                f"{what} is not what its schema allows", "; ".join(messages[:_SHOWN]) + more
            )

    def accepted(self, value: Any, what: str) -> Any:
        """Check an input and return it with the schema's defaults.

        An input that is missing altogether (null) is the schema's own default, if there is one. Members get theirs
        after the check, so a default does not stand in for a member that is required.

        Raises:
            WorkflowError: it is not what the schema allows.
        """
        if value is None and isinstance(self.document, Mapping):
            value = cast("Mapping[str, Any]", self.document).get("default")
        self.check(value, what)
        return with_defaults(value, cast("Any", self.document))

    def _errors(self, value: Any) -> Iterator[Any]:
        if self._validator is None:
            from jsonschema import Draft202012Validator  # noqa: PLC0415 - see the top
            from referencing import Registry  # noqa: PLC0415

            make: Any = Draft202012Validator
            self._validator = make(self.document, registry=cast("Any", Registry)())
        return self._validator.iter_errors(value)


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


def schema_problems(schema: Any) -> list[tuple[str, str]]:
    """Return what is wrong with a schema: a JSON pointer into it, and a message, for each mistake."""
    if not isinstance(schema, dict | bool):
        return [("", "it must be an object, or true or false")]
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - see the top

    formats = Draft202012Validator.FORMAT_CHECKER
    checker: Any = Draft202012Validator(Draft202012Validator.META_SCHEMA, format_checker=formats)
    errors = sorted(checker.iter_errors(schema), key=lambda each: _pointer(each.absolute_path))
    return [(_pointer(each.absolute_path), _short(each.message)) for each in errors]


def _message(error: Any) -> str:
    place = _pointer(error.absolute_path)
    return f"{place}: {_short(error.message)}" if place else _short(error.message)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _pointer(path: Any) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)
