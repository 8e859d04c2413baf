"""The configuration: one frozen value from options, environment and ``.env``.

Every variable is read alone, trimmed, enums without regard to case; all mistakes are reported at once. The
table in ``docs/settings.md`` is made from the fields below (``settings_table``).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from jobworkerp_standalone.jobs.errors import SettingsError
from jobworkerp_standalone.jobs.model import DEFAULT_CHANNEL, DEFAULT_CHANNEL_LABEL

T = TypeVar("T")
MAX_NAME_BYTES: Final = 255
_MAX_PORT: Final = 65_535


class Address(NamedTuple):
    """One address to listen on; ``host`` without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class SettingInfo(NamedTuple):
    """One row of the settings table."""

    names: tuple[str, ...]
    """The variable, and other names it answers to."""
    default: str
    help: str


def _setting(
    name: str,
    parse: Callable[[str], T],
    default: T,
    text: str,
    *,
    aliases: tuple[str, ...] = (),
    shown: str | None = None,
) -> T:
    """Declare a field with its variable, parser, default and help; ``shown`` is the default as people write it."""
    names = (name, *aliases)
    return field(default=default, metadata={"names": names, "parse": parse, "help": text, "shown": shown})


def _text(raw: str) -> str:
    return raw


def _flag(raw: str) -> bool:
    lowered = raw.lower()
    if lowered in ("true", "1", "yes", "on"):
        return True
    if lowered in ("false", "0", "no", "off"):
        return False
    raise ValueError("expected true or false")


def _number(low: int, high: int = 2**63 - 1) -> Callable[[str], int]:
    def parse(raw: str) -> int:
        try:
            value = int(raw.replace("_", ""))
        except ValueError:
            raise ValueError("expected a whole number") from None
        if not low <= value <= high:
            raise ValueError(f"expected {low} to {high}")
        return value

    return parse


def _choice(*allowed: str) -> Callable[[str], str]:
    by_lower = {value.lower(): value for value in allowed}

    def parse(raw: str) -> str:
        if raw.lower() not in by_lower:
            raise ValueError(f"expected one of {', '.join(allowed)}")
        return by_lower[raw.lower()]

    return parse


def _names(raw: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in raw.split(",") if part.strip())
    for name in names:
        if len(name.encode()) > MAX_NAME_BYTES:
            raise ValueError(f"name {name[:20]!r}... is longer than {MAX_NAME_BYTES} bytes")
        if name in (DEFAULT_CHANNEL, DEFAULT_CHANNEL_LABEL):
            raise ValueError("the default channel is set by WORKER_DEFAULT_CONCURRENCY and is not listed here")
    if len(set(names)) != len(names):
        raise ValueError("a name is listed twice")
    return names


def _patterns(raw: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in raw.split(",") if part.strip())


def _counts(raw: str) -> tuple[int, ...]:
    one = _number(1, 100_000)
    return tuple(one(part.strip()) for part in raw.split(",") if part.strip())


def _addresses(raw: str) -> tuple[Address, ...]:
    return tuple(parse_address(part.strip()) for part in raw.split(",") if part.strip())


def parse_address(raw: str) -> Address:
    """Read ``host:port`` or ``[ipv6]:port``.

    Raises:
        ValueError: it is neither.
    """
    host, colon, port = raw.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    half_bracketed = not bracketed and set(host) & set("[]:")
    if not colon or not host or half_bracketed or not port.isdigit() or not 0 <= int(port) <= _MAX_PORT:
        raise ValueError("expected host:port, for example 127.0.0.1:9000 or [::1]:9000")
    return Address(host, int(port))


def _sqlite_path(raw: str) -> str:
    """Return the path in a ``sqlite://`` URL; ``:memory:`` keeps nothing."""
    if raw in ("sqlite::memory:", "sqlite://:memory:"):
        return ":memory:"
    if not raw.startswith("sqlite://"):
        raise ValueError("expected sqlite:// followed by a path, for example sqlite://jobworkerp.sqlite3")
    path = raw.removeprefix("sqlite://").split("?", 1)[0]
    if not path:
        raise ValueError("the path is missing, for example sqlite://jobworkerp.sqlite3")
    return path


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be configured. Durations carry their unit in the field name."""

    grpc_addresses: tuple[Address, ...] = _setting(
        "GRPC_ADDR",
        _addresses,
        (Address("127.0.0.1", 9000), Address("::1", 9000)),
        "Addresses to listen on, separated by commas. Port 0 takes a free port.",
    )
    auth_token: str | None = _setting(
        "AUTH_TOKEN", _text, None, "Token that clients send as metadata jobworkerp-auth. Unset: open to this machine."
    )
    auth_scope: str = _setting(
        "AUTH_SCOPE",
        _choice("all", "reference"),
        "all",
        "What needs the token: all (but health and reflection), or only the calls that the reference protects.",
    )
    grpc_max_message_size: int = _setting(
        "GRPC_MAX_MESSAGE_SIZE", _number(1024, 2**31 - 1), 64 * 1024 * 1024, "Largest request in bytes."
    )
    max_frame_size: int = _setting(
        "MAX_FRAME_SIZE", _number(16_384, 16_777_215), 16_384, "HTTP/2 frame size in bytes that clients may use."
    )
    storage_type: str = _setting(
        "STORAGE_TYPE",
        _choice("Standalone", "Scalable"),
        "Standalone",
        "Standalone: one process with embedded storage. Scalable: not available in this version.",
    )
    sqlite_path: str = _setting(
        "SQLITE_URL",
        _sqlite_path,
        "jobworkerp.sqlite3",
        "sqlite:// and the path of the database file; sqlite::memory: keeps nothing.",
        shown="sqlite://jobworkerp.sqlite3",
    )
    sqlite_synchronous: str = _setting(
        "SQLITE_SYNCHRONOUS",
        _choice("FULL", "NORMAL", "OFF"),
        "FULL",
        "FULL: an accepted durable job survives a power cut. NORMAL: it survives a crash of the process.",
    )
    storage_restore_at_startup: bool = _setting(
        "STORAGE_RESTORE_AT_STARTUP",
        _flag,
        True,
        "Accepted for compatibility: durable jobs are always restored.",
        aliases=("STORAGE_REFLESH_FROM_RDB",),
    )
    worker_default_concurrency: int = _setting(
        "WORKER_DEFAULT_CONCURRENCY",
        _number(0, 100_000),
        max(os.cpu_count() or 1, 4),
        "Slots of the default channel. 0 closes it.",
        shown="CPUs, at least 4",
    )
    worker_default_channel_disabled: bool = _setting(
        "WORKER_DEFAULT_CHANNEL_DISABLED", _flag, False, "Close the default channel."
    )
    worker_channels: tuple[str, ...] = _setting("WORKER_CHANNELS", _names, (), "Further channels, separated by commas.")
    worker_channel_concurrencies: tuple[int, ...] = _setting(
        "WORKER_CHANNEL_CONCURRENCIES", _counts, (), "Slots of those channels, in the same order."
    )
    job_queue_expire_job_result_seconds: int = _setting(
        "JOB_QUEUE_EXPIRE_JOB_RESULT_SECONDS",
        _number(1, 10**9),
        3600,
        "How long a broadcast result is kept in memory for late listeners.",
    )
    result_retention_max_bytes: int = _setting(
        "RESULT_RETENTION_MAX_BYTES",
        _number(0),
        64 * 1024 * 1024,
        "Memory for results kept for late listeners; the oldest go first.",
    )
    stream_store_max_bytes: int = _setting(
        "STREAM_STORE_MAX_BYTES",
        _number(0),
        1024 * 1024,
        "How much of a stream is kept: for late listeners, and folded into a stored result.",
    )
    job_queue_fetch_interval_ms: int = _setting(
        "JOB_QUEUE_FETCH_INTERVAL", _number(1, 3_600_000), 1000, "How far ahead due rows are leased, in ms."
    )
    job_queue_channel_capacity: int = _setting(
        "JOB_QUEUE_CHANNEL_CAPACITY",
        _number(1),
        10_000,
        "Waiting jobs per channel and priority.",
        aliases=("JOB_QUEUE_CHANNEL_BUFFER_SIZE",),
    )
    job_queue_full_wait_ms: int = _setting(
        "JOB_QUEUE_FULL_WAIT_MS", _number(0), 5000, "How long an enqueue waits for room before RESOURCE_EXHAUSTED."
    )
    job_lease_sec: int = _setting("JOB_LEASE_SEC", _number(1, 86_400), 30, "Lease of a row; renewed at half of it.")
    job_max_deliveries: int = _setting(
        "JOB_MAX_DELIVERIES",
        _number(1, 1_000_000),
        5,
        "Runs of one job that may end with the death of the process before it is set aside.",
    )
    job_status_indexing: bool = _setting(
        "JOB_STATUS_RDB_INDEXING", _flag, True, "Answer searches over live jobs; false answers UNIMPLEMENTED."
    )
    job_status_retention_hours: int = _setting(
        "JOB_STATUS_RETENTION_HOURS", _number(0, 1_000_000), 24, "Default cut-off of the status Cleanup call."
    )
    shutdown_grace_sec: int = _setting(
        "SHUTDOWN_GRACE_SEC", _number(0, 1_000_000), 30, "Time that running jobs get to finish after the first signal."
    )
    command_output_max_bytes: int = _setting(
        "COMMAND_OUTPUT_MAX_BYTES",
        _number(1024),
        64 * 1024 * 1024,
        "Largest output of one command in a result, stdout and stderr each; more fails the job. Streams have no limit.",
    )
    child_env_deny: tuple[str, ...] = _setting(
        "CHILD_ENV_DENY", _patterns, (), "Further variables (shell patterns) that child processes do not see."
    )
    worker_instance_enabled: bool = _setting(
        "WORKER_INSTANCE_ENABLED", _flag, True, "Show this process in the list of worker instances."
    )
    worker_instance_timeout_sec: int = _setting(
        "WORKER_INSTANCE_TIMEOUT_SEC", _number(1), 90, "An older heartbeat makes an instance inactive."
    )
    runner_create_enabled: bool = _setting(
        "RUNNER_CREATE_ENABLED", _flag, True, "Allow RunnerService.Create; false refuses it."
    )
    plugins_runner_dir: str = _setting(
        "PLUGINS_RUNNER_DIR", _text, "runners", "Directories of drop-in runners, separated by commas."
    )
    mcp_config: str = _setting("MCP_CONFIG", _text, "mcp-settings.toml", "File that lists MCP servers.")
    log_level: str = _setting(
        "LOG_LEVEL", _choice("trace", "debug", "info", "warn", "error"), "info", "Least level that is logged."
    )
    log_file_dir: str | None = _setting(
        "LOG_FILE_DIR", _text, None, "Also write a log file per day into this directory."
    )
    log_use_json: bool = _setting("LOG_USE_JSON", _flag, False, "Log one JSON object per line.")

    @property
    def channels(self) -> dict[str, int]:
        """Return every open channel with its number of slots, the default channel last."""
        channels = dict(zip(self.worker_channels, self.worker_channel_concurrencies, strict=True))
        if not self.worker_default_channel_disabled and self.worker_default_concurrency > 0:
            channels[DEFAULT_CHANNEL] = self.worker_default_concurrency
        return channels


def load_settings(environ: Mapping[str, str], **options: object) -> Settings:
    """Build the settings: options (field names) before variables before defaults. An empty variable is unset.

    Raises:
        SettingsError: one line for each mistake.
    """
    values: dict[str, object] = {}
    mistakes: list[str] = []
    for name, names, parse in _declared():
        found = next(((key, environ[key].strip()) for key in names if environ.get(key, "").strip()), None)
        if found is None:
            continue
        try:
            values[name] = parse(found[1])
        except ValueError as error:
            shown = "***" if "TOKEN" in found[0] else repr(found[1])
            mistakes.append(f"{found[0]}={shown}: {error}")
    values.update({key: value for key, value in options.items() if value is not None})
    if not mistakes:
        mistakes.extend(_contradictions(Settings(**values)))  # type: ignore[arg-type]
    if mistakes:
        raise SettingsError("\n".join(mistakes))
    return Settings(**values)  # type: ignore[arg-type]


def read_dotenv(start: Path) -> dict[str, str]:
    """Return the variables of the nearest ``.env`` in ``start`` or a parent directory."""
    for folder in (start, *start.parents):
        path = folder / ".env"
        if path.is_file():
            from dotenv import dotenv_values  # noqa: PLC0415 - only where there is such a file

            return {key: value for key, value in dotenv_values(path).items() if value is not None}
    return {}


def settings_table() -> Iterator[SettingInfo]:
    """Yield one row per variable, for the docs and ``--help``."""
    for entry in fields(Settings):
        names: tuple[str, ...] = entry.metadata["names"]
        yield SettingInfo(names, entry.metadata["shown"] or _shown(entry.default), entry.metadata["help"])


def _declared() -> Iterator[tuple[str, tuple[str, ...], Callable[[str], Any]]]:
    for entry in fields(Settings):
        yield entry.name, entry.metadata["names"], entry.metadata["parse"]


def _contradictions(settings: Settings) -> Iterator[str]:
    names, counts = len(settings.worker_channels), len(settings.worker_channel_concurrencies)
    if names != counts:
        yield (
            f"WORKER_CHANNELS names {names} and WORKER_CHANNEL_CONCURRENCIES counts {counts} channels: "
            "give one concurrency for each channel"
        )
    elif not settings.channels:
        yield "no channel is open: set WORKER_DEFAULT_CONCURRENCY above 0 or name one in WORKER_CHANNELS"
    if settings.storage_type == "Scalable":
        yield "STORAGE_TYPE=Scalable: not available in this version, leave it out or use Standalone"
    if not settings.grpc_addresses:
        yield "GRPC_ADDR: no address given, for example 127.0.0.1:9000"


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ",".join(str(part) for part in value)  # type: ignore[reportUnknownVariableType]
    return str(value)
