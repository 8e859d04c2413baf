"""A runner class of a plugin, as it was when it was looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from jobworkerp_standalone.jobs.errors import Aborted, BadInput, Fatal, JobError, Retryable
from jobworkerp_standalone.runners.plugins.sources import Source

_FAILURES: Final[Mapping[str, type[JobError]]] = {
    "retryable": Retryable,
    "fatal": Fatal,
    "aborted": Aborted,
    "bad_input": BadInput,
}


@dataclass(frozen=True, slots=True)
class PluginKind:
    """What instances are made of."""

    source: Source
    class_name: str
    name: str
    """What workers call it."""
    described: Mapping[str, Any]
    """What its source said about it; if it says something else now, it has changed and was not loaded again."""
    version: int
    """Grows with every look at a source."""
    max_jobs: int
    max_rss: int


def failure(kind: str, text: str) -> JobError:
    """Return a plugin's failure as the engine knows it."""
    return _FAILURES.get(kind, BadInput)(text or "the plugin gave no reason")
