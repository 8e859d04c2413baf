"""``run.script``: Python on PYTHON_COMMAND, JavaScript by ``node``.

What is given to a script reaches it as JSON in base64, so that no value can become code.
"""

from __future__ import annotations

import base64
import keyword
import shutil
from typing import Any, Final, cast

import anyio

from jobworkerp_standalone.schema.messages import message_class
from jobworkerp_standalone.workflow.errors import Standard
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.jobs import Work, on_runner, result_of
from jobworkerp_standalone.workflow.json_out import json_text
from jobworkerp_standalone.workflow.model.runs import RunOptions, RunScript
from jobworkerp_standalone.workflow.model.tasks import RunTask
from jobworkerp_standalone.workflow.run import Run
from jobworkerp_standalone.workflow.runs.output import Ended
from jobworkerp_standalone.workflow.runs.words import Words
from jobworkerp_standalone.workflow.source import SourceError, read_source
from jobworkerp_standalone.workflow.state import Outcome, Spot, TaskState

_PYTHON_ARGS: Final[Any] = message_class("jobworkerp.runner.PythonCommandArgs")
_PYTHON_RESULT: Final[Any] = message_class("jobworkerp.runner.PythonCommandResult")
_PYTHON_SETTINGS: Final[Any] = message_class("jobworkerp.runner.PythonCommandRunnerSettings")
_COMMAND_ARGS: Final[Any] = message_class("jobworkerp.runner.CommandArgs")
_COMMAND_RESULT: Final[Any] = message_class("jobworkerp.runner.CommandResult")
_DEEPEST: Final = 21
_PYTHON_HEAD: Final = """\
import base64 as _b, json as _j, io as _i, sys as _s
_g = _j.loads(_b.b64decode("{given}"))
globals().update(_g["variables"])
_s.argv[1:] = _g["arguments"]
if _g["stdin"] is not None:
    _s.stdin = _i.StringIO(_g["stdin"])
del _b, _j, _i, _s, _g
"""
_NODE_HEAD: Final = """\
const {{ variables: __variables, arguments: __arguments }} = JSON.parse(Buffer.from("{given}", "base64").toString());
Object.assign(globalThis, __variables);
process.argv.splice(1, Infinity, "script", ...__arguments);
"""


async def run(run: Run, state: TaskState, spot: Spot) -> Outcome:
    """Run the script; any exit code but 0 is an error."""
    task = cast("RunTask", state.task)
    form = cast("RunScript", task.run)
    script = await _Script.read(form, Words(run, state, spot, "/run/script"))
    ended = await (_python if form.language == "python" else _node)(run, state, script)
    if ended is None:
        return Outcome(state.input)
    if ended.code != 0:
        how = "was killed by a signal" if ended.code is None else f"ended with exit code {ended.code}"
        raise Standard.RUNTIME.error(
            "A script failed", f"it {how}; stdout: {ended.stdout[-_TOLD:]}; stderr: {ended.stderr[-_TOLD:]}"
        )
    return Outcome(ended.returned(task.returns, state.input))


class _Script:
    """A script with everything that it is given."""

    def __init__(self, code: str, given: dict[str, JSON], environment: dict[str, str]) -> None:
        self.code = code
        self.given = given
        self.environment = environment

    @classmethod
    async def read(cls, form: RunScript, words: Words) -> _Script:
        """Evaluate the members of the form."""
        code = await _code(form, words)
        arguments = await words.value(form.arguments, "arguments") if form.arguments is not None else None
        variables: JSON = {}
        listed: JSON = []
        if isinstance(arguments, dict):
            _check_names(arguments, 0)
            variables = arguments
        elif isinstance(arguments, list):
            listed = [each if isinstance(each, str) else json_text(each) for each in arguments]
        elif arguments is not None:
            raise Standard.VALIDATION.error(
                "The arguments of a script are neither object nor array", f"they are {json_text(arguments)[:200]}"
            )
        stdin = await words.text(form.stdin, "stdin") if form.stdin is not None else None
        environment = await words.map_if(form.environment, "environment")
        return cls(code, {"variables": variables, "arguments": listed, "stdin": stdin}, environment)

    def headed(self, head: str) -> str:
        """Return the code with a beginning that unpacks what is given."""
        return head.format(given=base64.b64encode(json_text(self.given).encode()).decode()) + self.code


async def _code(form: RunScript, words: Words) -> str:
    if form.code is not None:
        return form.code
    assert form.source is not None, "a script has code or a source"
    uri = await words.text(form.source.endpoint.uri, "source/endpoint")
    try:
        return await read_source(uri, words.run.tools.sources)
    except SourceError as error:
        raise Standard.COMMUNICATION.error("A script cannot be read", str(error)) from error


async def _python(run: Run, state: TaskState, script: _Script) -> Ended | None:
    settings, options = _python_settings(cast("RunTask", state.task).metadata)
    worker, method = await on_runner(run, "PYTHON_COMMAND", None, settings=settings, options=options)
    spec = run.tools.children.runner("PYTHON_COMMAND")
    assert spec is not None, "it is built in"
    args = _PYTHON_ARGS(script_content=_with_head(script), env_vars=script.environment, with_stderr=True)
    result = await result_of(run, state, Work(worker, spec, method, args.SerializeToString()))
    if result is None:
        return None
    end = _PYTHON_RESULT.FromString(result.output or b"")
    return Ended(end.exit_code, end.output, end.output_stderr)


def _with_head(script: _Script) -> str:
    """Return Python code with its head behind what must come first: a docstring, imports from the future."""
    return script.headed(_PYTHON_HEAD) if "__future__" not in script.code else _behind_futures(script)


def _behind_futures(script: _Script) -> str:
    lines = script.code.splitlines(keepends=True)
    last = max((at for at, line in enumerate(lines) if line.lstrip().startswith("from __future__")), default=-1)
    head = script.headed(_PYTHON_HEAD).removesuffix(script.code)
    return (
        "".join(lines[: last + 1])
        + ("" if last < 0 or lines[last].endswith("\n") else "\n")
        + head
        + "".join(lines[last + 1 :])
    )


def _python_settings(metadata: Any) -> tuple[bytes, RunOptions]:
    settings = _PYTHON_SETTINGS(python_version=str(metadata.get("python.version", "")))
    if packages := str(metadata.get("python.packages", "")):
        settings.packages.list.extend(part.strip() for part in packages.split(",") if part.strip())
    elif url := str(metadata.get("python.requirements_url", "")):
        settings.requirements_url = url
    static = str(metadata.get("script.use_static", "false")).lower() == "true"
    return settings.SerializeToString(), RunOptions(use_static=static)


async def _node(run: Run, state: TaskState, script: _Script) -> Ended | None:
    if await anyio.to_thread.run_sync(shutil.which, "node") is None:
        raise Standard.RUNTIME.error(
            "JavaScript cannot be run", "the program node is not found on PATH; install Node.js", status=501
        )
    worker, method = await on_runner(run, "COMMAND", None)
    spec = run.tools.children.runner("COMMAND")
    assert spec is not None, "it is built in"
    args = _COMMAND_ARGS(command="node", args=["-e", script.headed(_NODE_HEAD)], environment=script.environment)
    args.stdin = str(script.given["stdin"] or "")
    result = await result_of(run, state, Work(worker, spec, method, args.SerializeToString()))
    if result is None:
        return None
    end = _COMMAND_RESULT.FromString(result.output or b"")
    return Ended(end.exit_code if end.HasField("exit_code") else None, end.stdout, end.stderr)


def _check_names(value: JSON, depth: int) -> None:
    """Check that every key may be the name of a variable."""
    if depth > _DEEPEST:
        raise Standard.VALIDATION.error("The arguments of a script are nested too deeply", f"at most {_DEEPEST} levels")
    if isinstance(value, list):
        for each in value:
            _check_names(each, depth + 1)
    elif isinstance(value, dict):
        for name, each in value.items():
            if not name.isascii() or not name.isidentifier() or keyword.iskeyword(name) or _is_dunder(name):
                raise Standard.VALIDATION.error(
                    "An argument of a script has no name that a variable can have", f"{name!r} is none"
                )
            _check_names(each, depth + 1)


def _is_dunder(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


_TOLD: Final = 2_000
"""Characters of output that are told of a script that failed."""
