"""Events that workflows emit and listen for, from and to the outside."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, Final, cast

from jobworkerp_standalone import wire
from jobworkerp_standalone.engine.engine import Engine
from jobworkerp_standalone.jobs.cloud_events import problem_of
from jobworkerp_standalone.jobs.errors import Exhausted, InvalidRequest
from jobworkerp_standalone.rpc.service import Message, Reply, ServerStream, WireService
from jobworkerp_standalone.runners.bus import Ear, Event, Overrun

_AHEAD: Final = 10_000


class EventRpc(WireService):
    """The in-process event bus."""

    full_name = "jobworkerp.standalone.EventService"

    def __init__(self, engine: Engine) -> None:
        self._bus = engine.bus

    async def publish(self, request: Message, stream: ServerStream) -> Reply:
        """Hand events on, all or none of them."""
        events = [_event(number, text) for number, text in enumerate(request.events)]
        for event in events:
            self._bus.publish(event)
        return wire.message_type("jobworkerp.standalone.PublishResponse")()

    async def subscribe(self, request: Message, stream: ServerStream) -> AsyncIterator[Reply]:
        """Yield events as they come."""
        types, ear = frozenset[str](request.types), Ear(_AHEAD)

        def hear(event: Event) -> None:
            if not types or event["type"] in types:
                ear.put(event)

        reply = wire.message_type("jobworkerp.standalone.PublishedEvent")
        with self._bus.heard_by(hear):
            while True:
                try:
                    event = await ear.next()
                except Overrun as error:
                    raise Exhausted(f"{error}: read faster, or subscribe to fewer types") from error
                yield reply(event=json.dumps(event, separators=(",", ":")))


def _event(number: int, text: str) -> dict[str, Any]:
    try:
        event: Any = json.loads(text)
    except ValueError as error:
        raise InvalidRequest(f"events[{number}] is not JSON: {error}") from error
    problem = problem_of(cast("dict[str, Any]", event)) if isinstance(event, dict) else "it is no object"
    if problem is not None:
        raise InvalidRequest(f"events[{number}] is no CloudEvent: {problem}")
    return cast("dict[str, Any]", event)
