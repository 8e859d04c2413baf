"""Going on with a run: what its earlier lives wrote down, or a checkpoint that the job brings."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Self

import anyio

from jobworkerp_standalone.jobs.errors import BadInput, Retryable
from jobworkerp_standalone.jobs.runs import run_of_job
from jobworkerp_standalone.runners.base import Call
from jobworkerp_standalone.runners.journal import WAITS, Entry, Journal
from jobworkerp_standalone.workflow.checkpoint import Checkpoint
from jobworkerp_standalone.workflow.documents import Source
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.found_records import HEAD, Found, found_in
from jobworkerp_standalone.workflow.model.document import Workflow
from jobworkerp_standalone.workflow.notices import ROOT
from jobworkerp_standalone.workflow.records import Records
from jobworkerp_standalone.workflow.resume_wish import kept
from jobworkerp_standalone.workflow.run_state import Status
from jobworkerp_standalone.workflow.store_retries import patiently
from jobworkerp_standalone.workflow.workflow_run import WorkflowRun

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a run begins with. One that goes on keeps what it had, whatever became of worker and files since."""

    workflow: Workflow
    text: str
    """Of the document."""
    context: Mapping[str, JSON]
    """The variables that the job gives."""

    async def as_noted(self, head: Mapping[str, Any]) -> Self:
        """Return that of the life in which a run began.

        Raises:
            BadInput: this version does not read its document any more.
        """
        workflow = self.workflow
        if head["document"] != self.text:
            workflow = (await Source.of_text(head["document"])).document
            assert workflow is not None, "a text is a document"
        return replace(self, workflow=workflow, text=head["document"], context=head["context"])


class Memory:
    """What is known of a run, and what becomes of it.

    Args:
        begun: what the run begins with, or began with.
        records: what was written down; None where nothing is.
        checkpoint: what the job brings.
        journal: of the job.
        begins_at: pointer of the task with which the run is to begin again; empty where none is named.
    """

    def __init__(
        self,
        begun: Beginning,
        records: Records | None,
        checkpoint: Checkpoint,
        journal: Journal | None,
        begins_at: str = "",
    ) -> None:
        self.begun = begun
        self._records = records
        self._begins_at = begins_at
        self._checkpoint = checkpoint
        self._journal = journal
        self.goes_on = checkpoint.variables is not None or (records is not None and records.of(HEAD) is not None)
        """Whether the run began in an earlier life."""

    @classmethod
    async def of(cls, call: Call, begun: Beginning, checkpoint: Checkpoint | None) -> Self:
        """Read what there is for a job.

        Raises:
            BadInput: the job is to go on with a run of which nothing is kept, or what is kept is damaged.
            Retryable: it could not be read or written.
        """
        checkpoint, journal, workflow = checkpoint or Checkpoint(), call.journal, begun.workflow
        if journal is None or not (journal.durable or journal.goes_on or workflow.checkpointing or workflow.may_wait):
            if checkpoint.is_place:
                raise _nothing_kept(workflow, checkpoint)
            return cls(begun, None, checkpoint, None)
        name = run_of_job(call.job_id)
        entries = await _read(journal, name)
        found = await found_in(call.job_id, entries)
        if found.began and found.head["attempt"] != journal.attempt:
            await patiently(partial(journal.forget, name), _UNKNOWN, for_ever=journal.durable)  # a retry starts anew
            found = Found(call.job_id, ())
        found.check()
        records, begins_at = Records(journal, name, found.records, each=journal.durable), ""
        if found.began:
            begun = await begun.as_noted(found.head)
        elif journal.goes_on is not None:
            begun, begins_at = await _go_on(records, journal, journal.goes_on, begun)
        elif checkpoint.is_place:
            await _go_on_at(records, journal, checkpoint, begun)
        if checkpoint.execution_id:
            await _note_execution(journal, begun.workflow, checkpoint, call.job_id)
        return cls(begun, records, checkpoint, journal, begins_at)

    def prepare(self, run: WorkflowRun, value: JSON) -> JSON:
        """Let a run be what it was, and return its input."""
        checkpoint = self._checkpoint
        if self._records is not None:
            run.progress, run.begins_at = self._records, self._begins_at
            head = self._records.of(HEAD)
            if head is not None:
                run.id, value = head["id"], head["input"]
                run.started_at = datetime.fromtimestamp(head["started_ms"] / 1000, UTC)
        if checkpoint.variables is not None:
            checkpoint.enter(run)
            value = checkpoint.input
        return value

    async def begin(self, run: WorkflowRun, value: JSON) -> None:
        """Write down what the run begins with."""
        if self._records is None or self._records.of(HEAD) is not None or self._journal is None:
            return
        head = {
            "id": run.id,
            "input": value,
            "started_ms": int(run.started_at.timestamp() * 1000),
            "context": dict(run.branch.variables),
            "attempt": self._journal.attempt,
            "document": self.begun.text,
        }
        self._records.hears(run.workflow.listens_for)
        await self._records.note(HEAD, head)

    async def close(self, run: WorkflowRun) -> None:
        """Keep what a run that waits, or has a name, needs later; let go of what nobody will go on with."""
        if self._records is None or self._journal is None:
            return
        if run.status is Status.WAITING:
            if self.goes_on:  # a life that ended just then may have told it
                await _waits_no_longer(self._journal, run.tools.job_id)
            await self._records.note(WAITS, _waiting(run))
        durable = self._journal.durable and run.status is Status.FAULTED
        if durable or run.status is Status.WAITING or self._checkpoint.execution_id:
            await self._records.flush()
        elif run.status is Status.COMPLETED:
            self._journal.ended()
        if run.status is Status.WAITING and self._journal.goes_on is not None:
            await _waits_no_longer(self._journal, self._journal.goes_on)

    async def broken_off(self) -> None:
        """Keep what a run has behind it that has a name and is ended from outside: another one may go on from there."""
        if self._records is None or not self._checkpoint.execution_id:
            return
        with anyio.CancelScope(shield=True):
            try:
                await self._records.flush()
            except Retryable as error:
                _log.warning("a run that was cancelled in the middle cannot be gone on with: %s", error)


async def _read(journal: Journal, run: str) -> Sequence[Entry]:
    return await patiently(partial(journal.read, run), _UNKNOWN, for_ever=journal.durable)


def _waiting(run: WorkflowRun) -> dict[str, Any]:
    """Return what is told of a run that waits."""
    workflow = run.workflow
    return {
        "id": run.id,
        "namespace": workflow.namespace,
        "name": workflow.name,
        "version": workflow.version,
        "resumes_at": ROOT + run.resumes_at if run.resumes_at else "",
        "since_ms": int(time.time() * 1000),
        "output": run.output_text[:_MOST_TOLD],
    }


async def _waits_no_longer(journal: Journal, job_id: int) -> None:
    """Let a run that waits again by now, under this job or as another one, be told of once only."""
    name = run_of_job(job_id)
    old = [entry.id for entry in await _read(journal, name) if entry.key == WAITS]
    await patiently(partial(journal.write, name, (), old), "that a run waits no longer could not be stored")


async def _note_execution(journal: Journal, workflow: Workflow, checkpoint: Checkpoint, job_id: int) -> None:
    """Write down under which job an execution is known by now."""
    name = _execution(workflow, checkpoint)
    entries = await _read(journal, name)
    before = await _latest_kept(journal, entries)  # it counts until this job has kept something itself
    old = [entry.id for entry in entries if entry is not before]
    added = [(_JOB_ID, str(job_id).encode())]
    await patiently(partial(journal.write, name, added, old), "the name of an execution could not be stored")


async def _job_of_execution(journal: Journal, workflow: Workflow, checkpoint: Checkpoint) -> int:
    entry = await _latest_kept(journal, await _read(journal, _execution(workflow, checkpoint)))
    if entry is None:
        raise _nothing_kept(workflow, checkpoint, journal.why_dropped(_execution(workflow, checkpoint)))
    return int(entry.data)


async def _latest_kept(journal: Journal, entries: Sequence[Entry]) -> Entry | None:
    """Return the latest of the jobs of an execution that has kept what it did; None where none has."""
    for entry in reversed(entries):
        if entry.key == _JOB_ID and entry.data.isdigit():
            notes = await _read(journal, run_of_job(int(entry.data)))
            if any(note.key == HEAD for note in notes):
                return entry
    return None


def _nothing_kept(workflow: Workflow, checkpoint: Checkpoint, why_dropped: str = "") -> BadInput:
    reason = why_dropped[:1].upper() + why_dropped[1:] or _HOW_KEPT
    return BadInput(
        f"nothing is kept of execution {checkpoint.execution_id!r} of workflow {workflow.name!r}, so it cannot go on "
        f"at {checkpoint.position}: give data of from_checkpoint, or leave from_checkpoint out. {reason}"
    )


def _execution(workflow: Workflow, checkpoint: Checkpoint) -> str:
    name = f"{workflow.name}:{checkpoint.execution_id}"
    if len(name.encode()) > _LONGEST_NAME:
        raise BadInput(f"execution_id is too long: with the workflow's name at most {_LONGEST_NAME} bytes are kept")
    return name


async def _go_on(records: Records, journal: Journal, job_id: int, begun: Beginning) -> tuple[Beginning, str]:
    """Begin with what a job has written down, changed as the wish to go on with it says.

    Returns:
        What the run began with, and the pointer of the task with which to begin again; empty where the wish names none.

    Raises:
        BadInput: that cannot be.
    """
    found = await found_in(job_id, await _read(journal, run_of_job(job_id)))
    begun, wish = await begun.as_noted(found.head), found.wish
    await _take_over(records, journal, kept(found, wish, begun.workflow))
    return begun, str(wish.get("from", "")).removeprefix(ROOT)


async def _go_on_at(records: Records, journal: Journal, checkpoint: Checkpoint, begun: Beginning) -> None:
    """Begin with what an execution has written down up to a position; document and variables are those of this job.

    Raises:
        BadInput: nothing is kept of it.
    """
    job_id = await _job_of_execution(journal, begun.workflow, checkpoint)
    found = await found_in(job_id, await _read(journal, run_of_job(job_id)))
    changed = {"document": begun.text, "context": {**found.head["context"], **begun.context}}
    await _take_over(records, journal, kept(found, {"after": checkpoint.position}, begun.workflow), changed)


async def _take_over(
    records: Records, journal: Journal, found: Mapping[str, dict[str, Any]], changed: Mapping[str, Any] | None = None
) -> None:
    head = {**found[HEAD], **(changed or {}), "attempt": journal.attempt}
    await records.take_over({**found, HEAD: head})


_HOW_KEPT: Final = "Runs are kept with checkpointing: {enabled: true}, or by a WITH_BACKUP or DB_ONLY worker"
_UNKNOWN: Final = "what a run has behind it could not be read"
_JOB_ID: Final = "job"
_LONGEST_NAME: Final = 255
_MOST_TOLD: Final = 1_000
"""Characters of the output of a run that waits."""
