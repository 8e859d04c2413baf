"""One build that several jobs wait for. It goes on while one of them waits, and is broken off with the last."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

import anyio

from jobworkerp_standalone.jobs.errors import Fatal, JobError, Retryable

Report = Callable[[str], Awaitable[None]]
"""Takes one line that says how far a build is."""
Tell = Callable[[str], None]
Work = Callable[[Tell], Awaitable[None]]
_log = logging.getLogger(__name__)
_BROKEN_OFF: Final = "the building of the environment was broken off"


class SharedBuild:
    """Runs ``work`` once; everybody who waits hears its lines from the first one, and how it ended."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._scope = anyio.CancelScope()
        self._changed = anyio.Event()
        self._ended = anyio.Event()
        self._lines: list[str] = []
        self._waiting = 0
        self._error: JobError | None = Retryable(_BROKEN_OFF)

    @property
    def open(self) -> bool:
        """Whether one more may wait for it."""
        return not self._ended.is_set() and not self._scope.cancel_called

    async def run(self) -> None:
        """Do the work, in a task of its own."""
        try:
            with self._scope:
                await self._work(self._tell)
                self._error = None
        except JobError as error:
            self._error = error
        except OSError as error:
            _log.warning("a Python environment could not be built", exc_info=error)
            self._error = Retryable(f"the environment could not be built: {error.strerror or error}")
        except Exception as error:
            _log.exception("a Python environment could not be built")
            self._error = Fatal(f"the environment could not be built: {type(error).__name__}: {error}")
        finally:
            self._ended.set()
            self._changed.set()

    async def wait(self, report: Report) -> None:
        """Wait for the end.

        Raises:
            JobError: it failed.
        """
        self._waiting += 1
        try:
            await self._follow(report)
        finally:
            self._waiting -= 1
            if not self._waiting and not self._ended.is_set():
                self._scope.cancel()
                with anyio.CancelScope(shield=True):
                    await self._ended.wait()
        if self._error is not None:
            raise type(self._error)(str(self._error)) from self._error

    async def _follow(self, report: Report) -> None:
        told = 0
        while True:
            changed = self._changed
            for line in self._lines[told:]:
                told += 1
                await report(line)
            if told < len(self._lines):
                continue
            if self._ended.is_set():
                return
            await changed.wait()

    def _tell(self, line: str) -> None:
        self._lines.append(line)
        self._changed.set()
        self._changed = anyio.Event()
