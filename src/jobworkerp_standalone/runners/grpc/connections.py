"""Connections to other gRPC servers, shared by all jobs that call the same target."""

from __future__ import annotations

import asyncio
import ssl
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio.to_thread
from google.protobuf.descriptor_pool import DescriptorPool
from grpclib.client import Channel
from grpclib.config import Configuration
from grpclib.const import Cardinality, Status
from grpclib.encoding.base import CodecBase, StatusDetailsCodecBase
from grpclib.exceptions import GRPCError
from grpclib.metadata import Deadline
from multidict import MultiDict

from jobworkerp_standalone.jobs.errors import BadInput, Fatal, Retryable
from jobworkerp_standalone.net.calls import TidyStream
from jobworkerp_standalone.net.identity import BadIdentity
from jobworkerp_standalone.runners.grpc.metadata import Pairs
from jobworkerp_standalone.runners.grpc.target import Target
from jobworkerp_standalone.runners.host import Host

_KEPT: Final = 64
"""Connections that stay open although no job uses them."""
_PREFIX: Final = 5
PING_SEC: float = 330.0
"""How often a server is asked whether it is alive while calls wait for it. More than one ping in 300 s is an attack for
many servers."""
PONG_SEC: float = 20.0
"""A server that does not answer within this has lost its connection."""


class _Bytes(CodecBase):
    """Messages stay as they are."""

    @property
    def __content_subtype__(self) -> str:
        return "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:
        del message_type
        return message

    def decode(self, data: bytes, message_type: Any) -> Any:
        del message_type
        return data


class _RawDetails(StatusDetailsCodecBase):
    """Status details stay as they are."""

    def encode(self, status: Status, message: str | None, details: Any) -> bytes:
        del status, message
        return details

    def decode(self, status: Status, message: str | None, data: bytes) -> Any:
        del status, message
        return data


class RawStream(TidyStream[Any, Any]):
    """One call, in bytes. A message that is too long ends the call before it is read."""

    _channel: Connection

    async def recv_message(self) -> bytes | None:
        """Return the next message, None at the end."""
        if not self._recv_initial_metadata_done:
            await self.recv_initial_metadata()
        with self._wrapper:
            prefix = await self._stream.recv_data(_PREFIX)
            if not prefix:
                return None
            if prefix[0]:
                raise GRPCError(Status.UNIMPLEMENTED, "the answer is compressed although nobody asked for that")
            length = int.from_bytes(prefix[1:], "big")
            limit = self._channel.target.max_message_bytes
            if length > limit:
                raise GRPCError(
                    Status.RESOURCE_EXHAUSTED,
                    f"an answer of {length} bytes is over max_message_size ({limit} bytes) of the settings",
                )
            return await self._stream.recv_data(length)


class Connection(Channel):
    """One HTTP/2 connection; it is made at the first call, and anew after it broke."""

    def __init__(self, target: Target, tls: ssl.SSLContext | None) -> None:
        super().__init__(  # pyright: ignore[reportUnknownMemberType]
            target.host,
            target.port,
            codec=_Bytes(),
            status_details_codec=_RawDetails(),
            ssl=tls,
            config=Configuration(
                ssl_target_name_override=target.server_name or target.host,
                _keepalive_time=PING_SEC,
                _keepalive_timeout=PONG_SEC,
                _http2_max_pings_without_data=0,
            ),
        )
        self.target = target
        self.schemas: dict[str, DescriptorPool] = {}
        """What the server told of itself over this connection."""

    async def connected(self) -> None:
        """Connect where there is no connection.

        Raises:
            Retryable: there is no such server now.
        """
        limit = self.target.connect_timeout_ms
        if self._connected:
            return
        self.schemas.clear()  # whoever answers next may be another version of the server
        try:
            async with asyncio.timeout(limit / 1000 if limit else None):
                await self.__connect__()
        except TimeoutError as error:
            raise Retryable(f"no connection to {self.target} within {limit} ms (connection_timeout)") from error
        except ssl.SSLError as error:
            reason = getattr(error, "verify_message", None) or error.reason or error
            raise Retryable(f"no TLS connection to {self.target}: {reason}") from error
        except OSError as error:
            raise Retryable(f"no connection to {self.target}: {_reason(error)}") from error

    def call(
        self, method: str, metadata: Pairs, cardinality: Cardinality, deadline: Deadline | None = None
    ) -> RawStream:
        """Return a call that is not sent yet. ``method`` is ``/package.Service/Method``."""
        return RawStream(
            self,
            method,
            MultiDict[Any](metadata),  # pyright: ignore[reportArgumentType] - their type is private
            cardinality,
            bytes,
            bytes,
            codec=self._codec,
            status_details_codec=self._status_details_codec,
            dispatch=self.__dispatch__,
            deadline=deadline,
        )


class Connections:
    """All connections of the daemon's gRPC runners."""

    def __init__(self, _host: Host) -> None:
        self._open: OrderedDict[object, Connection] = OrderedDict()
        self._users: dict[object, int] = {}

    @asynccontextmanager
    async def lend(self, target: Target) -> AsyncIterator[Connection]:
        """Lend the connection to ``target``; others may call over it at the same time.

        Raises:
            Fatal: a certificate file cannot be used.
            BadInput: the client certificate of a job cannot be used.
        """
        key: object = target
        if target.tls:
            key = (target, await anyio.to_thread.run_sync(_versions, target))
        connection = self._open.get(key)
        if connection is None:
            tls = await anyio.to_thread.run_sync(_tls, target) if target.tls else None
            connection = self._open.setdefault(key, Connection(target, tls))
        self._open.move_to_end(key)
        self._users[key] = self._users.get(key, 0) + 1
        try:
            yield connection
        finally:
            self._users[key] -= 1
            self._close_idle()

    async def aclose(self) -> None:
        """Close all connections."""
        for connection in self._open.values():
            connection.close()
        self._open.clear()

    def _close_idle(self) -> None:
        if len(self._open) <= _KEPT:
            return
        for key in [key for key in self._open if not self._users.get(key)][: len(self._open) - _KEPT]:
            self._open.pop(key).close()
            self._users.pop(key, None)


def _versions(target: Target) -> tuple[int, ...]:
    """Return when each certificate file was written: a renewed one means a new connection."""
    paths = (target.ca_cert_path, target.client_cert_path, target.client_key_path)
    try:
        return tuple(Path(path).stat().st_mtime_ns for path in paths if path)
    except OSError as error:
        raise Fatal(f"{error.filename} of tls_config cannot be read: {error.strerror}") from error


def _tls(target: Target) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=target.ca_cert_path or None)
        if target.client_cert_path:
            # A password in any case: without one the library asks for it at the terminal.
            context.load_cert_chain(target.client_cert_path, target.client_key_path, password="")
        if target.identity:
            target.identity.load_into(context)
    except BadIdentity as error:
        raise BadInput(f"client_certificate: {error}") from error
    except (ssl.SSLError, OSError) as error:
        raise Fatal(f"the certificate files of tls_config cannot be used: {error}") from error
    context.set_alpn_protocols(["h2"])
    return context


def _reason(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError) or str(error).startswith("Multiple exceptions"):
        return "nothing listens there"
    return error.strerror or str(error)
