"""What can go wrong on the client's side of a call.

::

    ClientError
    +-- Unreachable        no connection: nothing listens there, the name is unknown, TLS fails, the line broke
    +-- CallFailed         the server answered with a status other than OK; carries status, message, trailers
    +-- NoSuch             a worker, runner or method that was named does not exist
    +-- DoesNotFit         JSON that does not fit the schema it is meant for, or a schema that is none
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

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
