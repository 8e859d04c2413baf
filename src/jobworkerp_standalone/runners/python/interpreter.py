"""A warm interpreter: runs scripts one after another (`inside` is what runs in it)."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, Self

import anyio
import anyio.to_thread

from jobworkerp_standalone.jobs.errors import Fatal, Retryable
from jobworkerp_standalone.runners.process import Child, Exit, Program, launch
from jobworkerp_standalone.runners.python.order import Task
from jobworkerp_standalone.runners.python.program import program_text
from jobworkerp_standalone.runners.python.shelf import remove_tree
from jobworkerp_standalone.runners.python.ways import Running

_HEADER: Final = struct.Struct("!III")
_WORD: Final = struct.Struct("!ci")
_BEGUN: Final = b"b"
_DONE: Final = b"d"
_NOT_BEGUN: Final = b"x"
_PIECE_BYTES: Final = 65_536
_LEAVE_SEC: Final = 2.0
"""How long an interpreter that is not needed any more may take to exit."""


class NotBegun(Retryable):
    """The interpreter ended before the script began: another one may run it."""


class Interpreter:
    """One interpreter process. Each script gets pipes of its own, so that what an earlier one left cannot write there.

    It ends with its script where that is cancelled, kills it, or leaves threads or children behind; `alive` says so.
    """

    def __init__(self, child: Child, control: socket.socket, folder: str) -> None:
        self._child = child
        self._control = control
        self._folder = folder
        self._loop = asyncio.get_running_loop()
        self._unsent = memoryview(b"")
        self._heard = b""
        self._begun = False
        self._code: int | None = None
        self._not_begun: int | None = None
        self._alive = True
        self._loop.add_reader(control.fileno(), self._hear)

    @classmethod
    async def launch(cls, python: str, environment: Mapping[bytes, bytes], folder: str) -> Self:
        """Start one that runs its scripts in ``folder``, and wait until it is ready.

        Raises:
            Fatal: it does not come up; the text holds what it said.
        """
        words = (python, "-u", "-c", await anyio.to_thread.run_sync(program_text), folder)
        ours, theirs = socket.socketpair()
        with theirs:
            ours.setblocking(False)
            try:
                child = await launch(
                    Program(tuple(os.fsencode(word) for word in words), environment), extra_fd=theirs.fileno()
                )
            except BaseException:
                ours.close()
                raise
        self = cls(child, ours, folder)
        try:
            while await child.read():
                continue
            await child.finished()
            if not child.running:
                await child.wait()
                raise Fatal(f"the interpreter of the environment does not start: {child.last_words}")
        except BaseException:
            await self._destroy()
            raise
        return self

    @property
    def alive(self) -> bool:
        """Whether another script may be given to it."""
        return self._alive and self._child.running

    @asynccontextmanager
    async def start(self, task: Task) -> AsyncIterator[Running]:
        """Start a script; leaving by an exception ends the interpreter and all that the script started."""
        try:
            self._give(task)
            yield Running(self._child, self._end)
        except BaseException:
            await self._destroy()
            raise
        self._child.close_outputs()

    async def aclose(self) -> None:
        """Let it exit, or end it. May be called again."""
        self._hang_up()
        if self._child.running and await self._child.exits_within(_LEAVE_SEC):
            await self._child.wait()
        await self._destroy()

    def _give(self, task: Task) -> None:
        asked = json.dumps({"variables": dict(task.variables), "has_data": task.data is not None}).encode()
        data = task.data or b""
        head = _HEADER.pack(len(asked), len(task.script), len(data))
        self._begun = False
        self._code = self._not_begun = None
        reading, writing = _pipes()
        try:
            self._child.begin(reading)
            self._unsent = memoryview(b"".join((head, asked, task.script, data)))
            with suppress(OSError):  # it is just exiting, which is seen soon
                sent = socket.send_fds(self._control, [self._unsent[:_PIECE_BYTES]], writing)
                self._unsent = self._unsent[sent:]
        finally:
            for fd in writing:
                os.close(fd)
        if self._unsent:
            self._loop.add_writer(self._control.fileno(), self._send)

    def _send(self) -> None:
        try:
            self._unsent = self._unsent[self._control.send(self._unsent[:_PIECE_BYTES]) :]
        except BlockingIOError:
            return
        except OSError:
            self._unsent = memoryview(b"")
        if not self._unsent:
            self._loop.remove_writer(self._control.fileno())

    def _hear(self) -> None:
        try:
            data = self._control.recv(64)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self._control.fileno())
            return
        self._heard += data
        while len(self._heard) >= _WORD.size:
            word, number = _WORD.unpack(self._heard[: _WORD.size])
            self._heard = self._heard[_WORD.size :]
            if word == _BEGUN:
                self._begun = True
                continue
            if word == _DONE:
                self._code = number
            elif word == _NOT_BEGUN:
                self._not_begun = number
            self._child.finish()

    async def _end(self) -> Exit:
        child = self._child
        await child.finished()
        if self._code is not None:
            self._alive = not child.reading  # otherwise somebody whom the script left behind holds its outputs
            return Exit(self._code, None, 0, 0)
        self._alive = False
        if self._not_begun is not None:
            raise Retryable(f"the folder of the job could not be made: {os.strerror(self._not_begun)}")
        end = await child.wait()
        if not self._begun:
            raise NotBegun(f"the interpreter ended before the script began: {child.last_words}")
        await anyio.to_thread.run_sync(remove_tree, Path(self._folder))
        return end

    async def _destroy(self) -> None:
        """End it with all that it started."""
        self._alive = False
        try:
            if self._child.running:
                await self._child.stop()
        finally:
            self._hang_up()
            self._child.close()
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(remove_tree, Path(self._folder))

    def _hang_up(self) -> None:
        if self._control.fileno() >= 0:
            self._loop.remove_reader(self._control.fileno())
            self._loop.remove_writer(self._control.fileno())
            self._control.close()


def _pipes() -> tuple[list[int], list[int]]:
    """Return the reading and the writing ends of two pipes."""
    first = os.pipe()
    try:
        second = os.pipe()
    except OSError:
        for fd in first:
            os.close(fd)
        raise
    return [first[0], second[0]], [first[1], second[1]]
