"""How a command ends: its exit code, and the one line that says why."""

from __future__ import annotations

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
RUN_EXIT_HELP: Final = """\b
Exit codes:
  0    the workflow completed
  1    it ended with a fault
  2    the file, its input or the command line is wrong
  3    it waits; 'jobworkerp workflow resume' goes on with it
  5    the server cannot be reached, or refused the call
  130  it was cancelled: Ctrl-C ends its jobs and waits for them, a second one kills them"""
EXIT_HELP: Final = """\b
Exit codes:
  0    done
  1    the job ended in a failure, or the server answered that it did nothing (is_success false)
  2    the command line, a setting or the JSON is wrong
  3    no connection to the server
  4    what was named does not exist
  5    the server refused the call (a missing token, a limit, ...)
  70   a defect of this program
  130  interrupted
  141  nobody reads standard output any longer"""


class Stop(Exception):
    """Ends the command. ``message`` goes to standard error as ``error: message``, then the hint."""

    def __init__(self, code: Exit, message: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


def usage(message: str) -> Stop:
    """Return the end of a command whose command line is wrong."""
    return Stop(Exit.USAGE, message)


def not_found(what: str, key: object, listing: str) -> Stop:
    """Return the end of a command that named something which does not exist."""
    return Stop(Exit.NOT_FOUND, f"{what} {key} does not exist; 'jobworkerp {listing}' shows those that do")
