"""What ``return`` makes of a process that ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jobworkerp_standalone.workflow.errors import Standard
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.model.run_forms import Return


@dataclass(frozen=True, slots=True)
class Ended:
    """A process that ended; ``code`` None where a signal killed it."""

    code: int | None
    stdout: str
    stderr: str

    @classmethod
    def of(cls, result: Any) -> Ended:
        """Read the result of COMMAND or DOCKER."""
        return cls(result.exit_code if result.HasField("exit_code") else None, result.stdout, result.stderr)

    @property
    def complaint(self) -> str:
        """How it ended, with the last of what it said, where that was not well; else nothing."""
        if self.code == 0:
            return ""
        how = "killed by a signal" if self.code is None else f"exit code {self.code}"
        last = (self.stderr.rstrip() or self.stdout.rstrip()).rpartition("\n")[2].strip()
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
