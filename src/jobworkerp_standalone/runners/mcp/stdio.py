"""A server that is a child process: one JSON message per line, each way. Its standard error goes to our log."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Final, Self

import anyio
import anyio.lowlevel
from anyio.streams.memory import MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter

from jobworkerp_standalone.jobs.errors import JobError
from jobworkerp_standalone.runners.environment import ChildEnvironment
from jobworkerp_standalone.runners.mcp.config import McpServer, Stdio
from jobworkerp_standalone.runners.mcp.streams import Incoming, Streams, Unreachable
from jobworkerp_standalone.runners.process import Child, Output, Program, launch
from jobworkerp_standalone.runners.process.pipes import InputPipe

_log = logging.getLogger(__name__)
_PARTING_SEC: Final = 2.0
"""How long a server may take to end by itself once its input is closed."""
_MAX_LINE: Final = 64 * 1024 * 1024
_AHEAD: Final = 64
"""Messages that are read before the session takes them."""
_NOISE: Final = 500
"""How much of a line that is no message is told."""
_KEPT_LINES: Final = 8


@asynccontextmanager
async def stdio_streams(server: McpServer, environment: ChildEnvironment) -> AsyncGenerator[Streams]:
    """Start the server's process; it and whatever it started are gone at the end.

    Raises:
        Unreachable: it could not be started.
    """
    child = await _start(server, environment)
    send, receive = anyio.create_memory_object_stream[Incoming](_AHEAD)
    ended = anyio.Event()
    async with child:
        try:
            async with anyio.create_task_group() as tasks, receive:
                reader = _Reader(server, child, send)
                tasks.start_soon(reader.run, ended)
                yield Streams(receive, _LineWriter(child.input), ended, reader.why)
                tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await _part(child)


async def _start(server: McpServer, environment: ChildEnvironment) -> Child:
    transport = server.transport
    assert isinstance(transport, Stdio)
    argv = tuple(word.encode() for word in (transport.command, *transport.args))
    program = Program(argv, environment.with_variables(transport.envs), transport.working_dir)
    try:
        return await launch(program, input_stays_open=True)
    except JobError as error:
        raise Unreachable(str(error)) from error


async def _part(child: Child) -> None:
    """Close the server's input, give it a moment, then end everything in its session."""
    child.input.close()
    with anyio.move_on_after(_PARTING_SEC):
        while await child.read():
            pass
        while child.running:
            await child.rest(_PARTING_SEC)
    await child.stop()


class _LineWriter:
    """Writes messages at once; what the pipe does not take waits for the server, not for the caller."""

    def __init__(self, pipe: InputPipe) -> None:
        self._pipe = pipe

    async def send(self, item: SessionMessage, /) -> None:
        """Write one message."""
        if not self._pipe.open:
            raise anyio.BrokenResourceError
        line = item.message.model_dump_json(by_alias=True, exclude_unset=True)
        self._pipe.write(line.encode() + b"\n")
        await anyio.lowlevel.checkpoint_if_cancelled()

    async def aclose(self) -> None:
        """Nothing to do: the input is closed when the process is stopped."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        await self.aclose()


class _Reader:
    """Takes the process's output apart."""

    def __init__(self, server: McpServer, child: Child, send: MemoryObjectSendStream[Incoming]) -> None:
        self._server = server
        self._child = child
        self._send = send
        self._complaint = ""
        self._last: deque[str] = deque(maxlen=_KEPT_LINES)
        """The end of standard error. Standard output is other jobs' business."""
        self._pieces: dict[Output, list[bytes]] = {output: [] for output in Output}
        self._sizes = dict.fromkeys(Output, 0)

    def why(self) -> str:
        """Say why there will be no more messages."""
        told = self._complaint or f"its process ended: {self._child.exit or 'no exit seen'}"
        return self._server.redactor.clean("\n".join([told, *self._last]))

    async def run(self, ended: anyio.Event) -> None:
        """Read until the process ends or its output makes no sense any more."""
        async with self._send:
            try:
                await self._read()
                await self._child.rest(_PARTING_SEC)
                if not self._child.running:
                    await self._child.wait()
                elif not self._complaint:
                    self._complaint = "it closed its standard output"
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                pass  # the session is gone first
            finally:
                ended.set()

    async def _read(self) -> None:
        while pieces := await self._child.read():
            for output, data in pieces:
                for line in self._lines(output, data):
                    if output is Output.STDERR:
                        self._tell(line)
                    else:
                        await self._hand_over(line)
            if self._sizes[Output.STDOUT] > _MAX_LINE:
                self._complaint = f"it sent a message of more than {_MAX_LINE} bytes"
                return

    def _lines(self, output: Output, data: bytes) -> list[bytes]:
        """Return the lines that ``data`` completes."""
        first, *rest = data.split(b"\n")
        waiting = self._pieces[output]
        if output is Output.STDOUT or self._sizes[output] < _NOISE:  # a progress bar is one line without an end
            waiting.append(first)
            self._sizes[output] += len(first)
        if not rest:
            return []
        lines = [b"".join(waiting), *rest[:-1]]
        self._pieces[output] = [rest[-1]]
        self._sizes[output] = len(rest[-1])
        return lines

    async def _hand_over(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            message = jsonrpc_message_adapter.validate_json(line, by_name=False)
        except ValueError:
            self._tell(b"not a message on standard output: " + line)
            return
        await self._send.send(SessionMessage(message))

    def _tell(self, line: bytes) -> None:
        text = line[:_NOISE].decode(errors="replace").rstrip()
        self._last.append(text)
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("MCP server %s: %s", self._server.name, self._server.redactor.clean(text))
