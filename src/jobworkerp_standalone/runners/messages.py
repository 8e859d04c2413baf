"""The settings of a worker and the args of a job, read as the messages of their runner."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import DecodeError, Message

from jobworkerp_standalone.jobs.errors import BadInput, Fatal


def settings_of(kind: type[Message], data: bytes) -> Any:
    """Return the settings of a worker.

    Raises:
        Fatal: the bytes are no such message.
    """
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise Fatal(f"the settings are not a {kind.DESCRIPTOR.full_name}: {error}") from error


def args_of(kind: type[Message], data: bytes) -> Any:
    """Return the args of a job.

    Raises:
        BadInput: the bytes are no such message.
    """
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise BadInput(f"the args are not a {kind.DESCRIPTOR.full_name}: {error}") from error
