"""One running child process, as one task sees it.

What a child's life is made of: it is started (`launch`), its output is read piece by piece, it exits, it is reaped.
The leader stays unreaped until nobody signals its group any more, so a process id can never mean somebody else.

**Background processes.** A program may leave processes behind that hold its outputs open. The run does not wait for
them as long as they live: once the child itself has exited, output is read until its end or until nothing came for
`DRAIN_SEC`. What is left behind by a normal end is left alone, as a shell would; what is left behind by a run that
was broken off is killed with it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from enum import IntEnum
from types import TracebackType
from typing import Final, Self

import anyio

from jobworkerp_standalone.runners.guard.guard import guard_of
from jobworkerp_standalone.runners.guard.sessions import kill_session, signal_group
from jobworkerp_standalone.runners.process.pipes import InputPipe, OutputPipe

GRACE_SEC: Final = 5.0
"""Between SIGTERM and SIGKILL."""
DRAIN_SEC: Final = 1.0
"""How long output may pause after the exit before it counts as ended."""
TAIL_BYTES: Final = 4096
"""How much of each output is kept for a failure text."""
_KILL_SEC: Final = 5.0
"""How long a killed child is waited for before it is reaped in the background."""


class Output(IntEnum):
    """Where a piece of output came from."""

    STDOUT = 0
    STDERR = 1


@dataclass(frozen=True, slots=True)
class Began:
    """The moment before a child was started, on both clocks."""

    unix_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000)
    monotonic_ns: int = field(default_factory=time.monotonic_ns)


@dataclass(frozen=True, slots=True)
class Exit:
    """How a child ended: with an exit code or by a signal."""

    code: int | None
    signal: int | None
    max_rss_kb: int
    """As the kernel counts it: not below the peak of the process that started the child."""
    page_faults: int

    def __str__(self) -> str:
        if self.signal is None:
            return f"exit code {self.code}"
        with suppress(ValueError):
            return f"killed by {signal.Signals(self.signal).name}"
        return f"killed by signal {self.signal}"


class Child:
    """A child process in a session of its own. One task at a time reads and waits.

    Used as a context: leaving it by an exception stops the child and everything in its session.
    """

    def __init__(self, pid: int, pidfd: int, began: Began, outputs: list[int], stdin: InputPipe | None) -> None:
        self.pid = pid
        self.started_at_ms = began.unix_ms
        self.exit: Exit | None = None
        self._began_ns = began.monotonic_ns
        self._ended_ns = 0
        self._loop = asyncio.get_running_loop()
        self._pidfd = pidfd
        self._waiter: asyncio.Future[bool] | None = None
        self._input = stdin
        self.begin(outputs)
        try:
            self._loop.add_reader(pidfd, self._on_exit)
        except OSError:  # the kernel watches no more for us: nobody would see its end
            self.kill()
            self._ended_ns = time.monotonic_ns()
            self.close()
            raise

    @property
    def input(self) -> InputPipe:
        """Standard input of a child that was started with one that stays open."""
        assert self._input is not None
        return self._input

    def begin(self, outputs: list[int]) -> None:
        """Read from these from now on: what the child is to do next writes there. Those before must be closed."""
        self._tails = [b"", b""]
        self._outputs = [OutputPipe(self._loop, fd) for fd in outputs]
        self._done = False

    def finish(self) -> None:
        """Say that what it does is done although it lives on: its output is read as after an exit."""
        self._done = True
        self._wake(True)

    @property
    def running(self) -> bool:
        """Whether it has not exited yet."""
        return self._ended_ns == 0

    @property
    def busy(self) -> bool:
        """Whether it has neither exited nor done what it is there for."""
        return self.running and not self._done

    @property
    def reading(self) -> bool:
        """Whether somebody still holds one of its outputs open."""
        return any(pipe.open for pipe in self._outputs)

    @property
    def elapsed_ms(self) -> int:
        """How long it ran, or has been running."""
        return ((self._ended_ns or time.monotonic_ns()) - self._began_ns) // 1_000_000

    @property
    def last_words(self) -> str:
        """How it ended, and the last of its stderr and stdout: what a failure text ends with."""
        return self.words_after(self.exit)

    def words_after(self, end: Exit | None) -> str:
        """Return last words for an end that is known from elsewhere than the exit."""
        parts = [str(end) if end else "still running"]
        for name, tail in (("stderr", self._tails[1]), ("stdout", self._tails[0])):
            if tail:
                parts.append(f"{name}: {_text_of(tail)}")
        return "\n".join(parts)

    async def read(self) -> list[tuple[Output, bytes]]:
        """Wait for output and return what is there; nothing at all once there will be no more."""
        while True:
            pieces = self._take()
            if pieces or not self.reading:
                return pieces
            ended = not self.busy
            woken = await self._wait(DRAIN_SEC if ended else None, watch=True)
            if ended and not woken:
                return []

    async def rest(self, seconds: float) -> None:
        """Wait for the end, but not longer than ``seconds``, and leave the output where it is meanwhile."""
        if self.busy:
            await self._wait(seconds)

    async def finished(self) -> None:
        """Wait until it has exited or done what it is there for."""
        while self.busy:
            await self._wait(None)

    async def wait(self) -> Exit:
        """Wait for the exit and reap the child. Its group is not touched any more."""
        while self.running:
            await self._wait(None)
        return self._reap()

    async def exits_within(self, seconds: float) -> bool:
        """Wait for the exit, but not longer than ``seconds``; return whether it came."""
        until = self._loop.time() + seconds
        while self.running and (left := until - self._loop.time()) > 0:
            await self._wait(left)
        return not self.running

    def kill(self) -> None:
        """Kill the whole group now."""
        if self.exit is None:
            signal_group(self.pid, signal.SIGKILL)

    async def stop(self) -> None:
        """Ask the group to end, kill after `GRACE_SEC` what did not, and reap the child.

        Finishes whatever happens to the calling task; a cancellation meanwhile ends the grace and is raised at the
        end. Output is read on, for the last words.
        """
        if self.exit is not None:
            return
        interrupted: asyncio.CancelledError | None = None
        with anyio.CancelScope(shield=True):
            if self.running:
                signal_group(self.pid, signal.SIGTERM)
                signal_group(self.pid, signal.SIGCONT)
                interrupted = await self._run_out(GRACE_SEC)
            signal_group(self.pid, signal.SIGKILL)
            interrupted = await self._sweep() or interrupted
            interrupted = await self._run_out(_KILL_SEC) or interrupted
            self._take()
            if not self.running:
                self._reap()
        if interrupted is not None:
            raise interrupted

    def close(self) -> None:
        """Give back every descriptor. A child that is still there is killed, and reaped when it is gone."""
        self.close_outputs()
        if self._input:
            self._input.close()
        if self._pidfd < 0:
            return
        if self.running:
            self.kill()
            self._loop.add_reader(self._pidfd, self._bury)
        else:
            self._bury()

    def close_outputs(self) -> None:
        """Read no more."""
        for pipe in self._outputs:
            pipe.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is not None:
                await self.stop()
        finally:
            self.close()

    def _take(self) -> list[tuple[Output, bytes]]:
        """Read each output once, without waiting."""
        pieces: list[tuple[Output, bytes]] = []
        for output in Output:
            pipe = self._outputs[output]
            if pipe.open and (data := pipe.read()):
                self._tails[output] = (self._tails[output] + data[-TAIL_BYTES:])[-TAIL_BYTES:]
                pieces.append((output, data))
        return pieces

    async def _wait(self, seconds: float | None, *, watch: bool = False) -> bool:
        """Wait for the exit and, with ``watch``, for output; return whether it was that and not the time."""
        if watch:
            for pipe in self._outputs:
                pipe.watch(self._readable)
        self._waiter = self._loop.create_future()
        timer = None if seconds is None else self._loop.call_later(seconds, self._wake, False)
        try:
            return await self._waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    def _wake(self, something: bool) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(something)

    def _readable(self, pipe: OutputPipe) -> None:
        if self._waiter is None:
            pipe.unwatch()
        else:
            self._wake(True)

    def _on_exit(self) -> None:
        self._ended_ns = time.monotonic_ns()
        self._loop.remove_reader(self._pidfd)
        self._wake(True)

    def _reap(self) -> Exit:
        if self.exit is None:
            if guard := guard_of(self._loop):
                guard.forget(self.pid)
            _pid, status, usage = os.wait4(self.pid, 0)
            code = os.waitstatus_to_exitcode(status)
            self.exit = Exit(
                code=code if code >= 0 else None,
                signal=-code if code < 0 else None,
                max_rss_kb=usage.ru_maxrss,
                page_faults=usage.ru_minflt + usage.ru_majflt,
            )
        return self.exit

    def _bury(self) -> None:
        """Reap if nobody did, and let go of the pidfd."""
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = -1
        with suppress(ChildProcessError):
            self._reap()

    async def _run_out(self, seconds: float) -> asyncio.CancelledError | None:
        """Read and forget until the exit; a cancellation ends the waiting and is returned."""
        until = self._loop.time() + seconds
        try:
            while self.running and (left := until - self._loop.time()) > 0:
                self._take()
                await self._wait(left, watch=True)
        except asyncio.CancelledError as cancelled:
            return cancelled
        return None

    async def _sweep(self) -> asyncio.CancelledError | None:
        """Kill what is left of the session; a cancellation meanwhile is returned."""
        interrupted = None
        job = self._loop.run_in_executor(None, kill_session, self.pid)
        while not job.done():
            try:
                await asyncio.wait([job])
            except asyncio.CancelledError as cancelled:
                interrupted = cancelled
        with suppress(OSError):
            job.result()
        return interrupted


def _text_of(tail: bytes) -> str:
    """Decode a tail that may begin within a character."""
    start = next((n for n, byte in enumerate(tail[:4]) if not _is_continuation(byte)), 0)
    return tail[start:].decode(errors="replace").rstrip("\n")


def _is_continuation(byte: int) -> bool:
    return 0x80 <= byte < 0xC0  # noqa: PLR2004 - UTF-8
