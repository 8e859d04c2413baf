"""``run.container``: a container on DOCKER."""

from __future__ import annotations

from typing import Any, Final, cast

from jobworkerp_standalone.schema.messages import message_class
from jobworkerp_standalone.workflow.errors import Standard
from jobworkerp_standalone.workflow.jobs import Work, on_runner, result_of
from jobworkerp_standalone.workflow.model.runs import RunContainer
from jobworkerp_standalone.workflow.model.tasks import RunTask
from jobworkerp_standalone.workflow.run import Run
from jobworkerp_standalone.workflow.runs.output import Ended
from jobworkerp_standalone.workflow.runs.words import Words
from jobworkerp_standalone.workflow.state import Outcome, Spot, TaskState

_ARGS: Final[Any] = message_class("jobworkerp.runner.DockerArgs")
_SETTINGS: Final[Any] = message_class("jobworkerp.runner.DockerRunnerSettings")
_RESULT: Final[Any] = message_class("jobworkerp.runner.DockerResult")
_PULL: Final = {"ifNotPresent": "missing", "always": "always", "never": "never"}


async def run(run: Run, state: TaskState, spot: Spot) -> Outcome:
    """Run it as a DOCKER job."""
    task = cast("RunTask", state.task)
    form = cast("RunContainer", task.run)
    args = await _args(form, Words(run, state, spot, "/run/container"))
    settings = _SETTINGS(pull=_PULL[form.pull_policy])
    worker, method = await on_runner(run, "DOCKER", None, settings=settings.SerializeToString())
    spec = run.tools.children.runner("DOCKER")
    assert spec is not None, "it is built in"
    result = await result_of(run, state, Work(worker, spec, method, args.SerializeToString()))
    if result is None:
        return Outcome(state.input)
    end = _RESULT.FromString(result.output or b"")
    ended = Ended(end.exit_code if end.HasField("exit_code") else None, end.stdout, end.stderr)
    return Outcome(ended.returned(task.returns, state.input))


async def _args(form: RunContainer, words: Words) -> Any:
    for name, given in (("name", form.name), ("stdin", form.stdin)):
        if given is not None:
            raise Standard.CONFIGURATION.error(
                f"{name} of a container is not available", "the DOCKER runner has nothing for it", status=501
            )
    if form.cleanup != "always":
        raise Standard.CONFIGURATION.error(
            "lifetime of a container is not available", "containers are removed when they end", status=501
        )
    args = _ARGS(image=await words.text(form.image, "image"), timeout_sec=form.timeout_sec)
    args.entrypoint.extend(await words.list_if(form.entrypoint, "entrypoint"))
    args.cmd.extend(await words.list_if(form.command, "command"))
    args.cmd.extend(await words.list_if(form.arguments, "arguments"))
    environment = await words.map_if(form.environment, "environment")
    args.env.extend(f"{key}={value}" for key, value in environment.items())
    volumes = await words.map_if(form.volumes, "volumes")
    args.volumes.extend(f"{source}:{target}" for source, target in volumes.items())
    args.exposed_ports.extend(map(_port, (await words.map_if(form.ports, "ports")).values()))
    if form.user is not None:
        args.user = await words.text(form.user, "user")
    if form.working_dir is not None:
        args.working_dir = await words.text(form.working_dir, "workingDir")
    args.treat_nonzero_as_error = form.treat_nonzero_as_error
    args.success_exit_codes.extend((0, *form.success_exit_codes) if form.success_exit_codes else ())
    return args


def _port(inside: str) -> str:
    return inside if "/" in inside else f"{inside}/tcp"
