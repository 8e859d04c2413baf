"""Events that workflows emit and listen for, from and to the outside."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

import anyio.to_thread

from jobworkerp_standalone import wire
from jobworkerp_standalone.engine.engine import Engine
from jobworkerp_standalone.engine.waiting import STOPPING
from jobworkerp_standalone.jobs.cloud_events import read
from jobworkerp_standalone.jobs.errors import Exhausted, InvalidRequest, Unavailable
from jobworkerp_standalone.rpc.service import Message, Reply, ServerStream, WireService
from jobworkerp_standalone.runners.bus import Ear, Overrun, Published, Room
from jobworkerp_standalone.runners.interest import LIFECYCLE, Interest

_log = logging.getLogger(__name__)
_AHEAD: Final = Room(10_000, 64 * 1024 * 1024)
"""How much waits for one that reads slowly."""
_AT_ONCE: Final = 65_536
"""Longer events are read in a thread."""


class EventRpc(WireService):
    """The in-process event bus."""

    full_name = "jobworkerp.standalone.EventService"

    def __init__(self, engine: Engine) -> None:
        self._bus = engine.bus

    async def publish(self, request: Message, stream: ServerStream) -> Reply:
        """Hand events on, all or none of them."""
        events = [await _event(number, text) for number, text in enumerate(request.events)]
        for event in events:
            if self._bus.closed:
                raise Unavailable(STOPPING)
            await self._bus.publish(event)
        return wire.message_type("jobworkerp.standalone.PublishResponse")()

    async def subscribe(self, request: Message, stream: ServerStream) -> AsyncIterator[Reply]:
        """Yield events as they come."""
        ear = Ear[Published](_AHEAD)

        def hear(event: Published) -> None:
            ear.put(event, event.size)

        reply = wire.message_type("jobworkerp.standalone.PublishedEvent")
        with self._bus.heard_by(hear, _interest(request.types)):
            while True:
                try:
                    event = await ear.next()
                except Overrun as error:
                    raise Exhausted(f"{error}: read faster, or subscribe to fewer types") from error
                try:
                    yield reply(event=await event.text())
                except RecursionError:
                    type_ = event.event["type"]
                    _log.warning("an event of type %s is nested too deeply for its subscribers", type_)


def _interest(types: Iterable[str]) -> Interest:
    """Return what is subscribed to: types, lifecycle events as a whole, or everything but those."""
    named = frozenset(types)
    lifecycle = f"{LIFECYCLE}*" in named
    return Interest(named, everything=not named, lifecycle=lifecycle)


async def _event(number: int, text: str) -> dict[str, Any]:
    try:
        return read(text) if len(text) <= _AT_ONCE else await anyio.to_thread.run_sync(read, text)
    except ValueError as error:
        raise InvalidRequest(f"events[{number}] {error}") from error
