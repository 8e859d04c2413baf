"""How a run of a workflow that is over ends the command: the exit code, and the line that says why."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import indent
from typing import Final

from jobworkerp_standalone.cli.exits import RUN_WAITS, Exit, Stop
from jobworkerp_standalone.client.workflows import State, WorkflowRun

CODES: Final[Mapping[State, int]] = {
    State.COMPLETED: Exit.OK,
    State.FAULTED: Exit.FAILED,
    State.INVALID: Exit.USAGE,
    State.WAITING: RUN_WAITS,
    State.CANCELLED: Exit.INTERRUPTED,
}
_NO_INPUT: Final = "no input was given; -i gives one"


def complaint_of(run: WorkflowRun, *, without_input: bool) -> Stop | None:
    """Return how a command ends whose run did not end well, else None.

    Args:
        run: that is over, or waits.
        without_input: nobody gave an input.
    """
    if run.state in (State.COMPLETED, State.WAITING):
        return None
    if run.state is State.CANCELLED:
        return Stop(Exit.INTERRUPTED, "the run was cancelled")
    lacks = without_input and run.position.startswith("/ROOT/input")
    text = indent(run.text.strip(), "  ").lstrip()  # all its lines, those of a traceback above all
    return Stop(Exit(CODES[run.state]), text, _NO_INPUT if lacks else None)
