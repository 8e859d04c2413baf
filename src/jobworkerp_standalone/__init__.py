"""A job-worker daemon in one process: workers, jobs and results, over gRPC, from the command line or embedded."""

from __future__ import annotations

TYPE_CHECKING = False  # of our own: importing typing takes longer than all else that a short command does first

if TYPE_CHECKING:
    from typing import Any

    from jobworkerp_standalone.client import (
        CallFailed,
        ClientError,
        DoesNotFit,
        JobFailed,
        NoSuch,
        Unreachable,
        WorkflowFaulted,
        WorkflowInvalid,
    )
    from jobworkerp_standalone.client.workflows import State, WorkflowRun
    from jobworkerp_standalone.embedded import JobWorkerp
    from jobworkerp_standalone.jobs.errors import SettingsError, StorageError

__version__ = "0.1.0"
__all__ = [
    "CallFailed",
    "ClientError",
    "DoesNotFit",
    "JobFailed",
    "JobWorkerp",
    "NoSuch",
    "SettingsError",
    "State",
    "StorageError",
    "Unreachable",
    "WorkflowFaulted",
    "WorkflowInvalid",
    "WorkflowRun",
    "__version__",
]

_PLACES = {
    "CallFailed": "client",
    "ClientError": "client",
    "DoesNotFit": "client",
    "JobFailed": "client",
    "JobWorkerp": "embedded",
    "NoSuch": "client",
    "SettingsError": "jobs.errors",
    "State": "client.workflows",
    "StorageError": "jobs.errors",
    "Unreachable": "client",
    "WorkflowFaulted": "client",
    "WorkflowInvalid": "client",
    "WorkflowRun": "client.workflows",
}

if not TYPE_CHECKING:  # a type checker would take every name for one of ours

    def __getattr__(name: str) -> Any:
        """Import what is asked for: the engine takes a while, and most importers of this package do not need it."""
        from importlib import import_module  # noqa: PLC0415 - where something is asked for

        place = _PLACES.get(name)
        if place is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{place}"), name)


def __dir__() -> list[str]:
    return [*globals(), *_PLACES]
