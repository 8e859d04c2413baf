"""How workflows run, and what they may reach."""

from __future__ import annotations

from dataclasses import dataclass

from jobworkerp_standalone.settings.parsing import number, patterns, setting


@dataclass(frozen=True, kw_only=True)
class WorkflowSettings:
    """How workflows run, and what they may reach."""

    workflow_allowed_roots: tuple[str, ...] = setting(
        "WORKFLOW_ALLOWED_ROOTS",
        patterns,
        (),
        "Directories, besides the working directory, whose workflow files jobs may name; separated by commas.",
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
