"""The program of a helper process: evaluates what it is asked over a socket, one expression at a time.

It has limits of its own, so that it ends even if nobody is left to kill it.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import struct
from typing import Final

from jobworkerp_standalone.workflow.expressions import jq_program, liquid_program
from jobworkerp_standalone.workflow.expressions.errors import EvaluationFailed
from jobworkerp_standalone.workflow.expressions.values import one_of
from jobworkerp_standalone.workflow.violations import violations_of_text

REQUEST: Final = struct.Struct("<BII")
"""Kind, length of the program, length of the input; both follow as UTF-8."""
REPLY: Final = struct.Struct("<BI")
"""Outcome, length of the JSON value or message that follows."""
JQ: Final = 1
LIQUID: Final = 2
SCHEMA: Final = 3
DONE: Final = 0
FAILED: Final = 1
_NICE: Final = 5
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def main(descriptor: int, memory_bytes: int, cpu_sec: int, result_bytes: int) -> None:
    """Serve until the other side closes."""
    import jq  # noqa: F401, PLC0415 # pyright: ignore[reportUnusedImport] - loaded before the first request

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with open("/proc/self/statm", encoding="ascii") as file:
        mapped = int(file.read().split()[0]) * _PAGE
    resource.setrlimit(resource.RLIMIT_AS, (mapped + memory_bytes, mapped + memory_bytes))
    os.nice(_NICE)
    with socket.socket(fileno=descriptor) as channel:
        while header := _exactly(channel, REQUEST.size):
            kind, program_size, input_size = REQUEST.unpack(header)
            data = _exactly(channel, program_size + input_size)
            _limit_cpu(cpu_sec)
            outcome, text = _answer(kind, data[:program_size].decode(), data[program_size:].decode())
            reply = text.encode()
            if len(reply) > result_bytes:
                outcome, reply = FAILED, f"the result is larger than {result_bytes:,} bytes".encode()
            channel.sendall(REPLY.pack(outcome, len(reply)) + reply)


def _answer(kind: int, program: str, data: str) -> tuple[int, str]:
    try:
        if kind == JQ:
            return DONE, json.dumps(one_of(jq_program.run(program, data)))
        if kind == SCHEMA:
            return DONE, json.dumps(violations_of_text(program, json.loads(data)))
        return DONE, json.dumps(liquid_program.render(program, json.loads(data)))
    except EvaluationFailed as error:
        return FAILED, str(error)
    except MemoryError:
        return FAILED, "it needs too much memory"
    except (ValueError, RecursionError) as error:
        return FAILED, f"the result cannot be written as JSON: {error}"


def _limit_cpu(seconds: int) -> None:
    """Have the kernel end this process where one request takes longer."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


def _exactly(channel: socket.socket, size: int) -> bytes:
    """Read so many bytes; nothing at the end."""
    pieces = bytearray()
    while len(pieces) < size:
        piece = channel.recv(min(size - len(pieces), 1 << 20))
        if not piece:
            raise SystemExit
        pieces += piece
    return bytes(pieces)
