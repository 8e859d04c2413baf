"""``run.script``: Python on PYTHON_COMMAND, JavaScript by ``node``."""

from __future__ import annotations

from typing import Final, cast

from jobworkerp_standalone.workflow.errors import Standard
from jobworkerp_standalone.workflow.model.run_forms import RunScript
from jobworkerp_standalone.workflow.model.tasks import RunTask
from jobworkerp_standalone.workflow.run_forms.given import Given
from jobworkerp_standalone.workflow.run_forms.node_script import javascript
from jobworkerp_standalone.workflow.run_forms.python_script import python
from jobworkerp_standalone.workflow.run_forms.words import Words
from jobworkerp_standalone.workflow.state import Outcome, Spot, TaskState
from jobworkerp_standalone.workflow.workflow_run import WorkflowRun

_LANGUAGES: Final = {"python": python, "javascript": javascript}
_TOLD: Final = 2_000
"""Characters of output that are told of a script that failed."""


async def execute(run: WorkflowRun, state: TaskState, spot: Spot) -> Outcome:
    """Run the script; any exit code but 0 is an error."""
    task = cast("RunTask", state.task)
    form = cast("RunScript", task.run)
    given = await Given.read(form, Words(run, state, spot, "/run/script"))
    ended = await _LANGUAGES[form.language](run, state, given)
    if ended is None:
        return Outcome(state.input)
    if ended.code != 0:
        how = "was killed by a signal" if ended.code is None else f"ended with exit code {ended.code}"
        said = (("stderr", ended.stderr.strip()), ("stdout", ended.stdout.strip()))
        parts = (f"\n{name}: {text[-_TOLD:]}" for name, text in said if text)
        raise Standard.RUNTIME.error("A script failed", f"it {how}{''.join(parts)}")
    return Outcome(ended.returned(task.returns, state.input))
