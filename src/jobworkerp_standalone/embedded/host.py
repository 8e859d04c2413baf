"""A daemon of this process, in a task of its own."""

from __future__ import annotations

import asyncio
import socket

import anyio

from jobworkerp_standalone.client.steady import to_the_end
from jobworkerp_standalone.daemon import Daemon, run_daemon
from jobworkerp_standalone.settings import Settings


class Host:
    """The daemon in a task of its own.

    The block that uses it may be entered and left in different tasks (some test frameworks do that), so that no task
    group of the daemon may belong to either; and no failure of the daemon may cancel the code around it.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stop, self._hurry = anyio.Event(), anyio.Event()
        self._task: asyncio.Task[None] | None = None
        self.loop = asyncio.get_running_loop()
        self.daemon: Daemon | None = None

    async def start(self) -> None:
        """Return when it is ready.

        Raises:
            SettingsError, StorageError: it cannot start.
        """
        ready: asyncio.Future[None] = self.loop.create_future()
        self._task = asyncio.create_task(self._live(ready), name="jobworkerp")
        await asyncio.wait([ready, self._task], return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            ready.cancel()
            raise _cause(self._task.exception() or RuntimeError("the daemon ended before it was ready"))

    async def connect(self) -> socket.socket:
        """Return a connection to the daemon."""
        assert self.daemon is not None, "started"
        ours, theirs = socket.socketpair()
        for each in (ours, theirs):
            each.setblocking(False)
        await self.daemon.edge.adopt(theirs)
        return ours

    async def stop(self) -> Exception | None:
        """Stop it and return what it failed with. Cancelled meanwhile, it waits no longer for jobs that run."""
        if self._task is None:
            return None
        self._stop.set()
        try:
            await asyncio.shield(asyncio.wait([self._task]))
        except asyncio.CancelledError:
            self._hurry.set()
            await to_the_end(_over(self._task))
            raise
        failure = self._task.exception()
        return _cause(failure) if failure is not None else None

    async def _live(self, ready: asyncio.Future[None]) -> None:
        async with run_daemon(self._settings) as self.daemon:
            ready.set_result(None)
            await self._stop.wait()
            await self.daemon.stop(self._hurry)


async def _over(task: asyncio.Task[None]) -> None:
    await asyncio.wait([task])


def _cause(failure: BaseException) -> Exception:
    """Return the error itself, out of the groups that task groups wrap around it."""
    while isinstance(failure, BaseExceptionGroup):
        group: BaseExceptionGroup[BaseException] = failure  # pyright: ignore[reportUnknownVariableType] - narrowed
        failure = group.exceptions[0]
    return failure if isinstance(failure, Exception) else RuntimeError(f"the daemon was ended: {failure!r}")
