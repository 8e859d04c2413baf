"""The daemon's helper processes: some warm, more when all are busy, each replaced when it had to be killed."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import anyio

from jobworkerp_standalone.workflow.expressions.failure import EvaluationFailed, HelperEnded
from jobworkerp_standalone.workflow.expressions.fork_server import ForkServer
from jobworkerp_standalone.workflow.expressions.helper_wire import JQ
from jobworkerp_standalone.workflow.expressions.turns import Turns

if TYPE_CHECKING:
    from jobworkerp_standalone.runners.host import Host
    from jobworkerp_standalone.workflow.expressions.helper import Helper
    from jobworkerp_standalone.workflow.expressions.helper_wire import Limits

_FAREWELL_SEC: Final = 2
_PAUSE_SEC: Final = 0.25
"""After an expression that ended its process: a loop of such would keep the machine busy with forks and deaths."""


class Helpers:
    """Evaluates in helper processes; everybody who waits (`turns_of`) has one turn before anybody has another.

    Args:
        host: whose tasks bury and replace processes.
        count: how many there are at most.
        limits: of each evaluation.
    """

    def __init__(self, host: Host, count: int, limits: Limits) -> None:
        self._host = host
        self._limits = limits
        self._idle: deque[Helper] = deque()
        self._all: set[Helper] = set()
        self._turns = Turns(count)
        self._server: ForkServer | None = None
        self._forking = anyio.Lock()
        self._closed = False
        self._engines = 1 << JQ
        """Kinds of programs that there were so far, a bit each: helpers that lack the engine of one are replaced."""

    @property
    def pids(self) -> frozenset[int]:
        """Return the ids of the processes there are."""
        return frozenset(helper.pid for helper in self._all)

    async def ask(self, kind: int, program: str, data: Sequence[bytes]) -> bytes:
        """Return the fragments of a value.

        Raises:
            EvaluationFailed: the expression failed, or broke a limit.
        """
        try:
            return await self._asked(kind, program, data)
        except HelperEnded:
            await anyio.sleep(_PAUSE_SEC)
            raise

    async def _asked(self, kind: int, program: str, data: Sequence[bytes]) -> bytes:
        async with self._turns.turn():
            helper = await self._take(kind)
            clean = False
            try:
                reply = await helper.ask(kind, program, data)
                clean = helper.usable
            except EvaluationFailed:
                clean = helper.usable
                raise
            except TimeoutError as error:
                raise EvaluationFailed(f"it took longer than {error}") from None
            finally:
                self._give_back(helper, clean=clean)
            return reply

    async def aclose(self) -> None:
        """Kill all, and wait until they are gone."""
        self._closed = True
        for helper in self._all:
            helper.kill()
        with anyio.move_on_after(_FAREWELL_SEC):
            await self._bury_all()
        self._idle.clear()
        if self._server is not None:
            await self._server.aclose()
        await self._bury_all()  # those of a server that hung and was killed

    async def _bury_all(self) -> None:
        for helper in list(self._all):
            await self._bury(helper)

    async def _take(self, kind: int) -> Helper:
        self._engines |= 1 << kind
        while self._idle:
            helper = self._idle.pop()
            if helper.usable and helper.engines == self._engines:
                return helper
            self._discard(helper)
        return await self._start()

    async def _start(self) -> Helper:
        """Start a process; a cancellation meanwhile waits, so that none is started that nobody knows of."""
        with anyio.CancelScope(shield=True):
            async with self._forking:
                if self._closed:
                    raise EvaluationFailed("the daemon is about to end")
                try:
                    helper = await self._forked()
                except OSError as error:
                    raise EvaluationFailed(f"no helper process can be started: {error}") from error
            self._all.add(helper)
            return helper
        raise AssertionError  # a shielded scope is not cancelled

    async def _forked(self) -> Helper:
        """Return a helper of the fork server; of a new one, where that is gone."""
        if self._server is not None:
            with suppress(OSError):
                return await self._server.fork(self._limits, self._engines)
            await self._server.aclose()
        self._server = await ForkServer.start()
        return await self._server.fork(self._limits, self._engines)

    def _give_back(self, helper: Helper, *, clean: bool) -> None:
        if clean and not helper.slowed and helper.engines == self._engines and not self._closed:
            self._idle.append(helper)
            return
        self._discard(helper)
        if not self._idle and not self._closed:
            self._host.start_soon(self._replace)

    def _discard(self, helper: Helper) -> None:
        helper.kill()
        self._host.start_soon(self._bury, helper)

    async def _bury(self, helper: Helper) -> None:
        await helper.bury()
        self._all.discard(helper)

    async def _replace(self) -> None:
        """Have one ready again, where there is room. Where none can be started, who needs one is told why."""
        async with self._turns.turn():
            if self._closed or self._idle:
                return
            try:
                helper = await self._start()
            except EvaluationFailed:
                return
            if self._closed:
                self._discard(helper)
            else:
                self._idle.append(helper)
