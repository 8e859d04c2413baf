"""``run.shell``: a program, or a script for ``sh``."""

from __future__ import annotations

import shlex
from typing import Any, Final, cast

from jobworkerp_standalone.schema.messages import message_class
from jobworkerp_standalone.workflow.child_jobs import Work, on_runner, result_of
from jobworkerp_standalone.workflow.model.run_forms import RunShell
from jobworkerp_standalone.workflow.model.tasks import RunTask
from jobworkerp_standalone.workflow.run_forms.output import Ended, good_codes, outcome
from jobworkerp_standalone.workflow.run_forms.words import Words
from jobworkerp_standalone.workflow.state import Outcome, Spot, TaskState
from jobworkerp_standalone.workflow.workflow_run import WorkflowRun

_ARGS: Final[Any] = message_class("jobworkerp.runner.CommandArgs")
_RESULT: Final[Any] = message_class("jobworkerp.runner.CommandResult")


async def execute(run: WorkflowRun, state: TaskState, spot: Spot) -> Outcome:
    """Run it as a COMMAND job."""
    form = cast("RunShell", cast("RunTask", state.task).run)
    args = await _args(form, Words(run, state, spot, "/run/shell"))
    worker, spec, method = await on_runner(run, "COMMAND", None)
    result = await result_of(run, state, Work(worker, spec, method, args.SerializeToString()))
    return outcome(Ended.of(_RESULT, result), state)


async def _args(form: RunShell, words: Words) -> Any:
    command = await words.text(form.command, "" if form.bare else "command")
    if form.args is not None:
        given = await words.list(form.args, "args")
        # Without arguments COMMAND splits the program's name into words, as a shell does.
        args = _ARGS(command=command if given else shlex.quote(command), args=given)
    else:
        given = await words.options(form.arguments, "arguments") if form.arguments is not None else []
        args = _ARGS(command="sh", args=["-c", command, "sh", *given])
    if form.stdin is not None:
        args.stdin = await words.text(form.stdin, "stdin")
    args.environment.update(await words.map_if(form.environment, "environment"))
    if form.working_dir is not None:
        args.working_dir = await words.text(form.working_dir, "workingDir")
    args.with_memory_monitoring = form.memory_monitoring
    args.treat_nonzero_as_error = form.treat_nonzero_as_error
    args.success_exit_codes.extend(good_codes(form))
    return args
