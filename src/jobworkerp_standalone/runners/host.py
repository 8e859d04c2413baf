"""The daemon, as runners see it: settings, what they share, and tasks that outlive a job."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Hashable
from functools import cached_property
from typing import Any, Protocol, TypeVar, TypeVarTuple, cast, runtime_checkable

import anyio
from anyio.abc import TaskGroup

from jobworkerp_standalone.runners.environment import ChildEnvironment
from jobworkerp_standalone.settings import Settings

_log = logging.getLogger(__name__)
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@runtime_checkable
class _Closable(Protocol):
    async def aclose(self) -> None: ...


class Host:
    """Handed to whatever makes a runner; one for each daemon.

    Args:
        settings: the daemon's settings.
        tasks: lives from before the first job until after the last one.
    """

    def __init__(self, settings: Settings, tasks: TaskGroup) -> None:
        self.settings = settings
        self._tasks = tasks
        self._shared: dict[Hashable, object] = {}

    def shared(self, make: Callable[[Host], T]) -> T:
        """Return the daemon's one thing of this kind (a cache, a pool), made at the first call.

        It is closed (``aclose``, where it has that) after the last job ended, the latest first.
        """
        if make not in self._shared:
            self._shared[make] = make(self)
        return cast("T", self._shared[make])

    def start_soon(self, step: Callable[[*Ts], Awaitable[Any]], *args: *Ts) -> None:
        """Start a task that may outlive the job that needs it. An error ends the task alone and is logged."""
        self._tasks.start_soon(self._guarded, step, args)

    @cached_property
    def child_environment(self) -> ChildEnvironment:
        """The environment of child processes: the daemon's own without its secrets."""
        return ChildEnvironment(os.environ, self.settings.child_env_deny)

    async def aclose(self) -> None:
        """Close what was shared. Called once, when no runner is left."""
        for thing in reversed(list(self._shared.values())):
            if isinstance(thing, _Closable):
                await _close(thing)
        self._shared.clear()

    @staticmethod
    async def _guarded(step: Callable[..., Awaitable[Any]], args: tuple[Any, ...]) -> None:
        try:
            await step(*args)
        except Exception:
            _log.exception("a background task of a runner failed: %s", getattr(step, "__qualname__", step))


async def _close(thing: _Closable) -> None:
    with anyio.CancelScope(shield=True):
        try:
            await thing.aclose()
        except Exception:
            _log.exception("closing %s failed", type(thing).__name__)
