"""Errors of a running workflow: what they are, and which of them a ``catch`` means.

An error carries the type of the DSL. A filter may name that type, any other URI that ends in the same word, or one of
the short names of the reference, of which several map to one type of the DSL.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from typing import Any, Final, NamedTuple, Self

from jobworkerp_standalone.jobs.errors import JobworkerpError

STANDARD_TYPES: Final = "https://serverlessworkflow.io/spec/1.0.0/errors/"
LOWEST_STATUS: Final = 100
HIGHEST_STATUS: Final = 599
REFERENCE_TYPES: Final = "http-error://"
_SPECIFICATIONS: Final = ("serverlessworkflow.io/", "open-workflow-specification.org/")


class Standard(Enum):
    """The standard errors of the DSL: the last word of their type, and their usual status."""

    CONFIGURATION = ("configuration", 400)
    VALIDATION = ("validation", 400)
    EXPRESSION = ("expression", 400)
    AUTHENTICATION = ("authentication", 401)
    AUTHORIZATION = ("authorization", 403)
    TIMEOUT = ("timeout", 408)
    COMMUNICATION = ("communication", 500)
    RUNTIME = ("runtime", 500)

    @property
    def word(self) -> str:
        """Return the last word of the type."""
        return self.value[0]

    @property
    def type(self) -> str:
        """Return the type, a URI."""
        return STANDARD_TYPES + self.value[0]

    @property
    def status(self) -> int:
        """Return the usual status."""
        return self.value[1]

    def error(self, title: str, detail: str | None = None, *, status: int | None = None) -> WorkflowError:
        """Return an error of this type; the engine adds where it happened."""
        return WorkflowError(self.type, self.status if status is None else status, title, detail)


_WORDS: Final = frozenset(each.word for each in Standard)


class _Alias(NamedTuple):
    """What a short name of the reference means: these types, and any standard type with that status."""

    words: frozenset[str]
    status: int | None = None


def _types(*standard: Standard, status: int | None = None) -> _Alias:
    return _Alias(frozenset(each.word for each in standard), status)


_ALIASES: Final[Mapping[str, _Alias]] = {
    "badargument": _types(Standard.VALIDATION, Standard.EXPRESSION, Standard.CONFIGURATION),
    "unauthorized": _types(Standard.AUTHENTICATION),
    "permissiondenied": _types(Standard.AUTHORIZATION),
    "requesttimeout": _types(Standard.TIMEOUT),
    "internalerror": _types(Standard.RUNTIME),
    "serviceunavailable": _types(Standard.COMMUNICATION, status=503),
    **{
        name: _types(status=status)
        for name, status in (
            ("paymentrequired", 402),
            ("notfound", 404),
            ("methodnotallowed", 405),
            ("notacceptable", 406),
            ("conflict", 409),
            ("gone", 410),
            ("preconditionfailed", 412),
            ("unsupportedmediatype", 415),
            ("unprocessableentity", 422),
            ("locked", 423),
            ("toomanyrequests", 429),
            ("unavailableforlegalreasons", 451),
            ("notimplemented", 501),
            ("badgateway", 502),
            ("gatewaytimeout", 504),
        )
    },
}


class WorkflowError(JobworkerpError):
    """An error that a workflow can catch, and that faults it where nothing does."""

    def __init__(
        self, type_: str, status: int, title: str | None = None, detail: str | None = None, instance: str | None = None
    ) -> None:
        super().__init__(type_, status, title, detail, instance)
        self.type = type_
        self.status = status
        self.title = title
        self.detail = detail
        self.instance = instance
        """JSON pointer, in the DSL's form, to where it happened."""

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return the error that ``as_json`` wrote."""
        return cls(value["type"], value["status"], value.get("title"), value.get("detail"), value.get("instance"))

    def as_json(self) -> dict[str, Any]:
        """Return the error object that expressions and results see; members that are not set are left out."""
        named = {"type": self.type, "status": self.status, "title": self.title, "detail": self.detail}
        given: dict[str, Any] = {key: value for key, value in named.items() if value is not None}
        return given if self.instance is None else {**given, "instance": self.instance}

    def at(self, instance: str) -> Self:
        """Return the error with its place, unless it has one already."""
        if self.instance is not None:
            return self
        placed = type(self)(self.type, self.status, self.title, self.detail, instance)
        placed.__cause__ = self.__cause__
        return placed

    def __str__(self) -> str:
        what = ": ".join(part for part in (self.title, self.detail) if part) or f"{self.type} ({self.status})"
        return f"{what}: at {self.instance}" if self.instance else what


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorFilter:
    """The ``errors.with`` of a ``catch``: every member that is given must match."""

    type: str | None = None
    status: int | float | None = None
    instance: str | None = None
    title: str | None = None
    details: str | None = None

    def matches(self, error: WorkflowError) -> bool:
        """Tell whether this error is meant."""
        return (
            (self.type is None or type_matches(self.type, error))
            and (self.status is None or self.status == error.status)
            and (self.instance is None or _same_place(self.instance, error.instance))
            and (self.title is None or self.title == error.title)
            and (self.details is None or self.details == error.detail)
        )


def type_matches(wanted: str, error: WorkflowError) -> bool:
    """Tell whether ``wanted``, a URI or a short name in any case, means the type of this error."""
    asked, actual = wanted.strip().lower(), error.type.lower()
    if asked == actual or _wildcard(actual, asked):
        return True
    short = "://" not in asked
    word = asked if short else _word(asked)
    specified = any(host in actual for host in _SPECIFICATIONS)
    if word == _word(actual) and (short or specified):
        return True
    if not (short or asked.startswith(REFERENCE_TYPES)):
        return False
    alias = _ALIASES.get(word)
    if alias is None or not specified:
        return False
    return _word(actual) in alias.words or (_word(actual) in _WORDS and alias.status == error.status)


def _word(type_: str) -> str:
    return type_.rstrip("/").rpartition("/")[2]


def _wildcard(actual: str, asked: str) -> bool:
    """Tell whether an error type with parts in braces, such as ``https://x.org/{kind}``, covers what was asked."""
    opened = actual.find("{")
    if opened < 0 or "}" not in actual[opened:]:
        return False
    pattern = ""
    rest = actual
    while rest:
        text, brace, rest = rest.partition("{")
        pattern += text.replace("[", "[[]").replace("*", "[*]").replace("?", "[?]")
        if brace:
            pattern += "*"
            rest = rest.partition("}")[2]
    return fnmatchcase(asked, pattern)


def _same_place(wanted: str, instance: str | None) -> bool:
    """Compare two pointers; the form of results, with ``/ROOT`` in front, means the same place."""
    return instance is not None and wanted.removeprefix("/ROOT") == instance.removeprefix("/ROOT")
