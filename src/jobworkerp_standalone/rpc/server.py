"""Binding the addresses, and closing in order: no new calls, open ones finish, the rest hear why, connections end."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import anyio

from jobworkerp_standalone.jobs.errors import SettingsError
from jobworkerp_standalone.rpc.edge import Calls, Cut, Reception, Services
from jobworkerp_standalone.rpc.first_bytes import FirstBytes, PlainAnswer, ProtocolFactory
from jobworkerp_standalone.rpc.health import HEALTH_NAME, HealthBoard, HealthRpc
from jobworkerp_standalone.rpc.protocol import EdgeProtocol
from jobworkerp_standalone.rpc.reflection import REFLECTION_NAMES, ReflectionRpc
from jobworkerp_standalone.settings import Address, Settings

_log = logging.getLogger(__name__)

_BACKLOG: Final = 1024
_GRACE_SEC: Final = 1.0
_LAST_WORD_SEC: Final = 1.0
"""How long the statuses of cut calls, and then the connections' last bytes, may take to leave."""
_READING_SEC: Final = 5.0
"""How long clients that are busy may take to read their last answers."""
_NO_IPV6: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


class Edge:
    """A server that is up."""

    def __init__(self, services: Services, settings: Settings, other: ProtocolFactory) -> None:
        names = _names(services)
        self.board = HealthBoard([*names, HEALTH_NAME, *REFLECTION_NAMES])
        generic = [HealthRpc(self.board), ReflectionRpc([*names, HEALTH_NAME, *REFLECTION_NAMES])]
        self.reception = Reception([*services, *generic], settings)
        self.connections: set[EdgeProtocol] = set()
        self._undecided: set[FirstBytes] = set()
        self.addresses: Sequence[Address] = ()
        """Where it listens, with real port numbers."""
        self._frame_bytes = settings.max_frame_size
        self._other = other

    def stopping(self) -> None:
        """Say that the end has begun: health answers NOT_SERVING, and cancelled calls hear why."""
        self.board.set(serving=False)
        self.reception.stopping = True

    def accept(self) -> asyncio.Protocol:
        """Return what looks at a new connection."""
        return FirstBytes(self._speak_http2, self._other, self._undecided)

    async def adopt(self, connection: socket.socket) -> None:
        """Serve one connection that is open already, such as half of a ``socket.socketpair``."""
        await asyncio.get_running_loop().connect_accepted_socket(self.accept, connection)

    async def drain(self, grace_sec: float) -> None:
        """Refuse new calls, let open ones finish, cut those that do not, close the connections."""
        self.stopping()
        self.reception.closed = True
        self.board.close()
        await _ended([call.task for call in self.reception.open], grace_sec)
        for call in list(self.reception.open):
            call.cut(Cut.STOPPING)
        await _ended([call.task for call in self.reception.open], _LAST_WORD_SEC)
        for undecided in list(self._undecided):
            undecided.abort()
        await _ended([connection.caught_up() for connection in self.connections], _READING_SEC)
        left = [connection.closed for connection in self.connections]
        for connection in list(self.connections):
            connection.close()
        await _ended(left, _LAST_WORD_SEC)
        for connection in list(self.connections):
            connection.abort()
        await _ended([call.task for call in self.reception.open], _LAST_WORD_SEC)

    def _speak_http2(self) -> EdgeProtocol:
        return EdgeProtocol(Calls(self.reception), self._frame_bytes, self.connections)


@asynccontextmanager
async def serve(
    services: Services, settings: Settings, *, other: ProtocolFactory = PlainAnswer, grace_sec: float = _GRACE_SEC
) -> AsyncGenerator[Edge, None]:
    """Serve on every address of the settings while entered; health and reflection come with it.

    On leaving, open calls get ``grace_sec`` to finish; those that do not are told UNAVAILABLE. ``other`` makes the
    protocol for connections that do not begin with HTTP/2.

    Raises:
        SettingsError: an address cannot be used.
    """
    edge = Edge(services, settings, other)
    listening = await _listen(edge, settings)
    try:
        edge.addresses = [_address(server) for server in listening]
        edge.board.set(serving=True)
        for server in listening:
            await server.start_serving()
        yield edge
    finally:
        for server in listening:
            server.close()
        with anyio.CancelScope(shield=True):
            await edge.drain(grace_sec)


async def _listen(edge: Edge, settings: Settings) -> list[asyncio.Server]:
    default = settings.grpc_addresses == Settings().grpc_addresses
    listening: list[asyncio.Server] = []
    try:
        for address in settings.grpc_addresses:
            try:
                listening.append(await _bind(edge, address))
            except OSError as error:
                if not (default and ":" in address.host and error.errno in _NO_IPV6):
                    raise SettingsError(_why(address, error)) from error
                _log.warning("not listening on %s: this machine has no IPv6", address)
    except BaseException:
        for server in listening:
            server.close()
        raise
    return listening


async def _bind(edge: Edge, address: Address) -> asyncio.Server:
    return await asyncio.get_running_loop().create_server(
        edge.accept, address.host, address.port, backlog=_BACKLOG, reuse_address=True, start_serving=False
    )


def _why(address: Address, error: OSError) -> str:
    reasons = {
        errno.EADDRINUSE: f"is in use; stop the program that has it, or choose another, e.g. {address.host}:0",
        errno.EACCES: "needs privileges; choose a port from 1024 up",
        errno.EADDRNOTAVAIL: "is not an address of this machine; 127.0.0.1 is, and 0.0.0.0 means all of them",
    }
    return f"GRPC_ADDR: {address} {reasons.get(error.errno or 0, f'cannot be used: {error.strerror or error}')}"


def _address(server: asyncio.Server) -> Address:
    host, port = server.sockets[0].getsockname()[:2]
    return Address(host, port)


def _names(services: Services) -> list[str]:
    return list(dict.fromkeys(path.split("/")[1] for service in services for path in service.__mapping__()))


async def _ended(waited: Sequence[asyncio.Future[None]], seconds: float) -> None:
    if waited:
        await asyncio.wait(waited, timeout=seconds)
