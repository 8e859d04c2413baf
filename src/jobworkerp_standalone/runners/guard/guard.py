"""The guard, as the process sees it that it guards.

A process that is killed cannot end the programs it has started, and a job that runs again must not find its program
still there. So the guard is told the leader of each session of programs as soon as it was started, and when it has
ended. The end of the pipe, however it comes about, makes the guard end the sessions that are left, and itself.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import anyio

from jobworkerp_standalone.runners.guard.main import BEGINS, ENDED, MESSAGE, STARTED
from jobworkerp_standalone.runners.guard.sessions import state_of, ticks
from jobworkerp_standalone.runners.spawn import Action, inherited_descriptors, spawn

_log = logging.getLogger(__name__)
_START: Final = (
    "import os, sys; from importlib import import_module;"
    "sys.path.append(os.environ['ROOT']); import_module(os.environ['MODULE']).main()"
)
_MODULE: Final = f"{__name__.rpartition('.')[0]}.main"
_ROOT: Final = Path(__file__).parents[_MODULE.count(".")]
_NO_OUTPUT: Final[tuple[Action, ...]] = tuple((os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_WRONLY, 0) for fd in (1, 2))
_PAUSE_SEC: Final = 1.0
"""From one replacement to the next: what cannot live is not started again and again."""
_LOOK_SEC: Final = 1.0
"""While programs run, between two looks whether somebody has stopped the guard, which no event would tell."""
_FAREWELL_SEC: Final = 5.0
"""How long the guard may take to end what is left at a normal end, which is hardly ever anything."""


@asynccontextmanager
async def guarded() -> AsyncIterator[None]:
    """Have the programs that are started on this event loop meanwhile end with this process, however that ends.

    May be entered more than once. The guard is started with the first program, and ends with the last context.
    """
    loop = asyncio.get_running_loop()
    guard = _GUARDS.setdefault(loop, Guard(loop))
    guard.users += 1
    try:
        yield
    finally:
        guard.users -= 1
        if not guard.users:
            del _GUARDS[loop]
            await guard.aclose()


def guard_of(loop: asyncio.AbstractEventLoop) -> Guard | None:
    """Return the guard of the programs of a loop; None outside of `guarded`."""
    return _GUARDS.get(loop)


def guard_processes() -> set[int]:
    """Return the ids of the guards that this process has now."""
    return {guard.pid for guard in _GUARDS.values() if guard.pid is not None}


class Guard:
    """Knows which sessions there are, and has a process that knows it too: another one where that was killed."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.users = 0
        """How many contexts want it."""
        self._loop = loop
        self._leaders: dict[int, int] = {}
        """When each was told, in ticks."""
        self._process: _Process | None = None
        self._ended = asyncio.Event()
        self._next_start = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._next_look: asyncio.TimerHandle | None = None

    @property
    def pid(self) -> int | None:
        """The process id; None where there is no process now."""
        return None if self._process is None else self._process.pid

    def expect(self, stdout: int) -> None:
        """Have a program guarded from its first moment on. Call it just before it is started.

        Args:
            stdout: a pipe that will be its standard output, and nobody else's: should this process be killed before
                it can say more, the program is found by that.
        """
        if self._process is None and self._timer is None:
            self._start()
        self._tell(BEGINS, os.fstat(stdout).st_ino)

    def note(self, leader: int) -> None:
        """Have the session of the program end with this process. Call it as soon as it was started."""
        self._leaders[leader] = ticks()
        self._tell(STARTED, leader, self._leaders[leader])
        if self._next_look is None:
            self._next_look = self._loop.call_later(_LOOK_SEC, self._look)

    def forget(self, leader: int) -> None:
        """Leave a session alone. Call it before its leader is reaped: afterwards its number may be somebody else's."""
        self._leaders.pop(leader, None)
        self._tell(ENDED, leader)

    def hang_up(self) -> None:
        """Close the pipe."""
        if self._process is not None:
            self._process.hang_up()

    async def aclose(self) -> None:
        """End the process. Programs that are still there end before it."""
        for timer in (self._timer, self._next_look):
            if timer is not None:
                timer.cancel()
        if self._process is None:
            return
        with anyio.CancelScope(shield=True):
            if self._leaders:
                self._process.hang_up()
                with anyio.move_on_after(_FAREWELL_SEC):
                    await self._ended.wait()
            if not self._ended.is_set():
                self._process.kill()
            await self._ended.wait()

    def _tell(self, kind: int, number: int, told: int = 0) -> None:
        if self._process is not None:
            self._process.write(MESSAGE.pack(kind, number, told))

    def _start(self) -> None:
        try:
            self._process = _watched(_Process(), self._loop, self._on_end)
        except OSError as error:
            _log.warning(
                "programs would outlive this process if it was killed: no guard can be started: %s", error.strerror
            )
            self._timer = self._loop.call_later(_PAUSE_SEC, self._replace)
            return
        self._process.write(b"".join(MESSAGE.pack(STARTED, *each) for each in self._leaders.items()))

    def _replace(self) -> None:
        self._timer = None
        self._next_start = self._loop.time() + _PAUSE_SEC
        if self._leaders:
            self._start()

    def _look(self) -> None:
        self._next_look = self._loop.call_later(_LOOK_SEC, self._look) if self._leaders else None
        if self._process is not None and self._process.stopped:
            self._process.kill()

    def _on_end(self) -> None:
        assert self._process is not None, "it is watched as long as it is there"
        self._loop.remove_reader(self._process.pidfd)
        self._process.bury()
        if self.users:
            _log.warning("the guard (process %d) has ended: another one is started", self._process.pid)
            self._process = None
            if self._loop.time() < self._next_start:
                self._timer = self._loop.call_at(self._next_start, self._replace)
            else:
                self._replace()
        else:
            self._ended.set()


class _Process:
    """A guard process and the pipe to it."""

    def __init__(self) -> None:
        closing = inherited_descriptors()
        reading, self._pipe = os.pipe()
        try:
            os.set_blocking(self._pipe, False)
            # Its command line does not name the daemon: whoever kills all that do does not mean the guard.
            python, about = os.path.realpath(sys.executable), f"ends what {os.getpid()} leaves behind"
            argv = tuple(map(os.fsencode, (python, "-I", "-S", "-c", _START, about)))
            environment = {b"ROOT": os.fsencode(_ROOT), b"MODULE": _MODULE.encode()}
            actions = ((os.POSIX_SPAWN_DUP2, reading, 0), *_NO_OUTPUT, *closing)
            self.pid, self.pidfd = spawn(argv, environment, actions)
        except BaseException:
            self.hang_up()
            raise
        finally:
            os.close(reading)

    def write(self, messages: bytes) -> None:
        """Tell it, without waiting."""
        try:
            os.write(self._pipe, messages)
        except BlockingIOError:
            self.kill()  # it does not read; the next one will
        except BrokenPipeError:
            pass  # its end is about to be seen

    @property
    def stopped(self) -> bool:
        """Whether somebody has stopped it, so that it would not do anything."""
        return state_of(self.pid) in (b"T", b"t")

    def hang_up(self) -> None:
        """Let it see the end of the pipe. May be called again."""
        if self._pipe >= 0:
            pipe, self._pipe = self._pipe, -1
            os.close(pipe)

    def kill(self) -> None:
        """End it without what it is there for."""
        os.kill(self.pid, signal.SIGKILL)

    def bury(self) -> None:
        """Reap it, and give back every descriptor."""
        self.hang_up()
        os.close(self.pidfd)
        os.waitpid(self.pid, 0)


def _watched(process: _Process, loop: asyncio.AbstractEventLoop, on_end: Callable[[], None]) -> _Process:
    try:
        loop.add_reader(process.pidfd, on_end)
    except OSError:
        process.kill()
        process.bury()
        raise
    return process


_GUARDS: Final[dict[asyncio.AbstractEventLoop, Guard]] = {}


def _forked() -> None:
    """Let go of the pipes in a fork of this process, which may outlive it."""
    for guard in _GUARDS.values():
        guard.hang_up()
    _GUARDS.clear()


os.register_at_fork(after_in_child=_forked)
