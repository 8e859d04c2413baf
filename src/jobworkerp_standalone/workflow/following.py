"""A workflow that follows another job by ``next_workers``: the output of that job is its input."""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.message import DecodeError

from jobworkerp_standalone.jobs.model import Worker
from jobworkerp_standalone.schema.messages import message_class
from jobworkerp_standalone.workflow.child_jobs import decoded, message_of
from jobworkerp_standalone.workflow.errors import WorkflowError
from jobworkerp_standalone.workflow.large_json import text_of

_SETTINGS: Final[Any] = message_class("jobworkerp.runner.WorkflowRunnerSettings")
_RUN_ARGS: Final[Any] = message_class("jobworkerp.runner.WorkflowRunArgs")
_REUSABLE_ARGS: Final[Any] = message_class("jobworkerp.runner.ReusableWorkflowArgs")
_OF_A_WORKFLOW: Final = "jobworkerp.runner.WorkflowResult"


async def workflow_args(worker: Worker, schema: str, result: bytes) -> bytes:
    """Return args of WORKFLOW; where the settings have no document, the result has to bring it, and is the args."""
    try:
        settings = _SETTINGS.FromString(worker.runner_settings)
    except DecodeError:
        return result  # the job says what is wrong with them
    if settings.WhichOneof("workflow_source") is None:
        return result
    return _RUN_ARGS(input=await _input(schema, result)).SerializeToString()


async def reusable_args(worker: Worker, schema: str, result: bytes) -> bytes:
    """Return args of REUSABLE_WORKFLOW."""
    del worker  # its settings always have the document
    return _REUSABLE_ARGS(input=await _input(schema, result)).SerializeToString()


async def _input(schema: str, result: bytes) -> str:
    """Return a result as the text of an input: as tasks see it, of a workflow its bare output."""
    if schema:
        try:
            kind: Any = await message_of(schema)
            if kind.DESCRIPTOR.full_name == _OF_A_WORKFLOW:
                return kind.FromString(result).output
            return await text_of(await decoded(result, schema))
        except (DecodeError, WorkflowError, ValueError):
            pass
    return result.decode("utf-8", "replace")
