"""A runner kind whose jobs start jobs: what a test does with children without a workflow."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio

from jobworkerp_standalone.jobs.errors import Retryable
from jobworkerp_standalone.jobs.model import JobResult, OutputType, QueueType, ResultStatus, Worker, channel_from_name
from jobworkerp_standalone.runners.base import Call, Runner, Send
from jobworkerp_standalone.runners.children import ChildOrder, Children
from jobworkerp_standalone.runners.description import Method
from jobworkerp_standalone.runners.spec import RunnerSpec
from tests.support.house import PUPPET, House, Strings, open_house

PARENT = 70_002


class Parent(Runner):
    """Runs the children that its args list, and returns their outputs as a JSON array.

    Args: ``{"children": [child...], "together": bool}``. A child: ``{"do": args of a puppet}`` or ``{"children": ...}``
    with ``worker``, ``channel``, ``queue``, ``static``, ``retry``, ``timeout``, ``loose``, ``metadata`` as wanted.
    """

    def __init__(self, strings: Strings) -> None:
        self._strings = strings

    async def run(self, call: Call) -> bytes:
        """Run the children."""
        assert call.children is not None
        order = json.loads(call.args)
        outputs: list[Any] = [None] * len(order["children"])

        async def one(number: int, child: dict[str, Any]) -> None:
            assert call.children is not None
            outputs[number] = await _one(call.children, child, None)

        if order.get("together"):
            async with anyio.create_task_group() as tasks:
                for number, child in enumerate(order["children"]):
                    tasks.start_soon(one, number, child)
        else:
            for number, child in enumerate(order["children"]):
                await one(number, child)
        return json.dumps(outputs).encode()

    async def stream(self, call: Call, send: Send) -> None:
        """Hand up the items of the first child, then its folded output."""
        assert call.children is not None
        output = await _one(call.children, json.loads(call.args)["children"][0], send)
        await send(b"folded:" + output.encode())


async def _one(children: Children, child: dict[str, Any], send: Send | None) -> str:
    order = ChildOrder(
        _worker(child),
        (json.dumps(child) if "children" in child else child["do"]).encode(),
        using=child.get("using"),
        timeout_ms=child.get("timeout", 0),
        metadata={"from-task": "task", "x-given": "task", **child.get("metadata", {})},
    )
    if child.get("loose"):
        return str(await children.start(order))
    result = await (children.stream(order, send) if send is not None else children.run(order))
    return _output(result)


def _output(result: JobResult) -> str:
    text = (result.output or b"").decode()
    if result.status is not ResultStatus.SUCCESS:
        raise Retryable(f"{result.status.name} of {result.worker_name}: {text}")
    return text


def _worker(child: dict[str, Any]) -> Worker | str:
    if "worker" in child:
        return child["worker"]
    worker = Worker(
        0,
        child.get("name", "task"),
        child.get("runner", PARENT if "children" in child else PUPPET),
        runner_settings=child.get("settings", "").encode(),
        channel=channel_from_name(child.get("channel")),
        queue_type=QueueType[child.get("queue", "NORMAL")],
        use_static=child.get("static", False),
        store_success=True,
        store_failure=True,
    )
    if child.get("retry"):
        from jobworkerp_standalone.jobs.model import RetryPolicy, RetryType

        return replace(worker, retry_policy=RetryPolicy(RetryType.CONSTANT, child["retry"], max_retry=3))
    return worker


@asynccontextmanager
async def open_family(folder: Path, **environment: str) -> AsyncIterator[House]:
    """Start a daemon with parents and puppets."""
    async with open_house(folder, more=_parents, clock=None, origins=(), **environment) as house:
        yield house


def _parents(strings: Strings) -> list[RunnerSpec]:
    methods = {"run": Method(output_type=OutputType.BOTH)}
    make = lambda _host: Parent(strings)  # noqa: E731 - one line says it
    return [RunnerSpec(PARENT, 0, "PARENT", "Starts jobs.", "test", methods=methods, make=make)]
