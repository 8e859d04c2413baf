"""Where workflows are run in tests: a whole daemon, documents as text, results as values."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from jobworkerp_standalone.schema.messages import message_class
from tests.support.house import STATUS, House, open_house
from tests.support.wire_client import build

WORKFLOW = 32_769
INLINE = 65_535
REUSABLE = -1
HEAD: Mapping[str, Any] = {"dsl": "1.0.3", "namespace": "t", "name": "flow", "version": "1.0.0"}
_ARGS: Any = message_class("jobworkerp.runner.WorkflowRunArgs")
_SETTINGS: Any = message_class("jobworkerp.runner.WorkflowRunnerSettings")
_RESULT: Any = message_class("jobworkerp.runner.WorkflowResult")
_STATES = ("Completed", "Faulted", "Cancelled", "Pending", "Running", "Waiting")


@dataclass
class Ended:
    """How a run ended."""

    status: str
    output: Any = None
    error: dict[str, Any] = field(default_factory=dict)
    position: str = ""
    id: str = ""
    job_id: int = 0
    job_status: str = "SUCCESS"
    text: str = ""


def document(text: str | Mapping[str, Any], **head: Any) -> str:
    """Return a document as text: what is given, with a valid ``document`` in front where it has none."""
    value = dict(yaml.safe_load(text) if isinstance(text, str) else text)
    if "document" not in value:
        value = {"document": {**HEAD, **head}, **value}
    return json.dumps(value)


@dataclass
class Stage:
    """A daemon with a WORKFLOW worker of each answer, and ways to run documents on it."""

    house: House

    async def run(self, text: str | Mapping[str, Any], given: Any = None, worker: str = "flow", **args: Any) -> Ended:
        """Run a document through WORKFLOW to its end. ``given``: the input; a ``str`` goes as it is."""
        message = self.args(text, given, **args)
        reply = await self.house.enqueue(message.SerializeToString(), worker=worker, using="run")
        return ended(reply.result.data, reply.id.value)

    async def start(self, text: str | Mapping[str, Any], given: Any = None, worker: str = "loose", **args: Any) -> int:
        """Start a document and return the id of its job."""
        message = self.args(text, given, **args)
        return (await self.house.enqueue(message.SerializeToString(), worker=worker, using="run")).id.value

    async def result(self, job_id: int, worker: str = "loose") -> Ended:
        """Wait for the end of a job."""
        return ended((await self.house.listen(job_id, worker)).data, job_id)

    async def stream(self, text: str | Mapping[str, Any], given: Any = None, **args: Any) -> list[Any]:
        """Run a document as a stream and return its items."""
        message = self.args(text, given, **args)
        answer = await self.house.client.items(
            "JobService.EnqueueForStream", worker_name="flow", args=message.SerializeToString(), using="run"
        )
        return [_RESULT.FromString(item.data) for item in answer.items if item.HasField("data")]

    async def worker(self, name: str, text: str, context: str | None = None, **fields: Any) -> None:
        """Make a worker whose settings hold a document."""
        settings = _SETTINGS(workflow_data=document(text), workflow_context=context)
        fields = {"response_type": 1, **fields}
        await self.house.worker(name, WORKFLOW, runner_settings=settings.SerializeToString(), **fields)

    async def events(self, job_id: int) -> list[Any]:
        """Return the events of a job, to its end."""
        request = build("jobworkerp.standalone.WatchRequest", job_id={"value": job_id})
        return (await self.house.client.items("WorkflowEventService.Watch", request)).items

    async def see_at_once(self, text: str | Mapping[str, Any], count: int) -> None:
        """Start a document whose waits never end, see so many of them begin, and end it."""
        job_id = await self.start(text, {})
        client, method, begun = self.house.client, "WorkflowEventService.Watch", 0
        async with client.open(method) as stream:
            await stream.send_message(client.request(method, None, {"job_id": {"value": job_id}}), end=True)
            while begun < count:
                event = client.reply(method, await stream.recv_message()).event
                begun += event.HasField("task_started") and event.task_started.task_type == "waitTask"
            await stream.cancel()
        assert await self.house.delete(job_id)
        assert (await self.result(job_id)).job_status == "CANCELLED"

    async def resume(self, job_id: int, **wish: Any) -> int:
        """Go on with a job and return the id of the one that does."""
        request = build("jobworkerp.standalone.ResumeRequest", job_id={"value": job_id}, **wish)
        return (await self.house.client.call("WorkflowService.Resume", request)).job_id.value

    async def waiting(self, **wanted: Any) -> list[int]:
        """Return the jobs whose runs wait."""
        request = build("jobworkerp.standalone.ListWaitingRequest", **wanted)
        return [
            run.job_id.value for run in (await self.house.client.items("WorkflowService.ListWaiting", request)).items
        ]

    @staticmethod
    def args(text: str | Mapping[str, Any], given: Any = None, **args: Any) -> Any:
        """Return the args of a job."""
        if isinstance(args.get("workflow_context"), Mapping):
            args["workflow_context"] = json.dumps(args["workflow_context"])
        source = {} if text == "" else {"workflow_data": document(text)}
        return _ARGS(input=given if isinstance(given, str) else json.dumps(given), **source, **args)


def ended(data: Any, job_id: int) -> Ended:
    """Read the result of a job."""
    name = next(key for key, number in STATUS.items() if number == data.status)
    output = data.output.items
    if name == "SUCCESS":
        result = _RESULT.FromString(output)
        assert result.HasField("status")
        value = json.loads(result.output)
        return Ended(_STATES[result.status], value, {}, result.position, result.id, job_id, name)
    text = output.decode()
    try:
        error = json.loads(text)
    except ValueError:
        error = {}
    status = "Cancelled" if name == "CANCELLED" else "Faulted"
    return Ended(status, None, error, "", "", job_id, name, text)


@asynccontextmanager
async def open_stage(folder: Path, *, keep: bool = False, **environment: str) -> AsyncIterator[Stage]:
    """Start a daemon with workers for workflows: ``flow`` answers, ``loose`` does not, ``kept`` is durable.

    ``keep``: they are there from an earlier life.
    """
    async with open_house(folder, clock=None, origins=(), more=None, **environment) as house:
        if keep:
            yield Stage(house)
            return
        await house.worker("flow", WORKFLOW, response_type=1)
        await house.worker("loose", WORKFLOW, broadcast_results=True, store_failure=True, store_success=True)
        await house.worker("kept", WORKFLOW, broadcast_results=True, queue_type=1, store_failure=True)
        yield Stage(house)
