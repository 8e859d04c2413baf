"""How a command ends: its exit code, and the one line that says why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum
from typing import Final

PROGRAM: Final = "jobworkerp"


class Exit(IntEnum):
    """Exit codes of every command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    NOT_FOUND = 4
    CALL_FAILED = 5
    DEFECT = 70
    INTERRUPTED = 130
    NO_READER = 141


RUN_WAITS: Final = 3
"""Exit code of commands that run a workflow: it waits for somebody to go on with it."""
MEANINGS: Final[Mapping[int, str]] = {
    Exit.OK: "done",
    Exit.FAILED: "the job ended in a failure, or the server answered that it did nothing (is_success false)",
    Exit.USAGE: "the command line, a setting, the JSON or a file is wrong",
    Exit.UNREACHABLE: "no connection to the server; of a command that runs a workflow: it waits (no connection is 5)",
    Exit.NOT_FOUND: "what was named does not exist",
    Exit.CALL_FAILED: "the server refused the call (a missing token, a limit, ...)",
    Exit.DEFECT: "a defect of this program",
    Exit.INTERRUPTED: "interrupted",
    Exit.NO_READER: "nobody reads standard output any longer",
}
RUN_MEANINGS: Final[Mapping[int, str]] = {
    Exit.OK: "the workflow completed",
    Exit.FAILED: "it ended with a fault",
    Exit.USAGE: "the file, its input, a setting or the command line is wrong",
    RUN_WAITS: "it waits with tasks still to come; 'jobworkerp workflow resume' goes on with it",
    Exit.NOT_FOUND: "nothing is kept of the run to go on with, or it went on and completed",
    Exit.CALL_FAILED: "the server cannot be reached, or refused the call",
    Exit.DEFECT: "a defect of this program",
    Exit.INTERRUPTED: "it was cancelled: Ctrl-C ends its jobs and waits for them, a second one kills them",
    Exit.NO_READER: "nobody reads standard output any longer",
}
"""Of commands that run a workflow."""


def _table(meanings: Mapping[int, str]) -> str:
    """Return what the help of a command says."""
    return "\b\nExit codes:\n" + "\n".join(f"  {code:<4d} {meaning}" for code, meaning in meanings.items())


EXIT_HELP: Final = _table(MEANINGS)
RUN_EXIT_HELP: Final = _table(RUN_MEANINGS)


class Stop(Exception):
    """Ends the command. ``message`` goes to standard error as ``error: message``, then the hint."""

    def __init__(self, code: Exit, message: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


@contextmanager
def run_exits(hint: str | None = None) -> Iterator[None]:
    """Let a command that runs a workflow end as RUN_MEANINGS says where no server answers: 3 is a run that waits."""
    try:
        yield
    except Stop as stop:
        if stop.code is Exit.UNREACHABLE:
            stop.code = Exit.CALL_FAILED
            stop.hint = hint or stop.hint
        raise


def usage(message: str) -> Stop:
    """Return the end of a command whose command line is wrong."""
    return Stop(Exit.USAGE, message)


def not_empty(option: str, value: str) -> str:
    """Return what an option was given; nothing at all is a variable of a script that is not set.

    Raises:
        Stop: it is empty.
    """
    if not value:
        raise usage(f"{option} is empty: give it a value, or leave it out")
    return value


def not_found(what: str, key: object, listing: str) -> Stop:
    """Return the end of a command that named something which does not exist."""
    return Stop(Exit.NOT_FOUND, f"{what} {key} does not exist; 'jobworkerp {listing}' shows those that do")
