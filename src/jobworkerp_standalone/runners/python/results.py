"""Results of scripts as messages, whole and in pieces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from jobworkerp_standalone.runners.process import Exit, Output, decode
from jobworkerp_standalone.schema.messages import message_class

_RESULT: Final[Any] = message_class("jobworkerp.runner.PythonCommandResult")
_FIELD: Final = {Output.STDOUT: "output", Output.STDERR: "output_stderr"}
_KILLED: Final = -1


def encode(fields: Mapping[str, object]) -> bytes:
    """Build a ``PythonCommandResult``; what is None stays absent."""
    return _RESULT(**fields).SerializeToString()


def progress(line: str) -> bytes:
    """Return the stream item that tells of an environment's building."""
    return encode({"progress": line})


def piece(source: Output, text: str, raw: bytes | None) -> bytes:
    """Return the stream item for a piece of output."""
    name = _FIELD[source]
    return encode({name: text, f"{name}_bytes": raw})


def output_fields(stdout: bytes, stderr: bytes) -> dict[str, object]:
    """Return the fields of a whole output; an empty one of stderr stays absent."""
    out, raw_out = decode(stdout)
    err, raw_err = decode(stderr)
    return {"output": out, "output_bytes": raw_out, "output_stderr": err or None, "output_stderr_bytes": raw_err}


def closing_fields(end: Exit, elapsed_ms: int) -> dict[str, object]:
    """Return what is known once a script has ended."""
    return {"exit_code": _KILLED if end.code is None else end.code, "execution_time_ms": elapsed_ms}


class PythonCollector:
    """Puts stream items together: the result is what a run without streaming returns."""

    def __init__(self) -> None:
        self._outputs = (bytearray(), bytearray())
        self._closing: dict[str, object] = {}

    def add(self, item: bytes) -> None:
        """Take the next item."""
        result = _RESULT.FromString(item)
        for source, name in _FIELD.items():
            raw: bytes = getattr(result, f"{name}_bytes")
            self._outputs[source].extend(raw or getattr(result, name).encode())
        if result.HasField("execution_time_ms"):
            self._closing = {"exit_code": result.exit_code, "execution_time_ms": result.execution_time_ms}

    def result(self) -> bytes:
        """Return all of it as one ``PythonCommandResult``."""
        return encode(output_fields(*map(bytes, self._outputs)) | self._closing)
