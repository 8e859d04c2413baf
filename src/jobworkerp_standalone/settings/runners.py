"""What runners may do and where they find things."""

from __future__ import annotations

from dataclasses import dataclass

from jobworkerp_standalone.settings.parsing import flag, folders, number, patterns, setting, text


@dataclass(frozen=True, kw_only=True)
class RunnerSettings:
    """What runners may do and where they find things."""

    command_output_max_bytes: int = setting(
        "COMMAND_OUTPUT_MAX_BYTES",
        number(1024),
        64 * 1024 * 1024,
        "Largest output of one command, script or container in a result, stdout and stderr each; more fails the job. "
        "Streams have no limit.",
    )
    python_cache_dir: str = setting(
        "PYTHON_CACHE_DIR",
        text,
        "",
        "Directory of the environments of PYTHON_COMMAND. Unset: jobworkerp/python in the user's cache directory.",
    )
    python_cache_max_environments: int = setting(
        "PYTHON_CACHE_MAX_ENVIRONMENTS",
        number(1),
        64,
        "Python environments that are kept; those not used for longest go first, those in use stay.",
    )
    python_cache_max_bytes: int = setting(
        "PYTHON_CACHE_MAX_BYTES",
        number(1),
        16 * 1024**3,
        "Size of all Python environments that are kept; those not used for longest go first, those in use stay.",
    )
    child_env_deny: tuple[str, ...] = setting(
        "CHILD_ENV_DENY", patterns, (), "Further variables (shell patterns) that child processes do not see."
    )
    runner_create_enabled: bool = setting(
        "RUNNER_CREATE_ENABLED", flag, True, "Allow RunnerService.Create; false refuses it."
    )
    plugins_runner_dir: str = setting(
        "PLUGINS_RUNNER_DIR", text, "runners", "Directories of drop-in runners, separated by commas."
    )
    mcp_config: str = setting("MCP_CONFIG", text, "mcp-settings.toml", "File that lists MCP servers.")
    grpc_proto_allowed_dir: tuple[str, ...] = setting(
        "GRPC_PROTO_ALLOWED_DIR",
        folders,
        (),
        "Directories whose proto files jobs of GRPC may name, separated by colons. Empty: none.",
    )
    grpc_collect_max_bytes: int = setting(
        "GRPC_COLLECT_MAX_BYTES",
        number(1024),
        64 * 1024 * 1024,
        "The most that the answers of a streaming gRPC call may hold in one result. Streams have no limit.",
    )
