"""What a helper process does: it evaluates what it is asked over a socket, one expression at a time.

It has limits of its own, and the kernel ends it with the daemon, in the middle of an expression too.
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import select
import socket
from typing import Final

from jobworkerp_standalone.jobs.json_fragments import fragments_of
from jobworkerp_standalone.workflow.expressions import jq_engine, liquid_engine
from jobworkerp_standalone.workflow.expressions.failure import EvaluationFailed
from jobworkerp_standalone.workflow.expressions.helper_wire import (
    DONE,
    FAILED,
    FRAGMENT,
    JQ,
    NUMBER,
    READY,
    REPLY,
    REQUEST,
    SCHEMA,
    Limits,
)
from jobworkerp_standalone.workflow.expressions.values import JSON, one_of
from jobworkerp_standalone.workflow.violations import violations_of_text

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_SPARE_CPU_SEC: Final = 2
"""The daemon's time limit comes first."""


def serve(channel: socket.socket, lifeline: int, limits: Limits) -> None:
    """Answer until the other side closes."""
    end_with(lifeline)
    with open("/proc/self/statm", encoding="ascii") as file:
        mapped = int(file.read().split()[0]) * _PAGE
    most = _allowed(resource.RLIMIT_AS, mapped + limits.memory_bytes)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    _reply(channel, READY, NUMBER.pack(os.getpid()))
    while header := _exactly(channel, REQUEST.size):
        kind, program_size, input_size = REQUEST.unpack(header)
        data = _exactly(channel, program_size + input_size)
        _limit_cpu(int(limits.seconds) + _SPARE_CPU_SEC)
        answer = _answer(kind, data[:program_size].decode(), data[program_size:].decode(), limits.result_bytes)
        _reply(channel, *answer)


def end_with(lifeline: int) -> None:
    """Have the kernel end this process when the daemon closes the other end of a pipe, as its own end does too.

    A thread, or a look at the socket, would not do: nothing of Python runs while jq does.
    """
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)  # SIGIO, which is fatal
    poll = select.poll()  # select(2) takes no descriptor above 1023
    poll.register(lifeline, select.POLLIN)
    if poll.poll(0):
        raise SystemExit


def _answer(kind: int, program: str, data: str, result_bytes: int) -> tuple[int, bytes]:
    try:
        return DONE, _written(_value(kind, program, data), result_bytes)
    except EvaluationFailed as error:
        return FAILED, str(error).encode()
    except MemoryError:
        return FAILED, b"it needs too much memory"
    except (ValueError, RecursionError) as error:
        return FAILED, f"the result cannot be written as JSON: {error}".encode()


def _value(kind: int, program: str, data: str) -> JSON:
    if kind == JQ:
        return one_of(jq_engine.run(program, data))
    given = json.loads(data)
    return [*violations_of_text(program, given)] if kind == SCHEMA else liquid_engine.render(program, given)


def _written(value: JSON, limit: int) -> bytes:
    written = bytearray()
    size = 0
    for kind, text in fragments_of(value):
        size += len(text)
        if size > limit:
            raise EvaluationFailed(f"the result is larger than {limit:,} bytes (WORKFLOW_EXPRESSION_MAX_BYTES)")
        written += FRAGMENT.pack(kind, len(text)) + text.encode()
    return bytes(written)


def _limit_cpu(seconds: int) -> None:
    """Have the kernel end this process where one request takes longer."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = _allowed(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _allowed(limit: int, wanted: int) -> int:
    """Return what is wanted, or the hard limit where that is less: without privileges nobody can raise it."""
    hard = resource.getrlimit(limit)[1]
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)


def _reply(channel: socket.socket, outcome: int, body: bytes) -> None:
    channel.sendall(REPLY.pack(outcome, len(body)) + body)


def _exactly(channel: socket.socket, size: int) -> bytes:
    """Read so many bytes; nothing at the end."""
    pieces = bytearray()
    while len(pieces) < size:
        piece = channel.recv(min(size - len(pieces), 1 << 20))
        if not piece:
            return b""
        pieces += piece
    return bytes(pieces)
