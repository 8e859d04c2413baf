"""``listen``: waits for events."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import cast

from jobworkerp_standalone.runners.bus import Event, Overrun
from jobworkerp_standalone.workflow.errors import Standard
from jobworkerp_standalone.workflow.events.matching import Matcher
from jobworkerp_standalone.workflow.events.strategy import Strategy
from jobworkerp_standalone.workflow.expressions.template import Template
from jobworkerp_standalone.workflow.expressions.values import JSON, is_true
from jobworkerp_standalone.workflow.flow import Trail, run_list
from jobworkerp_standalone.workflow.model.events import Consumption, types_of
from jobworkerp_standalone.workflow.model.tasks import Foreach, ListenTask
from jobworkerp_standalone.workflow.model.values import Directive
from jobworkerp_standalone.workflow.run import Run
from jobworkerp_standalone.workflow.state import Outcome, Spot, TaskState


async def run(run: Run, state: TaskState, spot: Spot) -> Outcome:
    """Wait for events, and return them, or what was made of each of them, in the order in which they came."""
    task = cast("ListenTask", state.task)
    inbox = run.inbox
    with inbox.listening(types_of(task.to)) as ear:
        listener = _Listener(run, state, spot)
        try:
            while True:
                event = await ear.next()
                if await listener.takes(event):
                    inbox.taken(event)
                if listener.outcome is not None:
                    return listener.outcome
        except Overrun as error:
            raise Standard.RUNTIME.error("The listener is too slow", f"{error} (WORKFLOW_EVENTS_KEPT)") from error


class _Listener:
    """One execution of the task."""

    def __init__(self, run: Run, state: TaskState, spot: Spot) -> None:
        self._run = run
        self._state = state
        self._spot = spot
        self._task = cast("ListenTask", state.task)
        matcher = Matcher(run, state, spot)
        to = self._task.to
        self._to = Strategy(to, matcher)
        self._until = Strategy(to.until, matcher) if isinstance(to.until, Consumption) else None
        self._goes_on = to.forever or to.until is not None
        self._read: list[JSON] = []
        self._outputs: list[JSON] = []
        self.outcome: Outcome | None = None
        """Set once the task is over."""

    async def takes(self, event: Event) -> bool:
        """Look at an event; whether it was one of those that are waited for."""
        if self._until is not None and await self._until.takes(event):
            if self._until.fulfilled:
                self.outcome = Outcome(self._outputs)
            return True
        if not await self._to.takes(event):
            return False
        value = read_as(self._task.read, event)
        self._read.append(value)
        ended = await self._each(value, event)
        if ended is not None:
            self.outcome = ended
        elif await self._is_over():
            self.outcome = Outcome(self._outputs)
        return True

    async def _is_over(self) -> bool:
        if not self._goes_on:
            return self._to.fulfilled
        until = self._task.to.until
        if not isinstance(until, Template):
            return False
        return is_true(await self._run.value(until, self._state, self._spot, self._read, "/listen/to/until"))

    async def _each(self, value: JSON, event: Event) -> Outcome | None:
        """Do what is to be done with each event; an outcome where the whole run is to end."""
        foreach = self._task.foreach
        if foreach is None:
            self._outputs.append(value)
            return None
        index = len(self._outputs)
        # Named after the event, so that a later life of the run takes nothing for known that was about another one.
        name = f"{index}:{event['source']}:{event['id']}"
        here = self._spot.in_loop(name.replace("/", "~"), {foreach.item: value, foreach.at: index})
        outcome = Outcome(value)
        if foreach.do is not None:
            outcome = await run_list(self._run, foreach.do, Trail(value), here)
            if outcome.then is Directive.END:
                return outcome
        self._outputs.append(await self._shaped(foreach, outcome.output, here))
        return None

    async def _shaped(self, foreach: Foreach, value: JSON, here: Spot) -> JSON:
        self._state.raw_output = self._state.output = value
        if foreach.output is not None:
            self._state.output = await self._run.transformed_output(foreach.output, self._state, here)
        if foreach.export is not None:
            await self._run.export(foreach.export, self._state, here)
        return self._state.output


def read_as(form: str, event: Event) -> JSON:
    """Return an event as ``listen.read`` wants it: its data, all of it, or its data as they came."""
    if form == "envelope":
        return cast("JSON", dict(event))
    if "data_base64" not in event:
        return cast("JSON", event.get("data"))
    return cast("JSON", event["data_base64"]) if form == "raw" else _decoded(event)


def _decoded(event: Event) -> JSON:
    try:
        text = b64decode(event["data_base64"], validate=True).decode()
        return cast("JSON", json.loads(text)) if "json" in event.get("datacontenttype", "json") else text
    except ValueError:
        return cast("JSON", event["data_base64"])
