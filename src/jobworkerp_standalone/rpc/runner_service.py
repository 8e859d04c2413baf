"""RunnerService: the runner kinds of this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from jobworkerp_standalone import wire
from jobworkerp_standalone.engine.engine import Engine
from jobworkerp_standalone.engine.worker_rules import check_name
from jobworkerp_standalone.jobs.errors import FailedPrecondition, InvalidRequest
from jobworkerp_standalone.rpc.limits import MAX_ENUMS, few, limit_of, offset_of, text_of
from jobworkerp_standalone.rpc.service import Message, Reply, ServerStream, WireService
from jobworkerp_standalone.runners.builtin import BUILT_IN_MAX_ID
from jobworkerp_standalone.runners.origin import Definition
from jobworkerp_standalone.runners.spec import RunnerSpec

_DEFAULT_LIMIT: Final = 100
_PLUGIN: Final = 0
_MCP_SERVER: Final = 7
_SORT_KEYS: Final[dict[int, Callable[[RunnerSpec], Any]]] = {
    2: lambda spec: (spec.name, spec.id),
    3: lambda spec: (spec.type, spec.id),
    4: lambda spec: (spec.created_at_ms, spec.id),
}


class RunnerRpc(WireService):
    """What workers can be made of."""

    full_name = "jobworkerp.service.RunnerService"

    def __init__(self, engine: Engine) -> None:
        self._kinds = engine.catalog.kinds
        self._registry = engine.registry
        self._create_enabled = engine.settings.runner_create_enabled

    async def create(self, request: Message, stream: ServerStream) -> Reply:
        """Add a plugin or an MCP server at run time."""
        if not self._create_enabled:
            raise FailedPrecondition("creating runners is switched off (RUNNER_CREATE_ENABLED=false)")
        check_name("name", request.name)
        if request.runner_type not in (_PLUGIN, _MCP_SERVER):
            raise InvalidRequest(f"runner_type {request.runner_type} is built in; use PLUGIN (0) or MCP_SERVER (7)")
        if not request.definition.strip():
            raise InvalidRequest("definition is empty; give the plugin's path, or the MCP server's transport")
        definition = Definition(request.name, request.description, request.definition)
        reply = wire.message_type("jobworkerp.service.CreateRunnerResponse")()
        reply.id.value = await self._registry.create(request.runner_type, definition)
        return reply

    async def delete(self, request: Message, stream: ServerStream) -> Reply:
        """Remove a runner that came at run time. Built-in ones stay."""
        if request.value <= BUILT_IN_MAX_ID:
            raise InvalidRequest(f"runner {request.value} is built in (ids up to {BUILT_IN_MAX_ID}) and stays")
        reply = wire.message_type("jobworkerp.service.SuccessResponse")()
        reply.is_success = await self._registry.delete(request.value)
        return reply

    async def find(self, request: Message, stream: ServerStream) -> Reply:
        """Return a runner by id; nothing where there is none."""
        return _optional(self._kinds.get(request.value))

    async def find_by_name(self, request: Message, stream: ServerStream) -> Reply:
        """Return a runner by name; nothing where there is none."""
        return _optional(self._kinds.by_name(request.name))

    async def find_list(self, request: Message, stream: ServerStream) -> AsyncIterator[Reply]:
        """Yield runners, largest id first."""
        specs = sorted(self._kinds.all(), key=lambda spec: spec.id, reverse=True)
        if request.HasField("limit"):
            start = max(0, request.offset)
            specs = specs[start : start + max(0, request.limit)]
        for spec in specs:
            yield wire.runner_message(spec)

    async def count(self, request: Message, stream: ServerStream) -> Reply:
        """Return the number of runners."""
        return _count(len(self._kinds.all()))

    async def find_list_by(self, request: Message, stream: ServerStream) -> AsyncIterator[Reply]:
        """Yield runners that match."""
        limit, offset = limit_of(request, _DEFAULT_LIMIT), offset_of(request)
        specs = sorted(
            self._matching(request),
            key=_SORT_KEYS.get(request.sort_by, lambda spec: spec.id),
            reverse=not request.ascending,
        )
        for spec in specs[offset : None if limit is None else offset + limit]:
            yield wire.runner_message(spec)

    async def count_by(self, request: Message, stream: ServerStream) -> Reply:
        """Return how many runners match."""
        return _count(len(self._matching(request)))

    def _matching(self, request: Message) -> list[RunnerSpec]:
        few("runner_types", request.runner_types, MAX_ENUMS)
        prefix = (text_of(request, "name_filter") or "").lower()
        types = set(request.runner_types)
        return [
            spec
            for spec in self._kinds.all()
            if (not types or spec.type in types) and spec.name.lower().startswith(prefix)
        ]


def _optional(spec: RunnerSpec | None) -> Message:
    reply = wire.message_type("jobworkerp.service.OptionalRunnerResponse")()
    if spec is not None:
        reply.data.CopyFrom(wire.runner_message(spec))
    return reply


def _count(total: int) -> Message:
    reply = wire.message_type("jobworkerp.service.CountResponse")()
    reply.total = total
    return reply
