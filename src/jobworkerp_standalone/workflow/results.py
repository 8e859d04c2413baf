"""Results of runs as messages."""

from __future__ import annotations

from typing import Any, Final

from jobworkerp_standalone.schema.messages import message_class
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.large_json import text_of
from jobworkerp_standalone.workflow.notices import ROOT
from jobworkerp_standalone.workflow.run_state import Status
from jobworkerp_standalone.workflow.workflow_run import WorkflowRun

_RESULT: Final[Any] = message_class("jobworkerp.runner.WorkflowResult")
_SEED: Final[Any] = message_class("jobworkerp.standalone.SeedWorkflowResult")
_SILENT: Final = frozenset({Status.COMPLETED, Status.RUNNING, Status.WAITING})


def result_message(run: WorkflowRun) -> bytes:
    """Return how a run ended, as ``WorkflowResult``."""
    message = _RESULT(id=run.id, output=run.output_text, position=ROOT + run.position, status=run.status)
    if run.status not in _SILENT:
        message.error_message = run.output_text
    return message.SerializeToString()


async def snapshot_message(run: WorkflowRun, pointer: str, output: JSON) -> bytes:
    """Return where a run stands, as ``WorkflowResult``."""
    message = _RESULT(id=run.id, output=await text_of(output), position=ROOT + pointer, status=Status.RUNNING)
    return message.SerializeToString()


def seed_result(run: WorkflowRun) -> bytes:
    """Return how a run ended, in the numbering of the older runners."""
    message = _SEED(id=run.id, output=run.output_text, status=run.status)
    if run.status not in _SILENT:
        message.error_message = run.output_text
    return message.SerializeToString()
