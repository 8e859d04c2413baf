"""``listen``: waits for events."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Mapping
from typing import Any, cast

import anyio.lowlevel

from jobworkerp_standalone.jobs.json_size import size_up_to
from jobworkerp_standalone.runners.bus import Event, Overrun
from jobworkerp_standalone.workflow.errors import Standard
from jobworkerp_standalone.workflow.events.matching import Matcher, Observations
from jobworkerp_standalone.workflow.events.strategy import Hearing, Taken
from jobworkerp_standalone.workflow.expressions.template import Template
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.flow import execute_tasks, take_turns
from jobworkerp_standalone.workflow.model.events import interest_of
from jobworkerp_standalone.workflow.model.tasks import Foreach, ListenTask
from jobworkerp_standalone.workflow.model.values import Directive
from jobworkerp_standalone.workflow.progress import Known
from jobworkerp_standalone.workflow.state import NO_LOCALS, Outcome, Spot, TaskState, Trail
from jobworkerp_standalone.workflow.workflow_run import WorkflowRun


async def execute(run: WorkflowRun, state: TaskState, spot: Spot) -> Outcome:
    """Wait for events, and return them, or what was made of each of them, in the order in which they came."""
    task = cast("ListenTask", state.task)
    listener = _Listener(run, state, spot)
    with run.inbox.listening(spot.key, interest_of(task.to)) as ear:
        run.notices.correlating()
        await anyio.lowlevel.checkpoint()  # listeners that are begun beside this one are to hear the same
        await run.inbox.settled()
        try:
            outcome = await listener.go_on()
            while outcome is None:
                outcome = await listener.hear(await ear.next())
                await take_turns(run)
        except Overrun as error:
            raise Standard.RUNTIME.error("The listener is too slow", str(error)) from error
    run.notices.correlated(listener.correlated)
    return outcome


class _Listener:
    """One execution of the task."""

    def __init__(self, run: WorkflowRun, state: TaskState, spot: Spot) -> None:
        self._run = run
        self._state = state
        self._spot = spot
        self._task = cast("ListenTask", state.task)
        self._matcher = Matcher(Observations(self._look, state.input))
        self._hearing = Hearing(self._task.to, self._matcher)
        self._forever = self._task.to.forever
        """What was read and made of it is of no use then: nothing ever looks at it."""
        self._before = run.progress.snapshot(spot.branch)
        self._count = 0
        """Of the events that were taken."""
        self._index = 0
        """Of the next one that is no part of ``until``."""
        self._outputs: list[JSON] = []
        self._read: list[JSON] = self._outputs if self._task.foreach is None else []
        self._size = 0
        """Of both together."""

    @property
    def correlated(self) -> Mapping[str, JSON]:
        """The values by which events belong together."""
        return self._matcher.correlated

    async def go_on(self) -> Outcome | None:
        """Take again what an earlier life of the run has taken; how the task ends, if that was enough."""
        progress, key = self._run.progress, self._spot.key
        if (counted := progress.counted(key, self._spot.branch)) is not None:
            self._count = self._index = counted[0]
            self._matcher.correlated.update(cast("dict[str, JSON]", counted[1]))
        outcome: Outcome | None = None
        while outcome is None and (record := progress.taken(key, self._count)) is not None:
            outcome = await self._again(record)
        return outcome

    async def hear(self, event: Event) -> Outcome | None:
        """Look at an event; how the task ends, if that was the last one."""
        taken = await self._hearing.takes(event)
        self._run.inbox.looked(event, self._spot.key, took=taken is not None)
        if taken is None:
            return None
        record = {"event": event, "by": list(taken), "correlated": dict(self._matcher.correlated)}
        await self._run.progress.take(self._spot.key, self._count, record)
        return await self._work(event, taken, record)

    async def _again(self, record: Mapping[str, Any]) -> Outcome | None:
        taken = Taken(*record["by"])
        self._hearing.took(taken)
        self._matcher.correlated.update(record["correlated"])
        if "output" not in record:
            return await self._work(record["event"], taken, record)
        Known(record).restore(self._spot.branch)
        self._keep(read_as(self._task.read, record["event"]), record["output"])
        return await self._ended()

    async def _work(self, event: Event, taken: Taken, record: Mapping[str, Any]) -> Outcome | None:
        """Do what is to be done with an event that was taken."""
        if taken.until:
            self._count += 1
            return await self._ended()
        value, spot, progress = read_as(self._task.read, event), self._spot, self._run.progress
        output, before = value, progress.snapshot(spot.branch)
        if (foreach := self._task.foreach) is not None:
            here = spot.in_loop(str(self._count), {foreach.item: value, foreach.at: self._index})
            outcome = Outcome(value)
            if foreach.do is not None:
                outcome = await execute_tasks(self._run, foreach.do, Trail(value), here)
                if outcome.then is Directive.END:
                    return outcome
            output = await self._shaped(foreach, outcome.output, here)
        number = self._count
        self._keep(value, output)
        if self._forever:
            correlated = dict(self._matcher.correlated)
            await progress.count(spot.key, self._count, cast("JSON", correlated), (spot.branch, self._before))
        elif foreach is not None:
            await progress.take(spot.key, number, {**record, "output": output}, (spot.branch, before))
        return await self._ended()

    def _keep(self, value: JSON, output: JSON) -> None:
        self._count += 1
        self._index += 1
        if not self._forever:
            self._gather(self._outputs, output)
        if self._hearing.looks_back and self._read is not self._outputs:
            self._gather(self._read, value)

    def _gather(self, into: list[JSON], value: JSON) -> None:
        limit = self._run.tools.room.size
        self._size += size_up_to(limit, (value,))
        if into and self._size > limit:
            raise Standard.RUNTIME.error(
                "The listener gathers too much",
                f"what it took has more than {limit:,} bytes (WORKFLOW_EVENTS_KEPT_BYTES); foreach with until: false "
                "gathers nothing",
            )
        into.append(value)

    async def _ended(self) -> Outcome | None:
        if not await self._hearing.is_over(self._read):
            return None
        return Outcome(await self._run.gathered(self._outputs, self._task))

    async def _shaped(self, foreach: Foreach, value: JSON, here: Spot) -> JSON:
        self._state.raw_output = self._state.output = value
        if foreach.output is not None:
            self._state.output = await self._run.transformed_output(
                foreach.output, self._state, here, "/foreach/output"
            )
        if foreach.export is not None:
            await self._run.export(foreach.export, self._state, here, "/foreach/export")
        return self._state.output

    async def _look(self, template: Template, dot: JSON, place: str, more: Mapping[str, JSON] = NO_LOCALS) -> JSON:
        spot = self._spot if not more else self._spot._replace(locals={**self._spot.locals, **more})
        here = place.removeprefix(self._task.origin.pointer)
        return await self._run.value(template, self._state, spot, dot, here)


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
    except (ValueError, RecursionError):
        return cast("JSON", event["data_base64"])
