"""Drop-in runners."""

from __future__ import annotations

from dataclasses import dataclass

from jobworkerp_standalone.settings.parsing import choice, number, setting


@dataclass(frozen=True, kw_only=True)
class PluginSettings:
    """How drop-in runners are loaded, and what their processes may use."""

    plugins_reload: str = setting(
        "PLUGINS_RELOAD",
        choice("auto", "true", "false"),
        "auto",
        "Load plugins again when their files change; auto does so where the daemon runs in a terminal.",
    )
    plugin_load_timeout_secs: int = setting(
        "PLUGIN_LOAD_TIMEOUT_SECS",
        number(1, 600),
        10,
        "How long a plugin may take to be imported when it is looked at.",
        aliases=("PLUGIN_INSTANTIATE_TIMEOUT_SECS",),
    )
    plugins_max_jobs: int = setting(
        "PLUGINS_MAX_JOBS",
        number(1),
        1000,
        "Jobs that one process of a plugin runs before it is replaced; a plugin may say otherwise (max_jobs).",
    )
    plugins_max_rss_mb: int = setting(
        "PLUGINS_MAX_RSS_MB",
        number(16),
        2048,
        "Memory that one process of a plugin may use; a job that takes it further fails. A plugin may say otherwise "
        "(max_rss_mb).",
    )
