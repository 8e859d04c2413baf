"""``run.container``: a container on DOCKER."""

from __future__ import annotations

import re
from typing import Any, Final, cast
from uuid import uuid4

from jobworkerp_standalone.schema.messages import message_class
from jobworkerp_standalone.workflow.child_jobs import Work, on_runner, result_of
from jobworkerp_standalone.workflow.model.run_forms import RunContainer
from jobworkerp_standalone.workflow.model.tasks import RunTask
from jobworkerp_standalone.workflow.run_forms.output import Ended, good_codes, outcome
from jobworkerp_standalone.workflow.run_forms.words import Words
from jobworkerp_standalone.workflow.state import Outcome, Spot, TaskState
from jobworkerp_standalone.workflow.workflow_run import WorkflowRun

_ARGS: Final[Any] = message_class("jobworkerp.runner.DockerArgs")
_SETTINGS: Final[Any] = message_class("jobworkerp.runner.DockerRunnerSettings")
_RESULT: Final[Any] = message_class("jobworkerp.runner.DockerResult")
_NOT_IN_NAMES: Final = re.compile(r"[^a-zA-Z0-9_.-]")
_LONGEST_NAME: Final = 200
_PULL: Final = {"ifNotPresent": "missing", "always": "always", "never": "never"}


async def execute(run: WorkflowRun, state: TaskState, spot: Spot) -> Outcome:
    """Run it as a DOCKER job."""
    form = cast("RunContainer", cast("RunTask", state.task).run)
    args = await _args(form, Words(run, state, spot, "/run/container"))
    settings = _SETTINGS(pull=_PULL[form.pull_policy])
    worker, spec, method = await on_runner(run, "DOCKER", None, settings=settings.SerializeToString())
    result = await result_of(run, state, Work(worker, spec, method, args.SerializeToString()))
    return outcome(Ended.of(_RESULT, result), state)


async def _args(form: RunContainer, words: Words) -> Any:
    args = _ARGS(image=await words.text(form.image, "image"), timeout_sec=form.timeout_sec)
    args.name = await words.text(form.name, "name") if form.name is not None else _usual_name(words)
    args.entrypoint.extend(await words.list_if(form.entrypoint, "entrypoint"))
    args.cmd.extend(await _command(form, words))
    environment = await words.map_if(form.environment, "environment")
    args.env.extend(f"{key}={value}" for key, value in environment.items())
    volumes = await words.map_if(form.volumes, "volumes")
    args.volumes.extend(f"{source}:{target}" for source, target in volumes.items())
    ports = await words.map_if(form.ports, "ports")
    args.published_ports.extend(f"{outside}:{inside}" for outside, inside in ports.items())
    if form.stdin is not None:
        args.stdin = await words.text(form.stdin, "stdin")
    if form.user is not None:
        args.user = await words.text(form.user, "user")
    if form.working_dir is not None:
        args.working_dir = await words.text(form.working_dir, "workingDir")
    args.cleanup, args.cleanup_after_ms = form.cleanup, form.cleanup_after_ms or 0
    args.treat_nonzero_as_error = form.treat_nonzero_as_error
    args.success_exit_codes.extend(good_codes(form))
    return args


async def _command(form: RunContainer, words: Words) -> list[str]:
    """Return the words of the command. A text is a script, unless it is for an entry point that is given as well."""
    arguments = await words.list_if(form.arguments, "arguments")
    if form.command is None:
        return arguments
    command = await words.text_or_list(form.command, "command")
    if isinstance(command, list):
        return [*command, *arguments]
    if form.entrypoint is not None:
        return [command, *arguments]
    return ["sh", "-c", command, *(["sh", *arguments] if arguments else ())]


def _usual_name(words: Words) -> str:
    """Return a name by the convention that the DSL recommends."""
    workflow = words.run.workflow
    name = f"{workflow.name}-{uuid4()}.{workflow.namespace}-{words.state.task.name}"
    return _NOT_IN_NAMES.sub("_", name[:_LONGEST_NAME])
