"""The entry of the program ``jobworkerp``, and how every command ends."""

from __future__ import annotations

from jobworkerp_standalone.cli import early  # isort: skip - before all others

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jobworkerp_standalone import __version__
from jobworkerp_standalone.cli import garbage
from jobworkerp_standalone.cli.exits import PROGRAM, Exit, Stop, usage
from jobworkerp_standalone.cli.show import buffer_output, drop_output, emit, finish_notes, note

if TYPE_CHECKING:
    import typer


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Nothing ends in a traceback, unless JOBWORKERP_TRACEBACK is set.

    Without arguments those of the process are taken, which is the command's own then: it collects garbage as suits it.
    """
    if arguments is not None:
        return _ended(arguments)
    garbage.loading()
    try:
        return _ended(sys.argv[1:])
    finally:
        garbage.ending()
        early.ending()


def _ended(arguments: Sequence[str]) -> int:
    buffer_output()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # pyright: ignore[reportUnknownMemberType,reportAttributeAccessIssue]
    try:
        return _run(list(arguments))
    except Stop as stop:
        return _complain(stop)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        drop_output()
        return Exit.NO_READER
    except OSError as error:
        drop_output()
        note(f"error: {error}")
        return Exit.FAILED
    except Exception as error:
        if os.environ.get("JOBWORKERP_TRACEBACK"):
            raise
        note(f"error: defect in {PROGRAM} {__version__}: {type(error).__name__}: {error}")
        note("hint: set JOBWORKERP_TRACEBACK=1 to see where, and report it")
        return Exit.DEFECT
    finally:
        finish_notes()


def _run(arguments: list[str]) -> int:
    if broken := [each for each in arguments if not _is_text(each)]:
        raise usage(f"{broken[0]!r} is not UTF-8 text")
    if arguments in (["version"], ["--version"], ["-V"]):
        emit(f"{PROGRAM} {__version__}")  # without the time it takes to load the commands
        return Exit.OK
    import typer  # noqa: PLC0415

    from jobworkerp_standalone.cli.app import app  # noqa: PLC0415

    try:
        code = app(arguments, prog_name=PROGRAM, standalone_mode=False)
    except typer.TyperException as error:
        return _complain_of_usage(error)
    except typer.Abort:
        return Exit.INTERRUPTED
    return code if isinstance(code, int) else Exit.OK


def _is_text(argument: str) -> bool:
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True


def _complain(stop: Stop) -> int:
    if stop.message:
        note(f"error: {stop.message}")
    if stop.hint:
        note(f"hint: {stop.hint}")
    return stop.code


def _complain_of_usage(error: typer.TyperException) -> int:
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        note(error.format_message())
        return Exit.USAGE
    command = context.command_path if context is not None else PROGRAM
    said = error.format_message()
    for kind in ("int", "int range", "integer", "integer range"):
        said = said.replace(f"is not a valid {kind}.", "is not a whole number.")
    note(f"error: {said}")
    note(f"hint: '{command} --help' shows what can be written")
    return Exit.USAGE


early.loaded()
if __name__ == "__main__":
    sys.exit(main())
