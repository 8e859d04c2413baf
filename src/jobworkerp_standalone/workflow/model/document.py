"""The whole document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jobworkerp_standalone.runners.interest import NOTHING, Interest
from jobworkerp_standalone.workflow.expressions.template import Template
from jobworkerp_standalone.workflow.model.auth import Authentication
from jobworkerp_standalone.workflow.model.events import Consumption
from jobworkerp_standalone.workflow.model.tasks import Task, TaskList
from jobworkerp_standalone.workflow.model.values import (
    Endpoint,
    ErrorDefinition,
    Input,
    Origin,
    Output,
    RetryPolicy,
    Timeout,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """Tasks around every task of a kind."""

    name: str
    origin: Origin
    extend: str
    """A kind of task, such as ``call``, or ``all``."""
    when: Template | None = None
    before: TaskList | None = None
    after: TaskList | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What is declared for use elsewhere. Errors, retries, timeouts and authentications are already in their places."""

    functions: Mapping[str, Task]
    catalogs: Mapping[str, Endpoint]
    extensions: tuple[Extension, ...] = ()
    secrets: frozenset[str] = frozenset()
    authentications: Mapping[str, Authentication]
    errors: Mapping[str, ErrorDefinition]
    retries: Mapping[str, RetryPolicy]
    timeouts: Mapping[str, Timeout]


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When the workflow starts by itself. Exactly one is set."""

    every_ms: int | None = None
    cron: str | None = None
    after_ms: int | None = None
    """So long after the last run ended."""
    on: Consumption | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow:
    """A document that passed every check."""

    dsl: str
    namespace: str
    name: str
    version: str
    do: TaskList
    use: Use
    definition: Mapping[str, Any]
    """The document as written; not to be changed."""
    title: str | None = None
    summary: str | None = None
    tags: Mapping[str, Any]
    metadata: Mapping[str, Any]
    input: Input | None = None
    output: Output | None = None
    timeout: Timeout | None = None
    schedule: Schedule | None = None
    listens_for: Interest = NOTHING
    """Events that its tasks listen for."""
    may_wait: bool = False
    """Whether a run may be suspended: some directive is ``wait``, or comes from an expression."""
    checkpointing: bool = False
    """Whether the document asks for checkpoints itself (``checkpointing.enabled``)."""
