"""Smaller parts of a document that many of its places share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from jobworkerp_standalone.workflow.expressions.template import Template
from jobworkerp_standalone.workflow.model.auth import Authentication
from jobworkerp_standalone.workflow.pointers import declared
from jobworkerp_standalone.workflow.schemas import CompiledSchema


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a part stands in its document."""

    pointer: str
    """JSON pointer, in the DSL's form: ``/do/0/t/try/0/x``; empty is the whole document."""
    line: int = 0
    """From 1; 0 where the document was not a text."""
    column: int = 0


class Directive(StrEnum):
    """Where a task list goes on, other than at a task with a name."""

    CONTINUE = "continue"
    EXIT = "exit"
    END = "end"
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class Goto:
    """Go on with the task of this name, which the same list has."""

    name: str
    at: str = field(default="", compare=False)
    """Where an expression gave the name."""


Then = Directive | Goto | Template
"""What follows a task. A template is evaluated to a directive or a name."""


Duration = int | Template
"""Milliseconds, or an expression that gives a duration in one of the two forms of the DSL."""


@dataclass(frozen=True, slots=True)
class Timeout:
    """A limit of time."""

    after: Duration
    name: str | None = None
    """Its name in ``use.timeouts``, if it was declared there."""
    bare: bool = False
    """The duration stands by itself, without ``after``."""

    def place(self, here: str) -> str:
        """Return where the duration stands. ``here``: where the limit, or its name, does."""
        return declared("timeouts", self.name, here) + ("" if self.bare else "/after")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Something that is asked over the network."""

    uri: Template
    """A URI, a URI template with ``{name}`` in it, or an expression."""
    authentication: Authentication | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A file that the document refers to."""

    endpoint: Endpoint
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """A JSON Schema (2020-12): written here, or in a resource. Exactly one of both is set."""

    origin: Origin
    compiled: CompiledSchema | None = None
    """The schema as written here."""
    resource: Resource | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """What happens to an input, in this order."""

    schema: Schema | None = None
    from_: Template | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What happens to an output, or to what is exported: first ``as``, then the check of its result."""

    as_: Template | None = None
    schema: Schema | None = None


class Backoff(StrEnum):
    """How the delay grows with the number k of the retry, from 1."""

    CONSTANT = "constant"
    """delay"""
    LINEAR = "linear"
    """delay * k"""
    EXPONENTIAL = "exponential"
    """delay * 2^(k-1)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """When, after what delay and how often something is tried again."""

    name: str | None = None
    """Its name in ``use.retries``, if it was declared there."""
    when: Template | None = None
    except_when: Template | None = None
    delay: Duration = 0
    backoff: Backoff = Backoff.CONSTANT
    attempts: int | None = None
    """Most retries, beside the first try; None is no limit."""
    attempt_duration: Duration | None = None
    duration: Duration | None = None
    jitter: tuple[Duration, Duration] | None = None
    """A random time between both is added to each delay."""

    @property
    def durations(self) -> Mapping[str, Duration]:
        """Return the limits of all attempts together, by their places: no retry starts after one of them."""
        found = {"limit/attempt/duration": self.attempt_duration, "limit/duration": self.duration}
        return {place: duration for place, duration in found.items() if duration is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorDefinition:
    """An error to raise. Each member is a template; ``status`` gives an integer."""

    type: Template
    status: Template
    title: Template | None = None
    detail: Template | None = None
    name: str | None = None
    """Its name in ``use.errors``, if it was declared there."""
