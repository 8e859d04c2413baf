"""How workflows run, and what they may reach."""

from __future__ import annotations

from dataclasses import dataclass

from jobworkerp_standalone.settings.parsing import flag, header_value, number, patterns, setting


@dataclass(frozen=True, kw_only=True)
class WorkflowSettings:
    """How workflows run, and what they may reach."""

    workflow_allowed_roots: tuple[str, ...] = setting(
        "WORKFLOW_ALLOWED_ROOTS",
        patterns,
        (),
        "Directories, besides the working directory, whose workflow files jobs may name, and where relative paths are "
        "looked for after it; separated by commas.",
    )
    workflow_allow_any_name: bool = setting(
        "WORKFLOW_ALLOW_ANY_NAME",
        flag,
        False,
        "Let jobs name hidden files there (a part of the path begins with a dot), and documents whose names do "
        "not end in .yaml, .yml or .json.",
    )
    workflow_allowed_hosts: tuple[str, ...] = setting(
        "WORKFLOW_ALLOWED_HOSTS",
        patterns,
        (),
        "Hosts that are not public and still may be asked for workflow documents; separated by commas.",
    )
    workflow_env_allow: tuple[str, ...] = setting(
        "WORKFLOW_ENV_ALLOW", patterns, (), "Environment variables (shell patterns) that expressions may read."
    )
    workflow_task_default_timeout_sec: int = setting(
        "WORKFLOW_TASK_DEFAULT_TIMEOUT_SEC",
        number(1, 10**9),
        3600,
        "Limit of a single task of a workflow that names none.",
        aliases=("WORKFLOW_TASK_DEFAULT_TIMEOUT",),
    )
    workflow_http_timeout_sec: int = setting(
        "WORKFLOW_HTTP_TIMEOUT_SEC",
        number(0, 10**9),
        0,
        "Limit of a call: http or openapi that names none, and for reading a document by URL. 0: that of other tasks, "
        "and 30 seconds for a document.",
    )
    workflow_http_user_agent: str = setting(
        "WORKFLOW_HTTP_USER_AGENT",
        header_value,
        "",
        "User-Agent of a call: http or openapi that has none of its own, and of documents read by URL. Empty: calls "
        "have none, and documents are asked for as jobworkerp-standalone.",
    )
    workflow_retry_default_attempts: int = setting(
        "WORKFLOW_RETRY_DEFAULT_ATTEMPTS",
        number(0, 10**9),
        10,
        "Most retries of a try whose policy has no limit, and of a job whose options.retry has no count.",
    )
    workflow_parallel_items: int = setting(
        "WORKFLOW_PARALLEL_ITEMS",
        number(1, 100_000),
        100,
        "Most items at once of a for with inParallel: true.",
    )
    workflow_events_kept: int = setting(
        "WORKFLOW_EVENTS_KEPT",
        number(1, 1_000_000),
        1_000,
        "Most events that wait in memory for one workflow run, for each of its listeners, or for others that start a "
        "worker with them.",
    )
    workflow_events_kept_bytes: int = setting(
        "WORKFLOW_EVENTS_KEPT_BYTES",
        number(1024),
        64 * 1024 * 1024,
        "How large these may be together, as JSON, and what one listener gathers; one event alone may be larger. By "
        "default as much as one message may have (GRPC_MAX_MESSAGE_SIZE).",
    )
    workflow_checkpoint_expire_sec: int = setting(
        "WORKFLOW_CHECKPOINT_EXPIRE_SEC",
        number(60, 10**9),
        604_800,
        "How long what a run wrote down is kept after it waited or faulted.",
    )
    workflow_checkpoint_max_count: int = setting(
        "WORKFLOW_CHECKPOINT_MAX_COUNT",
        number(1, 10**9),
        10_000,
        "Most records of workflow runs in memory, where there is no database file (sqlite::memory:, jobworkerp run, "
        "JobWorkerp); above that the oldest runs that have ended go. What a run that has not ended or that waits needs "
        "stays, and so does the latest that ended.",
    )
    workflow_expression_timeout_ms: int = setting(
        "WORKFLOW_EXPRESSION_TIMEOUT_MS",
        number(10, 3_600_000),
        5000,
        "Processor time that one expression of a workflow, or one check of a schema, may take in its helper process. "
        "By the clock it may be ten times as long, for machines that are busy.",
    )
    workflow_expression_memory_mb: int = setting(
        "WORKFLOW_EXPRESSION_MEMORY_MB",
        number(16, 1_000_000),
        256,
        "Memory that an expression may take in its helper process.",
    )
    workflow_expression_max_bytes: int = setting(
        "WORKFLOW_EXPRESSION_MAX_BYTES",
        number(65_536, 2**31 - 1),
        16 * 1024 * 1024,
        "Largest input and result of an expression in a helper, and value that several make together; as JSON.",
    )
    workflow_expression_helpers: int = setting(
        "WORKFLOW_EXPRESSION_HELPERS",
        number(1, 256),
        4,
        "Helper processes for expressions that cannot be bounded; started when they are needed.",
    )
