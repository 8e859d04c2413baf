"""What ``return`` makes of a process that ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, cast

from jobworkerp_standalone.jobs.model import JobResult
from jobworkerp_standalone.jobs.visible import last_line
from jobworkerp_standalone.workflow.errors import Standard
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.model.run_forms import Return, RunContainer, RunShell
from jobworkerp_standalone.workflow.model.tasks import RunTask
from jobworkerp_standalone.workflow.state import Outcome, TaskState

_OUTPUTS: Final = {
    "COMMAND": ("stdout", "stderr"),
    "DOCKER": ("stdout", "stderr"),
    "PYTHON_COMMAND": ("output", "outputStderr"),
}
"""Where the results of runners that run a program have its outputs."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A process that ended; ``code`` None where a signal killed it."""

    code: int | None
    stdout: str
    stderr: str

    @classmethod
    def of(cls, kind: Any, result: JobResult | None) -> Ended | None:
        """Read the result, a message of a kind, of a job of COMMAND or DOCKER; None where nobody waits for one."""
        if result is None:
            return None
        end = kind.FromString(result.output or b"")
        return cls(end.exit_code if end.HasField("exit_code") else None, end.stdout, end.stderr)

    @classmethod
    def of_json(cls, runner: str, output: JSON) -> Ended | None:
        """Read the result of a job as JSON; None where its runner runs no program."""
        names = _OUTPUTS.get(runner)
        if names is None or not isinstance(output, dict):
            return None
        code = output.get("exitCode", None if runner == "COMMAND" else 0)
        stdout, stderr = (str(output.get(name) or "") for name in names)
        return cls(code if isinstance(code, int) and code >= 0 else None, stdout, stderr)

    @property
    def complaint(self) -> str:
        """How it ended, with the last of what it said, where that was not well; else nothing."""
        if self.code == 0:
            return ""
        how = "killed by a signal" if self.code is None else f"exit code {self.code}"
        last = last_line(self.stderr) or last_line(self.stdout)
        return f"{how}: {last}" if last else how

    def returned(self, what: Return, given: JSON) -> JSON:
        """Return what the task asks for; ``given`` is its input.

        Raises:
            WorkflowError: it asks for the exit code and there is none.
        """
        match what:
            case "stdout":
                return self.stdout
            case "stderr":
                return self.stderr
            case "code":
                if self.code is None:
                    raise Standard.RUNTIME.error(
                        "There is no exit code", "the process was killed by a signal", status=400
                    )
                return self.code
            case "all":
                return {"code": self.code, "stdout": self.stdout, "stderr": self.stderr}
            case "none":
                return given


def outcome(ended: Ended | None, state: TaskState) -> Outcome:
    """Return what a task leaves behind whose process ended, or that waits for none.

    Raises:
        WorkflowError: it asks for the exit code and there is none.
    """
    if ended is None:
        return Outcome(state.input)
    state.said = ended.complaint
    return Outcome(ended.returned(cast("RunTask", state.task).returns, state.input))


def good_codes(form: RunShell | RunContainer) -> tuple[int, ...]:
    """Return the good exit codes: 0 is one whatever the document lists."""
    return (0, *form.success_exit_codes) if form.success_exit_codes else ()
