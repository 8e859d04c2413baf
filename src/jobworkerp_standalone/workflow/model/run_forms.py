"""What a ``run`` task runs, one class per form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from jobworkerp_standalone.workflow.expressions.template import Template
from jobworkerp_standalone.workflow.model.values import Resource, RetryPolicy

Return = Literal["stdout", "stderr", "code", "all", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How the worker of a runner is made."""

    channel: str | None = None
    queue_type: Literal["NORMAL", "WITH_BACKUP", "DB_ONLY"] = "NORMAL"
    response_type: Literal["DIRECT", "NO_RESULT"] = "DIRECT"
    store_success: bool = False
    store_failure: bool = True
    use_static: bool = False
    broadcast_results: bool = True
    retry: RetryPolicy | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRunner:
    """``run.runner``, or ``run.function`` with a ``runnerName``."""

    form: Literal["runner", "function"]
    name: Template
    arguments: Template
    using: Template | None = None
    settings: Template | None = None
    options: RunOptions = RunOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunWorker:
    """``run.worker``, or ``run.function`` with a ``workerName``."""

    form: Literal["worker", "function"]
    name: Template
    arguments: Template
    using: Template | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunScript:
    """``run.script``. Exactly one of ``code`` and ``source`` is set."""

    language: Literal["python", "javascript"]
    code: str | None = None
    """As written: it is not evaluated."""
    source: Resource | None = None
    arguments: Template | None = None
    """An object: variables of the script. An array: its arguments."""
    stdin: Template | None = None
    environment: Template | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunShell:
    """``run.shell``."""

    command: Template
    bare: bool = False
    """The command stands by itself, as a text."""
    args: Template | None = None
    """Set: ``command`` is a program and no shell is involved."""
    arguments: Template | None = None
    """``$1`` and so on of the script that ``command`` is."""
    stdin: Template | None = None
    environment: Template | None = None
    working_dir: Template | None = None
    memory_monitoring: bool = False
    treat_nonzero_as_error: bool = False
    success_exit_codes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContainer:
    """``run.container``."""

    image: Template
    name: Template | None = None
    command: Template | None = None
    """A string or an array of strings, as ``entrypoint`` and ``arguments``."""
    entrypoint: Template | None = None
    arguments: Template | None = None
    ports: Template | None = None
    volumes: Template | None = None
    environment: Template | None = None
    """``environment`` or ``env``."""
    stdin: Template | None = None
    user: Template | None = None
    working_dir: Template | None = None
    cleanup: Literal["always", "never", "eventually"] = "always"
    cleanup_after_ms: int | None = None
    """Set where ``cleanup`` is ``eventually``."""
    pull_policy: Literal["ifNotPresent", "always", "never"] = "ifNotPresent"
    timeout_sec: int | None = None
    treat_nonzero_as_error: bool = False
    success_exit_codes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunWorkflow:
    """``run.workflow``: a document (data or URL), or a workflow that is known by its name."""

    document: Any = None
    """Text or an object, as written: its expressions are the child's."""
    data: Template | None = None
    """``workflowData`` where it is an expression, which gives text or an object."""
    url: Template | None = None
    execution_id: Template | None = None
    namespace: Template | None = None
    name: Template | None = None
    version: Template | None = None
    input: Template | None = None


RunForm = RunRunner | RunWorker | RunScript | RunShell | RunContainer | RunWorkflow
