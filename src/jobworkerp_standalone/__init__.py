"""A job-worker daemon in one process: workers, jobs and results, over gRPC, from the command line or embedded."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobworkerp_standalone.client import JobFailed, WorkflowFaulted, WorkflowInvalid
    from jobworkerp_standalone.client.workflows import State, WorkflowRun
    from jobworkerp_standalone.embedded import JobWorkerp

__version__ = "0.1.0"
__all__ = ["JobFailed", "JobWorkerp", "State", "WorkflowFaulted", "WorkflowInvalid", "WorkflowRun", "__version__"]

_PLACES = {
    "JobFailed": "client",
    "JobWorkerp": "embedded",
    "State": "client.workflows",
    "WorkflowFaulted": "client",
    "WorkflowInvalid": "client",
    "WorkflowRun": "client.workflows",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for: the engine takes a while, and most importers of this package do not need it."""
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{place}"), name)


def __dir__() -> list[str]:
    return [*globals(), *_PLACES]
