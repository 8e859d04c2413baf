"""One job that runs a workflow: what the run is given, and where its news go."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobworkerp_standalone.jobs.errors import BadInput, Fatal
from jobworkerp_standalone.jobs.json_in import Unheld
from jobworkerp_standalone.runners.base import Call, Send
from jobworkerp_standalone.runners.bus import EventBus, Room
from jobworkerp_standalone.runners.children import Children
from jobworkerp_standalone.runners.host import Host
from jobworkerp_standalone.workflow.checkpoint import Checkpoint
from jobworkerp_standalone.workflow.checks import Checks
from jobworkerp_standalone.workflow.execution import execute_workflow
from jobworkerp_standalone.workflow.expressions.evaluator import Evaluator
from jobworkerp_standalone.workflow.expressions.turns import turns_of
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.large_json import value_of
from jobworkerp_standalone.workflow.lifecycle import Lifecycle
from jobworkerp_standalone.workflow.notices import Notices
from jobworkerp_standalone.workflow.results import snapshot_message
from jobworkerp_standalone.workflow.resume import Beginning, Memory
from jobworkerp_standalone.workflow.source import SourceRules
from jobworkerp_standalone.workflow.state import Branch
from jobworkerp_standalone.workflow.workflow_run import Tools, WorkflowRun


class Shared:
    """What all workflow jobs of a daemon share. ``host.shared(Shared)``."""

    def __init__(self, host: Host) -> None:
        settings = host.settings
        self.host = host
        self.evaluator = host.shared(Evaluator)
        self.bus = host.shared(EventBus)
        self.sources = SourceRules.of(settings)
        self.checks = Checks(self.sources, self.evaluator)
        self.default_limit_ms = settings.workflow_task_default_timeout_sec * 1000
        self.http_limit_ms = settings.workflow_http_timeout_sec * 1000 or self.default_limit_ms
        self.default_retries = settings.workflow_retry_default_attempts
        self.parallel_items = settings.workflow_parallel_items
        self.roots = tuple(Path(root).expanduser() for root in settings.workflow_allowed_roots)

    def tools(self, children: Children, call: Call) -> Tools:
        """Return what the run of a job works with."""
        return Tools(
            host=self.host,
            evaluator=self.evaluator,
            checks=self.checks,
            sources=self.sources,
            roots=self.roots,
            default_limit_ms=self.default_limit_ms,
            http_limit_ms=self.http_limit_ms,
            default_retries=self.default_retries,
            parallel_items=self.parallel_items,
            room=Room.of(self.host.settings),
            children=children,
            job_id=call.job_id,
            metadata=call.metadata,
        )


@dataclass(frozen=True, slots=True)
class WorkflowJob:
    """A workflow that a job runs."""

    shared: Shared
    call: Call
    begun: Beginning
    send: Send | None
    """Takes snapshots, where the job is a stream."""

    async def run(self, text: str, checkpoint: Checkpoint | None = None) -> WorkflowRun:
        """Run to the end, from the start or from where an earlier life of the run was; how it ended is in the run.

        Raises:
            BadInput: it cannot go on from there, or the input cannot be held.
        """
        call = self.call
        if call.children is None:
            raise Fatal("a workflow runs inside of a daemon only")
        value = await parsed_input(text)
        memory = await Memory.of(call, self.begun, checkpoint)
        begun = memory.begun
        run = WorkflowRun(
            uuid7(), begun.workflow, self.shared.tools(call.children, call), Notices(), Branch(dict(begun.context))
        )
        lifecycle = Lifecycle(self.shared.bus, run)
        run.notices = Notices(call.journal, self._snapshots(run) if self.send is not None else None, lifecycle)
        value = memory.prepare(run, value)
        await memory.begin(run, value)
        try:
            with turns_of(call.job_id):
                await execute_workflow(run, value, again=memory.goes_on)
        except asyncio.CancelledError:
            await memory.broken_off()
            raise
        await memory.close(run)
        return run

    def _snapshots(self, run: WorkflowRun) -> Any:
        send = self.send
        assert send is not None, "asked for by streams alone"

        async def snapshot(pointer: str, output: JSON) -> None:
            await send(await snapshot_message(run, pointer, output))

        return snapshot


async def parsed_input(text: str) -> JSON:
    """Return the input that came as text: JSON, else the text itself; nothing is null.

    Raises:
        BadInput: it is JSON that is nested too deeply, or has a number that is too large.
    """
    if not text:
        return None
    try:
        return await value_of(text.removeprefix("\ufeff"))
    except Unheld as error:
        raise BadInput(f"the input cannot be held: {error}") from error
    except ValueError:
        return text


def uuid7() -> str:
    """Return a UUID whose order is that of time (RFC 9562, version 7)."""
    value = (time.time_ns() // 1_000_000 << 80) | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 7 << 76
    value = value & ~(0x3 << 62) | 2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
