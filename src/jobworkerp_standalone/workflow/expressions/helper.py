"""One helper process, as the daemon sees it."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from typing import Final

import anyio.to_thread

from jobworkerp_standalone.workflow.expressions.errors import EvaluationFailed
from jobworkerp_standalone.workflow.expressions.helper_main import DONE, REPLY, REQUEST

_START: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    "from jobworkerp_standalone.workflow.expressions.helper_main import main; main(*map(int, sys.argv[2:]))"
)
_PIECE: Final = 262_144


@dataclass(frozen=True, slots=True)
class Limits:
    """What one evaluation may take."""

    seconds: float
    memory_bytes: int
    result_bytes: int


class Helper:
    """A process that evaluates one expression at a time. Whoever breaks off a request kills it."""

    def __init__(self, process: subprocess.Popen[bytes], channel: socket.socket, limits: Limits) -> None:
        self._process = process
        self._channel = channel
        self._limits = limits

    @classmethod
    async def start(cls, limits: Limits) -> Helper:
        """Start a process; forked in a thread, off the event loop."""
        return await anyio.to_thread.run_sync(_started, limits)

    @property
    def pid(self) -> int:
        """Return the id of the process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Return whether it has not ended."""
        return self._process.poll() is None

    async def ask(self, kind: int, program: str, data: str) -> str:
        """Return the JSON text of a value.

        Raises:
            EvaluationFailed: the expression failed, or the helper ended over it.
            TimeoutError: it takes too long; the helper is of no use any more.
        """
        text, given = program.encode(), data.encode()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._limits.seconds):
                await loop.sock_sendall(self._channel, REQUEST.pack(kind, len(text), len(given)) + text + given)
                outcome, reply = await self._reply(loop)
        except TimeoutError:
            raise
        except (OSError, EOFError) as error:
            self._process.kill()
            await self.bury()
            raise EvaluationFailed(_ending(self._process.returncode)) from error
        if outcome != DONE:
            raise EvaluationFailed(reply)
        return reply

    def kill(self) -> None:
        """End the process now."""
        self._channel.close()
        self._process.kill()

    async def bury(self) -> None:
        """Wait until a killed process is gone."""
        await anyio.to_thread.run_sync(self._process.wait)

    async def _reply(self, loop: asyncio.AbstractEventLoop) -> tuple[int, str]:
        received = bytearray()
        while len(received) < REPLY.size:
            received += await self._piece(loop)
        outcome, size = REPLY.unpack_from(received)
        while len(received) < REPLY.size + size:
            received += await self._piece(loop)
        return outcome, received[REPLY.size :].decode()

    async def _piece(self, loop: asyncio.AbstractEventLoop) -> bytes:
        piece = await loop.sock_recv(self._channel, _PIECE)
        if not piece:
            raise EOFError("the helper ended")
        return piece


def _started(limits: Limits) -> Helper:
    ours, theirs = socket.socketpair()
    with theirs:
        numbers = (theirs.fileno(), limits.memory_bytes, int(limits.seconds) + 2, limits.result_bytes)
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _START, json.dumps(sys.path), *map(str, numbers)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={},
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            raise
    ours.setblocking(False)
    return Helper(process, ours, limits)


def _ending(code: int | None) -> str:
    """Say why a process that ended over an expression did."""
    if code in (-signal.SIGABRT, -signal.SIGSEGV, -signal.SIGBUS):
        return "it needs too much memory, or recurses without end"
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        return "its process was killed"
    return f"its process ended (code {code})"
