"""One helper process, as the daemon sees it."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from jobworkerp_standalone.workflow.expressions.failure import EvaluationFailed, HelperEnded
from jobworkerp_standalone.workflow.expressions.helper_wire import (
    DONE,
    ENDED,
    NUMBER,
    READY,
    REPLY,
    REQUEST,
    Limits,
)

_PIECE: Final = 262_144
_LONG_SEC: Final = 0.05
"""What takes more processor time than this gets what others leave."""
_PATIENCE: Final = 10
"""How many times as long an evaluation may take by the clock as it may have the processor: on a machine that is busy it
waits for that. What takes longer has been stopped.
"""
_SLOWER: Final = 5
"""Niceness on top of that of all helpers, together a tenth of what other programs get: what is honest still ends in
time on a machine that is busy.
"""


class Helper:
    """A process that evaluates one expression at a time. Whoever breaks off a request kills it.

    Args:
        channel: where it is asked and answers.
        lifeline: it ends when this is closed.
        limits: of each evaluation.
        engines: kinds of programs whose engines it has loaded, a bit each.
    """

    def __init__(self, channel: socket.socket, lifeline: int, limits: Limits, engines: int) -> None:
        channel.setblocking(False)
        self._channel = channel
        self._lifeline = lifeline
        self._limits = limits
        self.engines = engines
        self._reading = asyncio.Lock()
        self._watch: asyncio.TimerHandle
        self._handle = -1
        """Of the process: its id may be another's when it has gone."""
        self.pid = 0
        self._overdrawn = False
        """Whether an evaluation has used up its time."""
        self.slowed = False
        """Whether it has got a low priority, which nobody without privileges can take back."""

    async def ready(self) -> None:
        """Wait until it can be asked.

        Raises:
            OSError: it ended before.
        """
        outcome, reply = await self._reply()
        if outcome != READY:
            raise ChildProcessError("the helper ended as soon as it began")
        (self.pid,) = NUMBER.unpack(reply)
        with suppress(ProcessLookupError):
            self._handle = os.pidfd_open(self.pid)

    @property
    def usable(self) -> bool:
        """Return whether it can be asked: it says nothing of itself but that it has ended."""
        if self._lifeline < 0:
            return False
        poll = select.poll()  # select(2) takes no descriptor above 1023
        poll.register(self._channel, select.POLLIN)
        return not poll.poll(0)

    async def ask(self, kind: int, program: str, data: Sequence[bytes]) -> bytes:
        """Return the fragments of a value.

        Raises:
            EvaluationFailed: the expression failed.
            HelperEnded: the helper ended over it.
            TimeoutError: it takes too long, and how long that is; the helper is of no use any more.
        """
        text = program.encode()
        header = REQUEST.pack(kind, len(text), sum(map(len, data)))
        seconds, loop = self._limits.seconds, asyncio.get_running_loop()
        try:
            async with self._reading, asyncio.timeout(seconds * _PATIENCE) as patience:
                self._watch = loop.call_later(_LONG_SEC, self._look, self._cpu_seconds(), patience)
                try:
                    await self._send([header + text, *data])
                    outcome, reply = await self._reply()
                finally:
                    self._watch.cancel()
        except TimeoutError:
            used = f"{seconds:g} s" if self._overdrawn else f"{seconds * _PATIENCE:g} s, and hardly had the processor"
            raise TimeoutError(used) from None
        if outcome == DONE:
            return reply
        if outcome == ENDED:
            self.kill()
            raise HelperEnded(_ending(NUMBER.unpack(reply)[0]))
        raise EvaluationFailed(reply.decode())

    def kill(self) -> None:
        """End the process now."""
        if self._lifeline < 0:
            return
        os.close(self._lifeline)
        self._lifeline = -1
        if self._handle >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)  # one that was stopped does not see the lifeline
            os.close(self._handle)

    async def bury(self) -> None:
        """Wait until a killed process is gone."""
        loop = asyncio.get_running_loop()
        async with self._reading:
            with suppress(OSError):
                while self._channel.fileno() >= 0 and await loop.sock_recv(self._channel, _PIECE):
                    pass
            self._channel.close()

    def _look(self, began: float, patience: asyncio.Timeout) -> None:
        """Look from time to time how much processor time it has used since; slow it down, then end the waiting."""
        if patience.expired():
            return  # in the same turn of the loop, and nobody has woken up of it yet
        loop, used = asyncio.get_running_loop(), self._cpu_seconds() - began
        if used >= self._limits.seconds:
            self._overdrawn = True
            patience.reschedule(loop.time())
            return
        if used > _LONG_SEC and not self.slowed:
            self.slowed = True
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, self.pid, os.getpriority(os.PRIO_PROCESS, self.pid) + _SLOWER)
                os.sched_setscheduler(self.pid, os.SCHED_BATCH, os.sched_param(0))
        later = max(self._limits.seconds - used, _LONG_SEC) if self.slowed else _LONG_SEC
        self._watch = loop.call_later(later, self._look, began, patience)

    def _cpu_seconds(self) -> float:
        with suppress(OSError):
            return time.clock_gettime((~self.pid << 3) | 2)  # as clock_getcpuclockid(3) makes it
        return 0.0  # it is gone

    async def _send(self, pieces: Sequence[bytes]) -> None:
        loop = asyncio.get_running_loop()
        with suppress(BrokenPipeError, ConnectionResetError):  # then the reply says how it ended
            for piece in pieces:
                await loop.sock_sendall(self._channel, piece)

    async def _reply(self) -> tuple[int, bytes]:
        received = bytearray()
        size = REPLY.size
        while len(received) < size:
            piece = b""
            with suppress(ConnectionResetError):  # it ended before it had read all
                piece = await asyncio.get_running_loop().sock_recv(self._channel, _PIECE)
            if not piece:
                return ENDED, NUMBER.pack(-signal.SIGKILL)
            received += piece
            if size == REPLY.size <= len(received):
                size += REPLY.unpack_from(received)[1]
        return received[0], bytes(received[REPLY.size :])


def _ending(code: int) -> str:
    """Say why a process that ended over an expression did."""
    if code in (-signal.SIGABRT, -signal.SIGSEGV, -signal.SIGBUS):
        return "it needs too much memory, or recurses without end"
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        return "its process was killed"
    return f"its process ended (code {code})"
