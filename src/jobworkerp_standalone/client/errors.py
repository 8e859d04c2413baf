"""What can go wrong on the client's side of a call.

::

    ClientError
    +-- Unreachable        no connection: nothing listens there, the name is unknown, TLS fails, the line broke
    +-- CallFailed         the server answered with a status other than OK; carries status, message, trailers
    +-- NoSuch             a worker, runner or method that was named does not exist
    +-- DoesNotFit         JSON that does not fit the schema it is meant for, or a schema that is none
    +-- JobFailed          a job ended, and not with success; carries status, text, job_id
        +-- WorkflowFaulted    a workflow ended with an error that nothing caught; carries error
        +-- WorkflowInvalid    a workflow that cannot be run, or whose input does not fit its schema
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from grpclib.const import Status

Metadata = Mapping[str, str | bytes]
"""Headers or trailers of a call; values of ``-bin`` keys are bytes."""
NO_METADATA: Final[Metadata] = MappingProxyType({})


class ClientError(Exception):
    """Root of everything the client raises on purpose."""


class Unreachable(ClientError):
    """There is no connection to the server, or it broke."""


class CallFailed(ClientError):
    """The server refused a call, or a stream ended with an error."""

    def __init__(self, status: Status, message: str, trailers: Metadata = NO_METADATA) -> None:
        super().__init__(f"{status.name}: {message}" if message else status.name)
        self.status = status
        self.message = message
        self.trailers = trailers


class NoSuch(ClientError):
    """Something was named that the server does not have."""


class DoesNotFit(ClientError, ValueError):
    """A value cannot be encoded with its schema; the message names the field."""


class JobFailed(ClientError):
    """A job ended, and not with success."""

    def __init__(self, status: str, text: str, job_id: int) -> None:
        super().__init__(f"job {job_id} ended with {status}{': ' * bool(text)}{text}")
        self.status = status
        """Name of the ``ResultStatus``, for example ``FATAL_ERROR``."""
        self.text = text
        """What the runner says about it."""
        self.job_id = job_id


class WorkflowFaulted(JobFailed):
    """A workflow ended with an error that nothing caught."""

    def __init__(self, status: str, error: Mapping[str, Any], text: str, job_id: int) -> None:
        super().__init__(status, text, job_id)
        self.error = error
        """The error of the DSL: type, status, title, detail, instance."""


class WorkflowInvalid(JobFailed):
    """A workflow that cannot be run as it is written, or whose input does not fit its schema."""
