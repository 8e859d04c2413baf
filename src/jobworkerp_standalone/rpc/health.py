"""The standard health service (``grpc.health.v1``): the whole server under the empty name, and each of its services."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

from grpclib.const import Cardinality, Handler
from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from jobworkerp_standalone.jobs.errors import NotFound, Unavailable

HEALTH_NAME = "grpc.health.v1.Health"


class HealthBoard:
    """Whether the server serves. The daemon writes on it, the health service reads."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = frozenset(names)
        self.serving = False
        self.closed = False
        self._changed = asyncio.Event()

    def knows(self, name: str) -> bool:
        """Whether ``name`` is a service of this server, or the server itself."""
        return not name or name in self._names

    def set(self, *, serving: bool) -> None:
        """Say whether calls are served from now on; those who watch hear of it."""
        if serving is not self.serving:
            self.serving = serving
            self._notify()

    def close(self) -> None:
        """End every watch."""
        self.closed = True
        self._notify()

    async def change(self) -> None:
        """Wait for the next change."""
        await self._changed.wait()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class HealthRpc:
    """Answers from the board."""

    def __init__(self, board: HealthBoard) -> None:
        self._board = board

    def __mapping__(self) -> Mapping[str, Handler]:
        types = HealthCheckRequest, HealthCheckResponse
        return {
            f"/{HEALTH_NAME}/Check": Handler(self._check, Cardinality.UNARY_UNARY, *types),
            f"/{HEALTH_NAME}/Watch": Handler(self._watch, Cardinality.UNARY_STREAM, *types),
        }

    async def _check(self, stream: Any) -> None:
        request = await stream.recv_message()
        if not self._board.knows(request.service):
            raise NotFound(f"this server has no service {request.service!r}")
        await stream.send_message(HealthCheckResponse(status=self._state(request.service)))

    async def _watch(self, stream: Any) -> None:
        request = await stream.recv_message()
        told = None
        while True:
            if (state := self._state(request.service)) != told:
                told = state
                await stream.send_message(HealthCheckResponse(status=state))
            elif self._board.closed:
                raise Unavailable("server is stopping")
            else:
                await self._board.change()

    def _state(self, name: str) -> HealthCheckResponse.ServingStatus.ValueType:
        if not self._board.knows(name):
            return HealthCheckResponse.SERVICE_UNKNOWN
        return HealthCheckResponse.SERVING if self._board.serving else HealthCheckResponse.NOT_SERVING
