"""One worker process of a plugin, as the daemon sees it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import resource
import socket
from contextlib import AsyncExitStack, suppress
from importlib.resources import files
from typing import Any, Final, Self

import anyio

from jobworkerp_standalone.jobs.errors import BadInput
from jobworkerp_standalone.plugin import channel as frames
from jobworkerp_standalone.runners.host import Host
from jobworkerp_standalone.runners.plugins.places import place_of
from jobworkerp_standalone.runners.plugins.sources import Source
from jobworkerp_standalone.runners.process import Child, Program, Utf8Pieces, launch
from jobworkerp_standalone.runners.redaction import hide_named

_log = logging.getLogger("jobworkerp_standalone.runners.plugins")
_LEAVE_SEC: Final = 2.0
"""How long a process that is not needed any more may take to exit."""
_LOOK_SEC: Final = 0.5
"""How often the memory of a working process is looked at."""
_LONGEST_LINE: Final = 4096
_PAGE: Final = resource.getpagesize()


_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class ProcessGone(Exception):
    """The process ended; the text says how."""


class WorkerProcess:
    """A process that has a channel to the daemon. What it prints goes to the log.

    A task of its own reads its output and watches its memory. Its end, of its own or by cancellation of that task, is
    the end of everything in its session, and of the channel: a process that it forked may hold that open.
    """

    def __init__(self, label: str, child: Child, channel: _Streams, limits: tuple[int, int]) -> None:
        self._label = label
        self._child = child
        self._reader, self._writer = channel
        self._rss_limit, self._frame_limit = limits
        self._scope = anyio.CancelScope()
        self._ended = anyio.Event()
        self._too_large = ""

    @classmethod
    async def start(cls, host: Host, source: Source, label: str, rss_limit: int) -> Self:
        """Start one; nothing is imported yet.

        Raises:
            JobError: it could not be started, or its environment could not be made.
        """
        async with AsyncExitStack() as stack:
            place = await stack.enter_async_context(place_of(host, source))
            program = Program(
                tuple(map(os.fsencode, (place.python, "-P", "-u", _program_path()))),
                {**place.environment, b"PYTHONDONTWRITEBYTECODE": b"1"},
            )
            ours, theirs = socket.socketpair()
            with theirs:
                channel = await asyncio.open_connection(sock=ours)
                try:
                    child = await launch(program, extra_fd=theirs.fileno())
                except BaseException:
                    channel[1].close()
                    raise
            self = cls(label, child, channel, (rss_limit, host.settings.grpc_max_message_size))
            host.start_soon(self._keep, stack.pop_all())
            return self

    @property
    def alive(self) -> bool:
        """Whether it may be given something to do."""
        return self._child.running and not self._scope.cancel_called

    @property
    def last_words(self) -> str:
        """How it ended, and the last that it printed."""
        return self._too_large or self._child.last_words

    @property
    def rss(self) -> int:
        """Bytes of memory that it uses; 0 where it is gone."""
        with suppress(OSError, ValueError, IndexError), open(f"/proc/{self._child.pid}/statm", "rb") as statm:
            return int(statm.read().split()[1]) * _PAGE
        return 0

    async def send(self, kind: bytes, data: bytes = b"") -> None:
        """Send a frame.

        Raises:
            ProcessGone: it ended.
        """
        try:
            self._writer.write(frames.HEADER.pack(kind, len(data)))
            self._writer.write(data)
            await self._writer.drain()
        except (ConnectionError, RuntimeError) as error:
            raise await self._gone() from error

    async def send_json(self, kind: bytes, value: Any) -> None:
        """Send a frame that holds JSON."""
        await self.send(kind, json.dumps(value).encode())

    async def receive(self) -> tuple[bytes, bytes]:
        """Return the next frame.

        Raises:
            ProcessGone: it ended.
            BadInput: the frame is larger than any message may be.
        """
        try:
            kind, size = frames.HEADER.unpack(await self._reader.readexactly(frames.HEADER.size))
            if size > self._frame_limit:
                raise BadInput(
                    f"{self._label} gave {size} bytes at once, more than {self._frame_limit} (GRPC_MAX_MESSAGE_SIZE)"
                )
            return kind, await self._reader.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise await self._gone() from error

    async def stop(self) -> None:
        """End it now, with all that it started: SIGTERM, after 5 s SIGKILL. May be called again."""
        with anyio.CancelScope(shield=True):
            self._scope.cancel()
            await self._ended.wait()

    async def aclose(self) -> None:
        """Let it close what it has and exit, or end it. May be called again."""
        with anyio.CancelScope(shield=True):
            self._writer.close()
            with anyio.move_on_after(_LEAVE_SEC):
                await self._ended.wait()
            await self.stop()

    async def _gone(self) -> ProcessGone:
        """Wait until it is known how it ended: its channel is closed already."""
        with anyio.move_on_after(_LEAVE_SEC):
            await self._ended.wait()
        await self.stop()
        return ProcessGone(self.last_words)

    async def _keep(self, stack: AsyncExitStack) -> None:
        try:
            async with stack:
                with self._scope:
                    async with self._child, anyio.create_task_group() as tasks:
                        tasks.start_soon(self._watch_memory)
                        await self._log_output()
                        await self._child.finished()
                        await self._child.stop()
                        tasks.cancel_scope.cancel()
        finally:
            self._writer.close()
            self._ended.set()

    async def _log_output(self) -> None:
        decoders = (Utf8Pieces(), Utf8Pieces())
        rest = ["", ""]
        while pieces := await self._child.read():
            if not self._child.running:
                self._child.kill()  # what it left behind may print for ever
            for output, data in pieces:
                text = rest[output] + decoders[output].decode(data)[0]
                *lines, rest[output] = text.split("\n")
                if len(rest[output]) > _LONGEST_LINE:
                    lines, rest[output] = [*lines, rest[output]], ""
                for line in lines:
                    self._tell(line[:_LONGEST_LINE])
        for line in filter(None, rest):
            self._tell(line)

    def _tell(self, line: str) -> None:
        _log.info("plugin %s: %s", self._label, hide_named(line))

    async def _watch_memory(self) -> None:
        while True:
            await anyio.sleep(_LOOK_SEC)
            used = self.rss
            if used > self._rss_limit:
                self._too_large = (
                    f"ended because it used {used >> 20} MB of memory, more than {self._rss_limit >> 20} "
                    "(PLUGINS_MAX_RSS_MB, or max_rss_mb of the plugin)"
                )
                _log.warning("the process of plugin %s is %s", self._label, self._too_large)
                self._child.kill()
                return


def _program_path() -> str:
    return str(files("jobworkerp_standalone").joinpath("plugin", "worker.py"))
