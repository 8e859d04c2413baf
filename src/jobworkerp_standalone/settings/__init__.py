"""The configuration: one frozen value from options, environment and ``.env``.

Every variable is read alone, trimmed, enums without regard to case; all mistakes are reported at once. The
table in ``docs/settings.md`` is made from the fields of the groups (``settings_table``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from jobworkerp_standalone.jobs.errors import SettingsError
from jobworkerp_standalone.jobs.model import DEFAULT_CHANNEL
from jobworkerp_standalone.settings.edge import LOG_FILE, EdgeSettings
from jobworkerp_standalone.settings.jobs import JobSettings
from jobworkerp_standalone.settings.mcp import McpSettings
from jobworkerp_standalone.settings.net import NetSettings
from jobworkerp_standalone.settings.parsing import MAX_NAME_BYTES, MEMORY, Address, parse_address
from jobworkerp_standalone.settings.plugins import PluginSettings
from jobworkerp_standalone.settings.runners import RunnerSettings
from jobworkerp_standalone.settings.workflow import WorkflowSettings

__all__ = [
    "LOG_FILE",
    "MAX_NAME_BYTES",
    "MEMORY",
    "Address",
    "SettingInfo",
    "Settings",
    "load_settings",
    "parse_address",
    "settings_table",
]


class SettingInfo(NamedTuple):
    """One row of the settings table."""

    names: tuple[str, ...]
    """The variable, and other names it answers to."""
    default: str
    help: str


@dataclass(frozen=True, kw_only=True)
class Settings(WorkflowSettings, NetSettings, McpSettings, PluginSettings, RunnerSettings, JobSettings, EdgeSettings):
    """Everything that can be configured. Durations carry their unit in the field name."""

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
