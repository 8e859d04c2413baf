"""Going on with a run: what its earlier lives wrote down, or a checkpoint that the job brings."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Self, cast

from jobworkerp_standalone.jobs.errors import BadInput
from jobworkerp_standalone.jobs.json_in import json_value
from jobworkerp_standalone.runners.base import Call
from jobworkerp_standalone.runners.journal import WAITS, WISH, Journal, run_of_job
from jobworkerp_standalone.workflow.entrance import Entrance
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.model.document import Workflow
from jobworkerp_standalone.workflow.notices import ROOT
from jobworkerp_standalone.workflow.records import Records
from jobworkerp_standalone.workflow.run_state import Status
from jobworkerp_standalone.workflow.workflow_run import WorkflowRun

HEAD: Final = "run"
"""Key of what is known about the run itself."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A state that the args of a job bring, as the reference keeps it."""

    execution_id: str | None = None
    position: str | None = None
    variables: Mapping[str, JSON] | None = None
    input: JSON = None
    """Of the workflow."""
    task_output: JSON = None
    directive: str = ""

    @classmethod
    def of(cls, args: Any) -> Self:
        """Read ``execution_id`` and ``from_checkpoint`` of ``WorkflowRunArgs``.

        Raises:
            BadInput: they cannot be used.
        """
        execution_id = args.execution_id if args.HasField("execution_id") else None
        if not args.HasField("from_checkpoint"):
            return cls(execution_id)
        given = args.from_checkpoint
        if not execution_id:
            raise BadInput("from_checkpoint needs execution_id: set it to the one under which the run was started")
        if not given.position.strip("/"):
            raise BadInput(f"position of from_checkpoint is missing: name a task, such as {ROOT}/do/0/NAME")
        if not given.HasField("data"):
            return cls(execution_id, given.position)
        data = given.data
        given_text = data.workflow.context_variables
        variables = _json(given_text, "workflow.context_variables")
        if variables is None:
            variables = {}
        if not isinstance(variables, dict):
            raise BadInput(
                "from_checkpoint.data.workflow.context_variables must be a JSON object: "
                f"{given_text[:100]} is not one; leave it empty for no variables"
            )
        return cls(
            execution_id,
            given.position,
            variables,
            _json(data.workflow.input, "workflow.input"),
            _json(data.task.output, "task.output"),
            data.task.flow_directive,
        )

    @property
    def is_place(self) -> bool:
        """Whether it only names a position: the state there is one that was kept."""
        return self.position is not None and self.variables is None

    def enter(self, run: WorkflowRun) -> None:
        """Let a run begin at the position: after the task there, unless it is the one that waited for its turn."""
        position = (self.position or "").removeprefix(ROOT)
        run.branch.variables.update(self.variables or {})
        waiting = self.directive == "wait"
        # What the reference saves for a task that waits is the task that comes next.
        run.entry = Entrance(position, self.task_output, after=not waiting)


class Memory:
    """What is known of a run, and what becomes of it.

    Args:
        records: what was written down; None where nothing is.
        checkpoint: what the job brings.
        journal: of the job.
        begins_at: pointer of the task with which the run is to begin again; empty where none is named.
    """

    def __init__(
        self, records: Records | None, checkpoint: Checkpoint, journal: Journal | None, begins_at: str = ""
    ) -> None:
        self._records = records
        self._begins_at = begins_at
        self._checkpoint = checkpoint
        self._journal = journal
        self.goes_on = checkpoint.variables is not None or (records is not None and records.of(HEAD) is not None)
        """Whether the run began in an earlier life."""

    @classmethod
    async def of(cls, call: Call, workflow: Workflow, checkpoint: Checkpoint | None) -> Self:
        """Read what there is for a job.

        Raises:
            BadInput: the job is to go on with a run of which nothing is kept.
        """
        checkpoint, journal = checkpoint or Checkpoint(), call.journal
        if journal is None or not (journal.durable or journal.goes_on or workflow.checkpointing or waits(workflow)):
            if checkpoint.is_place:
                raise _nothing_kept(workflow, checkpoint)
            return cls(None, checkpoint, None)
        name = run_of_job(call.job_id)
        entries = await journal.read(name)
        known = {entry.key: entry for entry in entries}
        if HEAD in known and json.loads(known[HEAD].data)["attempt"] != journal.attempt:
            await journal.forget(name)  # a retry starts anew
            entries = ()
        records, begins_at = Records(journal, name, entries, each=journal.durable), ""
        if not entries and journal.goes_on is not None:
            begins_at = await _take_over(records, journal, journal.goes_on, workflow)
        elif not entries and checkpoint.is_place:
            before = await _job_of_execution(journal, workflow, checkpoint)
            await _take_over(records, journal, before, workflow, {"after": checkpoint.position})
        if checkpoint.execution_id:
            await _note_execution(journal, workflow, checkpoint, call.job_id)
        return cls(records, checkpoint, journal, begins_at)

    def prepare(self, run: WorkflowRun, value: JSON) -> JSON:
        """Let a run be what it was, and return its input."""
        checkpoint = self._checkpoint
        if self._records is not None:
            run.progress, run.begins_at = self._records, self._begins_at
            head = self._records.of(HEAD)
            if head is not None:
                run.id, value = head["id"], head["input"]
                run.started_at = datetime.fromtimestamp(head["started_ms"] / 1000, UTC)
                run.branch.variables = {**head["context"], **run.branch.variables}
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
        }
        self._records.hears(run.workflow.listens_for)
        await self._records.note(HEAD, head)

    async def close(self, run: WorkflowRun) -> None:
        """Keep what a run that waits, or has a name, needs later; let go of what nobody will go on with."""
        if self._records is None or self._journal is None:
            return
        if run.status is Status.WAITING:
            await self._records.note(WAITS, _waiting(run))
        if run.status is Status.WAITING or self._checkpoint.execution_id:
            await self._records.flush()
        elif run.status is Status.COMPLETED:
            self._journal.ended()
        if run.status is Status.WAITING and self._journal.goes_on is not None:
            await _waits_no_longer(self._journal, self._journal.goes_on)


def waits(workflow: Workflow) -> bool:
    """Whether a run of the workflow may be suspended: some directive is ``wait``, or comes from an expression."""
    known = _WAITS.get(id(workflow))
    if known is None or known[0] is not workflow:
        if len(_WAITS) > _MOST:
            _WAITS.clear()
        known = _WAITS[id(workflow)] = (workflow, _may_wait(workflow.definition))
    return known[1]


def _may_wait(value: Any) -> bool:
    if isinstance(value, Mapping):
        members = cast("Mapping[str, Any]", value)
        then: Any = members.get("then")
        if isinstance(then, str) and (then == "wait" or then.strip().startswith("$")):
            return True
        return any(map(_may_wait, members.values()))
    return isinstance(value, (list, tuple)) and any(map(_may_wait, cast("Sequence[Any]", value)))


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
    """Let the run that another one went on with, and that waits again by now, be told of once only."""
    name = run_of_job(job_id)
    await journal.write(name, (), [entry.id for entry in await journal.read(name) if entry.key == WAITS])


async def _note_execution(journal: Journal, workflow: Workflow, checkpoint: Checkpoint, job_id: int) -> None:
    """Write down under which job an execution is known by now."""
    name = _execution(workflow, checkpoint)
    old = [entry.id for entry in await journal.read(name)]
    await journal.write(name, [(_JOB_ID, str(job_id).encode())], old)


async def _job_of_execution(journal: Journal, workflow: Workflow, checkpoint: Checkpoint) -> int:
    for entry in await journal.read(_execution(workflow, checkpoint)):
        if entry.key == _JOB_ID:
            return int(entry.data)
    raise _nothing_kept(workflow, checkpoint)


def _nothing_kept(workflow: Workflow, checkpoint: Checkpoint) -> BadInput:
    return BadInput(
        f"nothing is kept of execution {checkpoint.execution_id!r} of workflow {workflow.name!r}, so it cannot go on "
        f"at {checkpoint.position}: give data of from_checkpoint, or leave from_checkpoint out. Runs are kept with "
        "checkpointing: {enabled: true}, or by a WITH_BACKUP or DB_ONLY worker"
    )


def _execution(workflow: Workflow, checkpoint: Checkpoint) -> str:
    name = f"{workflow.name}:{checkpoint.execution_id}"
    if len(name.encode()) > _LONGEST_NAME:
        raise BadInput(f"execution_id is too long: with the workflow's name at most {_LONGEST_NAME} bytes are kept")
    return name


async def _take_over(
    records: Records, journal: Journal, before_id: int, workflow: Workflow, wish: Mapping[str, Any] | None = None
) -> str:
    """Begin with what another job has written down, changed as the wish to go on says.

    Returns:
        The pointer of the task with which to begin again; empty where the wish names none.

    Raises:
        BadInput: nothing is kept of it, the workflow has no such task, or none waits for the payload.
    """
    before = await journal.read(run_of_job(before_id))
    found = {entry.key: json.loads(entry.data) for entry in before}
    wish = {**found.pop(WISH, {}), **(wish or {})}
    if "from" in wish and not _has_task(workflow.definition, str(wish["from"]).removeprefix(ROOT)):
        raise BadInput(f"the workflow has no task at {wish['from']}; positions look like {ROOT}/do/0/NAME")
    if HEAD not in found:
        raise BadInput(f"nothing is kept of job {before_id}, so nothing can go on with it")
    found = {key: value for key, value in found.items() if not key.startswith(":")}
    found[HEAD]["attempt"] = journal.attempt
    keys = _kept(list(found), found, wish)
    if "payload" in wish and not any(found[key].get("then") == _WAIT for key in keys):
        raise BadInput("no task waits for the payload where the run goes on: leave it out, or leave the position out")
    for key in keys:
        value = found[key]
        if value.get("then") == _WAIT:
            value["then"] = "/continue"
            if "payload" in wish:
                value["output"] = wish["payload"]
    await records.take_over({key: found[key] for key in keys})
    return str(wish.get("from", "")).removeprefix(ROOT)


def _kept(keys: Sequence[str], found: Mapping[str, Any], wish: Mapping[str, Any]) -> list[str]:
    """Return the records, oldest first, that count where the run is to begin again at some task."""
    begin, after = wish.get("from"), wish.get("after")
    if begin is None and after is None:
        return list(keys)
    pointer = str(begin if begin is not None else after).removeprefix(ROOT)
    places = [str(found[key].get("at", "")) for key in keys]
    meant = [number for number, place in enumerate(places) if place == pointer or place.startswith(f"{pointer}/")]
    if not meant:
        if after is not None:
            raise BadInput(f"nothing is kept of a task at {ROOT}{pointer}")
        return list(keys)
    return list(keys[: meant[0]]) if after is None else list(keys[: meant[-1] + 1])


def _has_task(definition: Mapping[str, Any], pointer: str) -> bool:
    parts = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
    if len(parts) < _SHORTEST or not parts[-2].isdecimal():
        return False
    value: Any = definition
    for part in parts:
        if isinstance(value, Mapping):
            value = cast("Mapping[str, Any]", value).get(part)
        else:
            items = cast("Sequence[Any]", value if isinstance(value, (list, tuple)) else ())
            value = items[int(part)] if part.isdecimal() and int(part) < len(items) else None
    return isinstance(value, Mapping)


def _json(text: str, what: str) -> JSON:
    if not text:
        return None
    try:
        return json_value(text)
    except ValueError as error:
        raise BadInput(f"from_checkpoint.data.{what} is not JSON: {error}") from error


_WAIT: Final = "/wait"
_SHORTEST: Final = 3
"""Parts of the position of a task: ``do``, its number, its name."""
_JOB_ID: Final = "job"
_LONGEST_NAME: Final = 255
_MOST: Final = 256
_MOST_TOLD: Final = 1_000
"""Characters of the output of a run that waits."""
_WAITS: Final[dict[int, tuple[Workflow, bool]]] = {}
