"""Scripts in Python, on PYTHON_COMMAND.

The job's program is always the same. The script and what it is given are its data, so that no value can become code,
and lines in tracebacks are those of the document.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from jobworkerp_standalone.schema.messages import message_class
from jobworkerp_standalone.workflow.child_jobs import Work, on_runner, result_of
from jobworkerp_standalone.workflow.json_writer import json_text
from jobworkerp_standalone.workflow.model.run_forms import RunOptions
from jobworkerp_standalone.workflow.model.tasks import RunTask
from jobworkerp_standalone.workflow.run_forms.given import Given
from jobworkerp_standalone.workflow.run_forms.output import Ended
from jobworkerp_standalone.workflow.state import TaskState
from jobworkerp_standalone.workflow.workflow_run import WorkflowRun

_ARGS: Final[Any] = message_class("jobworkerp.runner.PythonCommandArgs")
_RESULT: Final[Any] = message_class("jobworkerp.runner.PythonCommandResult")
_SETTINGS: Final[Any] = message_class("jobworkerp.runner.PythonCommandRunnerSettings")
_PROGRAM: Final = """\
def begin():
    import json, linecache, os, sys, tempfile, traceback
    own = begin.__code__.co_filename

    def show(kind, error, trace):
        while trace is not None and trace.tb_frame.f_code.co_filename == own:
            trace = trace.tb_next
        traceback.print_exception(error.with_traceback(trace))

    with open(sys.argv[1], encoding="utf-8") as file:
        given = json.load(file)
    sys.argv[1:] = given["arguments"]
    if given["stdin"] is not None:
        with tempfile.TemporaryFile() as file:
            file.write(given["stdin"].encode("utf-8", "surrogatepass"))
            file.seek(0)
            os.dup2(file.fileno(), 0)
    sys.excepthook = show
    code = given["code"]
    linecache.cache["<script>"] = (len(code), None, code.splitlines(True), "<script>")
    del globals()["begin"]
    globals().update(given["variables"])
    return compile(code, "<script>", "exec", dont_inherit=True)
exec(begin())
"""


async def python(run: WorkflowRun, state: TaskState, given: Given) -> Ended | None:
    """Have the script run; None where nobody waits for it."""
    settings, options = _settings(cast("RunTask", state.task).metadata)
    worker, spec, method = await on_runner(run, "PYTHON_COMMAND", None, settings=settings, options=options)
    args = _ARGS(script_content=_PROGRAM, env_vars=given.environment, with_stderr=True)
    args.data_body = json_text({**given.handed, "code": given.code, "stdin": given.stdin})
    result = await result_of(run, state, Work(worker, spec, method, args.SerializeToString()))
    if result is None:
        return None
    end = _RESULT.FromString(result.output or b"")
    return Ended(end.exit_code if end.exit_code >= 0 else None, end.output, end.output_stderr)


def _settings(metadata: Mapping[str, Any]) -> tuple[bytes, RunOptions]:
    settings = _SETTINGS(python_version=str(metadata.get("python.version", "")))
    if packages := str(metadata.get("python.packages", "")):
        settings.packages.list.extend(part.strip() for part in packages.split(",") if part.strip())
    elif url := str(metadata.get("python.requirements_url", "")):
        settings.requirements_url = url
    static = str(metadata.get("script.use_static", "false")).lower() == "true"
    return settings.SerializeToString(), RunOptions(use_static=static)
