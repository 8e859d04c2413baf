"""``schedule.on``: events that start a workflow.

Events are gathered as a listener would take them. What was gathered, an array, is the input of a run, and gathering
begins anew. Events that belong to none of the gatherings begin another one, so that those of two orders do not get
into each other's way. What goes wrong here is logged and touches no run.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import anyio

from jobworkerp_standalone import __version__
from jobworkerp_standalone.jobs.errors import BadInput, Exhausted, RequestError, StorageError, Unavailable
from jobworkerp_standalone.jobs.model import Worker
from jobworkerp_standalone.runners.bus import Ear, Event, EventBus, Overrun, Published, Room
from jobworkerp_standalone.runners.host import Host
from jobworkerp_standalone.runners.interest import LIFECYCLE
from jobworkerp_standalone.runners.spec import Ready, Start
from jobworkerp_standalone.schema.messages import message_class
from jobworkerp_standalone.workflow.documents import context_of, document_of
from jobworkerp_standalone.workflow.events.abreast import Abreast
from jobworkerp_standalone.workflow.events.matching import Matcher, Observations
from jobworkerp_standalone.workflow.events.strategy import Hearing
from jobworkerp_standalone.workflow.expressions.errors import ExpressionError
from jobworkerp_standalone.workflow.expressions.evaluator import Evaluator
from jobworkerp_standalone.workflow.expressions.scope import Scope
from jobworkerp_standalone.workflow.expressions.template import Template
from jobworkerp_standalone.workflow.expressions.turns import turns_of
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.expressions.variables import Variables, runtime_value
from jobworkerp_standalone.workflow.json_writer import json_text
from jobworkerp_standalone.workflow.lifecycle import source_of
from jobworkerp_standalone.workflow.model.document import Workflow
from jobworkerp_standalone.workflow.model.events import Consumption, interest_of
from jobworkerp_standalone.workflow.state import NO_LOCALS
from jobworkerp_standalone.workflow.workflow_job import Shared

_SETTINGS: Final[Any] = message_class("jobworkerp.runner.WorkflowRunnerSettings")
_ARGS: Final[Any] = message_class("jobworkerp.runner.WorkflowRunArgs")
_NAMED: Final = 5
_AGAIN_SEC: Final = 1.0
"""How long to wait before a run is started again that could not be taken just now."""
_log = logging.getLogger(__name__)


async def stand(host: Host, worker: Worker, start: Start, ready: Ready) -> None:
    """Start runs of a worker by events, if its document says so. ``Standing.run`` of WORKFLOW."""
    message = _SETTINGS.FromString(worker.runner_settings)
    if not message.HasField("workflow_data"):
        return
    try:
        document = (await document_of(message, host.shared(Shared).sources)).document
        context = await context_of(message, "the settings")
    except BadInput as error:
        _log.warning("worker %r is not started by events: %s", worker.name, error)
        return
    if document is not None and document.schedule is not None and document.schedule.on is not None:
        await _Trigger(host, worker.name, document, document.schedule.on, context, start).run(ready)


class _Gathering:
    """Events that will start one run."""

    def __init__(self, on: Consumption, observations: Observations) -> None:
        self._hearing = Hearing(on, Matcher(observations))
        self.events: list[Event] = []
        self.size = 0
        """Of all of them."""

    @property
    def named(self) -> str:
        """The first of them, for people."""
        names = [f"{each['id']!r:.100} of {each['source']!r:.100}" for each in self.events[:_NAMED]]
        return ", ".join([*names, "..."] if len(self.events) > _NAMED else names)

    async def takes(self, published: Published) -> bool:
        """Tell whether an event belongs here, and take it."""
        taken = await self._hearing.takes(published.event)
        if taken is not None and not taken.until:
            self.events.append(published.event)
            self.size += published.size
        return taken is not None

    async def is_over(self) -> bool:
        """Tell whether a run can start."""
        return await self._hearing.is_over([dict(event) for event in self.events])


class _Look:
    """Evaluates what stands in the schedule of a document: there is no run whose variables could be seen."""

    def __init__(self, evaluator: Evaluator, document: Workflow, context: Mapping[str, JSON]) -> None:
        self._evaluator = evaluator
        self._runtime = runtime_value(document.name, __version__, dict(document.metadata))
        self._context = context

    async def __call__(self, template: Template, dot: JSON, place: str, more: Mapping[str, JSON] = NO_LOCALS) -> JSON:
        """Return the value of a template.

        Raises:
            ExpressionError: it failed; the error has its place in the document.
        """
        variables = Variables({"runtime": lambda: self._runtime}, more, self._context)
        try:
            return await self._evaluator.value(template, Scope(dot, variables))
        except ExpressionError as error:
            raise ExpressionError(error.text, error.reason, place + error.path) from error


class _Trigger:
    """Starts the runs of one worker."""

    def __init__(
        self, host: Host, name: str, document: Workflow, on: Consumption, context: Mapping[str, JSON], start: Start
    ) -> None:
        self._bus = host.shared(EventBus)
        self._room = Room.of(host.settings)
        self._name = name
        self._own = source_of(document)
        self._on = on
        self._observations = Observations(_Look(host.shared(Evaluator), document, context), None)
        self._start_job = start
        self._abreast = Abreast()
        self._open: list[_Gathering] = []
        self._forgotten = 0
        """Gatherings."""

    async def run(self, ready: Ready) -> None:
        """Start runs until cancelled."""
        with turns_of(self._name):
            await self._run(ready)

    async def _run(self, ready: Ready) -> None:
        while True:
            ear = Ear[Published](self._room)
            keep = self._abreast.caught_up  # so whoever publishes knows that a run has been accepted
            with self._bus.heard_by(partial(self._put, ear), interest_of(self._on), keep):
                ready()
                try:
                    await self._follow(ear)
                except Overrun as overrun:
                    _log.error(
                        "events that start worker %r came faster than its runs could be started, and some are lost: %s",
                        self._name,
                        overrun,
                    )

    def _put(self, ear: Ear[Published], published: Published) -> None:
        self._abreast.came()
        ear.put(published, published.size)

    async def _follow(self, ear: Ear[Published]) -> None:
        try:
            while True:
                published = await ear.next()
                event = published.event
                # How its own runs are doing starts no further ones: that would never end.
                if not (event["type"].startswith(LIFECYCLE) and event["source"] == self._own):
                    await self._offer(published)
                self._abreast.looked()
                await anyio.lowlevel.checkpoint()
        finally:
            self._abreast.lost()
            if ear.waiting:
                _log.warning("%d events that might have started worker %r are not looked at", ear.waiting, self._name)

    async def _offer(self, published: Published) -> None:
        event = published.event
        try:
            for gathering in [*self._open, _Gathering(self._on, self._observations)]:
                if await gathering.takes(published):
                    await self._took(gathering)
                    return
        except ExpressionError as error:
            _log.warning("event %s of %s does not start worker %r: %s", event["id"], event["source"], self._name, error)

    async def _took(self, gathering: _Gathering) -> None:
        if not gathering.events:  # it would be over without any
            return
        if await gathering.is_over():
            self._open = [each for each in self._open if each is not gathering]
            await self._start(gathering.events)
            return
        if gathering not in self._open:
            self._open.append(gathering)
        while problem := self._room.problem(
            sum(len(each.events) for each in self._open), sum(each.size for each in self._open)
        ):
            self._forget(self._open.pop(0), problem)

    def _forget(self, gathering: _Gathering, problem: str) -> None:
        self._forgotten += 1
        if self._forgotten.bit_count() == 1:  # the 1st, 2nd, 4th, 8th: where nothing fits together, all are forgotten
            _log.warning(
                "%d events that wait for others to start worker %r with are forgotten (%s), the %d. time: %s",
                len(gathering.events),
                self._name,
                gathering.named,
                self._forgotten,
                problem,
            )

    async def _start(self, events: list[Event]) -> None:
        given = json_text([dict(event) for event in events])
        args = _ARGS(input=given).SerializeToString()
        told = False
        while True:
            try:
                await self._start_job(args)
            except (Exhausted, Unavailable, StorageError) as error:
                if not told:
                    _log.warning("a run of worker %r waits for being started by events: %s", self._name, error)
                told = True
                self._abreast.let_go()
                await anyio.sleep(_AGAIN_SEC)
            except RequestError as error:
                _log.error("worker %r cannot be started by events: %s", self._name, error)
                return
            else:
                return
