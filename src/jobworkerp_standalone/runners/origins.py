"""The origins of runner kinds at run time. Like those of built-in kinds, their modules are imported on first use."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Final

from jobworkerp_standalone.runners.host import Host
from jobworkerp_standalone.runners.origin import Origin, OriginKind
from jobworkerp_standalone.runners.plugins.sources import is_configured as has_plugins
from jobworkerp_standalone.settings import Settings


def _plugins(host: Host) -> Origin:
    return import_module("jobworkerp_standalone.runners.plugins.origin").make(host)


def _mcp_servers(host: Host) -> Origin:
    return import_module("jobworkerp_standalone.runners.mcp.origin").make(host)


def _has_mcp_servers(settings: Settings) -> bool:
    return Path(settings.mcp_config).exists()


ORIGINS: Final[tuple[OriginKind, ...]] = (
    OriginKind(0, _plugins, has_plugins),
    OriginKind(7, _mcp_servers, _has_mcp_servers),
)
