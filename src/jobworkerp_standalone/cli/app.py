"""The program itself: its options, and below them its commands."""

from __future__ import annotations

from typing import Annotated

import typer

from jobworkerp_standalone import __version__
from jobworkerp_standalone.cli.exits import EXIT_HELP, PROGRAM, not_empty
from jobworkerp_standalone.cli.groups import Commands
from jobworkerp_standalone.cli.options import MAX_INT32
from jobworkerp_standalone.cli.session import Session
from jobworkerp_standalone.cli.show import emit

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog=EXIT_HELP,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        emit(f"{PROGRAM} {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            "-a",
            help="Server, for example http://127.0.0.1:9000 (the default) or https://jobs.example.com. "
            "Else from JOBWORKERP_ADDR.",
        ),
    ] = None,
    timeout: Annotated[
        int,
        typer.Option(
            "--timeout",
            "-t",
            min=0,
            max=MAX_INT32,
            metavar="MS",
            help="Give a call up after so many milliseconds (0: never).",
        ),
    ] = 0,
    version: Annotated[
        bool, typer.Option("--version", "-V", is_eager=True, callback=_show_version, help="Show the version.")
    ] = False,
) -> None:
    """Run the job-worker daemon, and talk to one.

    Options of the program stand before the command. Variables: JOBWORKERP_ADDR (server), JOBWORKERP_AUTH_TOKEN (the
    server's AUTH_TOKEN), SESSION_ID and USER_ID (sent along and kept with jobs), NO_COLOR; also from a .env file.

    Results go to standard output, messages to standard error. With --format json a list is always an array, and a
    stream is one JSON document per line.
    """
    del version
    context.obj = Session(None if address is None else not_empty("--address", address), timeout)
