"""The command that looks whether a daemon can run here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from jobworkerp_standalone.cli.exits import Exit
from jobworkerp_standalone.cli.groups import alone
from jobworkerp_standalone.cli.lazy import LazyModule
from jobworkerp_standalone.cli.options import examples
from jobworkerp_standalone.cli.session import environment
from jobworkerp_standalone.cli.show import Format, as_json, as_table, coloured, emit

if TYPE_CHECKING:
    from jobworkerp_standalone.cli import checks
else:
    checks = LazyModule("jobworkerp_standalone.cli.checks")

_COLOURS: Final = {"ok": "\x1b[32m", "warn": "\x1b[33m", "fail": "\x1b[31m"}


app = alone()


@app.command(epilog=examples("doctor", "doctor --format json"))
def doctor(
    form: Annotated[Format, typer.Option("--format", case_sensitive=False, help="How to show it.")] = "card",
) -> None:
    """Check whether a daemon can run here with these settings, and say what to do where it cannot.

    One line per check: ok, warn (something will not work) or fail (the daemon will not start): exit code 1.
    """
    import sys  # noqa: PLC0415

    found = list(checks.all_checks(environment()))
    if form == "json":
        emit(as_json([check._asdict() for check in found]))
    elif form == "table":
        emit(as_table([check._asdict() for check in found], no_truncate=True))
    else:
        for check in found:
            paint, end = (_COLOURS[check.state], "\x1b[0m") if coloured(sys.stdout) else ("", "")
            emit(f"{paint}{check.state:<5}{end} {check.name:<9} {check.text}")
    if any(check.state == "fail" for check in found):
        raise typer.Exit(Exit.FAILED)
