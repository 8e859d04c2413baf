"""COMMAND: runs a program, without a shell.

- ``args`` empty: ``command`` is split by the quoting rules of a POSIX shell; text that cannot be split (an open
  quote) is the program as a whole. Otherwise ``command`` is the program.
- Standard input is what the args give, else ``/dev/null``: never the daemon's own.
- Each line of output is kept; the result leaves out one line ending at the end, stream items keep all of them.
- Any exit is a success unless ``treat_nonzero_as_error`` is set.
- Cancelled or timed out: SIGTERM to the process group, 5 s later SIGKILL to everything in its session.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Protocol, Self

from google.protobuf.message import Message

from jobworkerp_standalone.jobs.errors import BadInput, Retryable
from jobworkerp_standalone.runners.base import Call, Collector, Runner, Send
from jobworkerp_standalone.runners.environment import ChildEnvironment
from jobworkerp_standalone.runners.host import Host
from jobworkerp_standalone.runners.messages import args_of
from jobworkerp_standalone.runners.process import (
    Child,
    Exit,
    MemoryWatch,
    Output,
    Program,
    Utf8Pieces,
    decode,
    launch,
    without_final_line_ending,
)
from jobworkerp_standalone.schema.messages import message_class

EXIT_ERROR_KEY: Final = "__command_exit_error"
"""In the trailer of a stream: the exit code was not among the good ones."""
_ARGS: Final = message_class("jobworkerp.runner.CommandArgs")
_RESULT: Final[Any] = message_class("jobworkerp.runner.CommandResult")
_PATIENCE_SEC: Final = 0.005
"""A command that ends within this time is read once, afterwards, without watching its pipes."""
_QUOTING: Final = re.compile(r"""['"\\]""")
_WORDS: Final = re.compile(r"[^ \t\r\n]+")
_CLOSING_FIELDS: Final = ("exit_code", "execution_time_ms", "started_at", "max_memory_usage_kb")


class _Args(Protocol):
    """``jobworkerp.runner.CommandArgs``."""

    command: str
    args: Sequence[str]
    with_memory_monitoring: bool
    treat_nonzero_as_error: bool
    success_exit_codes: Sequence[int]
    working_dir: str
    stdin: str
    environment: Mapping[str, str]


def make(host: Host) -> Runner:
    """Return a new instance."""
    return CommandRunner(host.child_environment, host.settings.command_output_max_bytes)


@dataclass(frozen=True, slots=True)
class _Order:
    """What one job asks for."""

    program: Program
    stdin: bytes
    monitored: bool
    good_codes: frozenset[int] | None
    """None: any exit will do."""

    @classmethod
    def read(cls, data: bytes, environment: ChildEnvironment) -> Self:
        """Decode the args of a job."""
        args: _Args = args_of(_ARGS, data)
        argv = [args.command, *args.args] if args.args else _split(args.command)
        return cls(
            Program(
                tuple(word.encode() for word in argv), environment.with_variables(args.environment), args.working_dir
            ),
            args.stdin.encode(),
            args.with_memory_monitoring,
            frozenset(args.success_exit_codes or (0,)) if args.treat_nonzero_as_error else None,
        )

    def complaint(self, child: Child, end: Exit) -> str | None:
        """Return the failure text if the exit is not a good one."""
        if self.good_codes is None or end.code in self.good_codes:
            return None
        good = ", ".join(map(str, sorted(self.good_codes)))
        return f"command {self.program.name!r} failed (good exit codes: {good}): {child.last_words}"


class CommandRunner(Runner):
    """Runs one program for each job. Nothing stays between jobs."""

    def __init__(self, environment: ChildEnvironment, output_limit: int) -> None:
        self._environment = environment
        self._output_limit = output_limit

    async def run(self, call: Call) -> bytes:
        """Run the program and return its ``CommandResult``."""
        order = _Order.read(call.args, self._environment)
        outputs = (bytearray(), bytearray())
        async with _Run(order, call, await launch(order.program, order.stdin)) as run:
            await run.child.rest(_PATIENCE_SEC)
            while pieces := await run.child.read():
                for output, data in pieces:
                    self._keep(outputs[output], data, run.child, output)
            end = await run.end()
        if complaint := order.complaint(run.child, end):
            raise Retryable(complaint)
        texts = _output_fields(*map(without_final_line_ending, outputs))
        return _encode(texts | run.closing_fields(end))

    async def stream(self, call: Call, send: Send) -> None:
        """Send output as it arrives, then one item that says how the program ended."""
        order = _Order.read(call.args, self._environment)
        async with _Run(order, call, await launch(order.program, order.stdin)) as run:
            await _send_output(run.child, send)
            end = await run.end()
        await send(_encode(run.closing_fields(end)))
        if complaint := order.complaint(run.child, end):
            call.trailer[EXIT_ERROR_KEY] = complaint
            raise Retryable(complaint)

    def collector(self, method: str) -> Collector:  # noqa: ARG002 - others have several methods
        """Return what puts the items of a stream together again."""
        return CommandCollector()

    def _keep(self, kept: bytearray, data: bytes, child: Child, output: Output) -> None:
        if len(kept) + len(data) > self._output_limit:
            child.kill()
            raise BadInput(
                f"the command wrote more than {self._output_limit} bytes to {output.name.lower()}: "
                "raise COMMAND_OUTPUT_MAX_BYTES, or read it as a stream, which has no limit"
            )
        kept += data


class CommandCollector:
    """Puts stream items together: the result is what a run without streaming returns."""

    def __init__(self) -> None:
        self._outputs = (bytearray(), bytearray())
        self._closing: dict[str, int] = {}

    def add(self, item: bytes) -> None:
        """Take the next item."""
        piece = _RESULT.FromString(item)
        for output in Output:
            self._outputs[output].extend(_output_of(piece, output.name.lower()))
        for name in _CLOSING_FIELDS:
            if piece.HasField(name):
                self._closing[name] = getattr(piece, name)

    def result(self) -> bytes:
        """Return all of it as one ``CommandResult``."""
        return _encode(_output_fields(*map(without_final_line_ending, self._outputs)) | self._closing)


class _Run:
    """A started command of one job: stopped if it is left early, which the job's last words then tell."""

    def __init__(self, order: _Order, call: Call, child: Child) -> None:
        self.child = child
        self._call = call
        self._memory = MemoryWatch(child.pid) if order.monitored else None

    async def end(self) -> Exit:
        """Wait for the exit."""
        end = await self.child.wait()
        if self._memory:
            self._memory.close()
        return end

    def closing_fields(self, end: Exit) -> dict[str, object]:
        """Return what is known of a command once it has ended."""
        return {
            "exit_code": end.code,
            "execution_time_ms": self.child.elapsed_ms,
            "started_at": self.child.started_at_ms,
            "max_memory_usage_kb": self._memory.peak_kb(end) if self._memory else None,
        }

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._memory and error is not None:
            self._memory.close()
        try:
            await self.child.__aexit__(kind, error, trace)
        finally:
            if error is not None:
                self._call.last_words = self.child.last_words


async def _send_output(child: Child, send: Send) -> None:
    """Send each piece of output when it is there. Nothing is read while a piece waits to be taken."""
    decoders = (Utf8Pieces(), Utf8Pieces())
    while pieces := await child.read():
        for output, data in pieces:
            await _send_text(output, *decoders[output].decode(data), send)
    for output in Output:
        await _send_text(output, *decoders[output].decode(b"", final=True), send)


async def _send_text(output: Output, text: str, raw: bytes | None, send: Send) -> None:
    if text:
        name = output.name.lower()
        await send(_encode({name: text, f"{name}_bytes": raw}))


def _split(command: str) -> list[str]:
    if not _QUOTING.search(command):
        return _WORDS.findall(command)
    try:
        return shlex.split(command)
    except ValueError:
        return [command]


def _output_fields(stdout: bytes, stderr: bytes) -> dict[str, object]:
    out, raw_out = decode(stdout)
    err, raw_err = decode(stderr)
    return {"stdout": out, "stderr": err, "stdout_bytes": raw_out, "stderr_bytes": raw_err}


def _output_of(piece: Message, name: str) -> bytes:
    """Return the bytes of one output in an item, as the program wrote them."""
    if piece.HasField(f"{name}_bytes"):
        return getattr(piece, f"{name}_bytes")
    return getattr(piece, name).encode()


def _encode(fields: Mapping[str, object]) -> bytes:
    """Build a ``CommandResult``; what is None stays absent."""
    return _RESULT(**fields).SerializeToString()
