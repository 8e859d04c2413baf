"""Scripts in JavaScript, by ``node`` on COMMAND.

What a script is given stands in front of its standard input, as JSON: arguments of a program have a limit, and no value
can become code in this way.
"""

from __future__ import annotations

import base64
import shutil
from typing import Any, Final

import anyio

from jobworkerp_standalone.schema.messages import message_class
from jobworkerp_standalone.workflow.child_jobs import Work, on_runner, result_of
from jobworkerp_standalone.workflow.errors import Standard
from jobworkerp_standalone.workflow.json_writer import json_text
from jobworkerp_standalone.workflow.run_forms.given import Given
from jobworkerp_standalone.workflow.run_forms.output import Ended
from jobworkerp_standalone.workflow.state import TaskState
from jobworkerp_standalone.workflow.workflow_run import WorkflowRun

_ARGS: Final[Any] = message_class("jobworkerp.runner.CommandArgs")
_RESULT: Final[Any] = message_class("jobworkerp.runner.CommandResult")
_BEGIN: Final = """\
import { readSync } from "node:fs";
const data = Buffer.alloc(Number(process.argv[1]));
for (let at = 0, read; at < data.length; at += read) {
  read = readSync(0, data, at, data.length - at, null);
  if (!read) throw new Error("what the script is given did not arrive");
}
const given = JSON.parse(data.toString());
process.argv.splice(1, 1, "script", ...given.arguments);
Object.assign(globalThis, given.variables);
"""
"""Runs before the script, which keeps its own lines and may be a module. The argument is how many bytes are its own."""
_IMPORT: Final = f"--import=data:text/javascript;base64,{base64.b64encode(_BEGIN.encode()).decode()}"


async def javascript(run: WorkflowRun, state: TaskState, given: Given) -> Ended | None:
    """Have the script run; None where nobody waits for it.

    Raises:
        WorkflowError: there is no ``node``.
    """
    if await anyio.to_thread.run_sync(shutil.which, "node") is None:
        raise Standard.RUNTIME.error(
            "JavaScript cannot be run", "the program node is not found on PATH; install Node.js", status=501
        )
    worker, spec, method = await on_runner(run, "COMMAND", None)
    handed = json_text(given.handed)
    size = len(handed.encode())
    args = _ARGS(command="node", args=[_IMPORT, f"--eval={given.code}", str(size)], environment=given.environment)
    args.stdin = handed + (given.stdin or "")
    result = await result_of(run, state, Work(worker, spec, method, args.SerializeToString()))
    return Ended.of(_RESULT, result)
