"""Commands about the processes that execute jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from jobworkerp_standalone.cli.groups import group
from jobworkerp_standalone.cli.lazy import calls_of
from jobworkerp_standalone.cli.options import FormatOption, Id, NoTruncate, TrueFalse, examples
from jobworkerp_standalone.cli.rows import channel_row, instance_row
from jobworkerp_standalone.cli.session import session_of
from jobworkerp_standalone.cli.show import show_row, show_rows
from jobworkerp_standalone.cli.values import switch

if TYPE_CHECKING:
    from jobworkerp_standalone.cli.calls import worker_instance as calls
else:
    calls = calls_of("worker_instance")

app = group("worker-instance", "Processes that execute jobs, and their channels.")


@app.command(epilog=examples("worker-instance find -i 7531117195959468032"))
def find(context: typer.Context, instance_id: Id, form: FormatOption = "card", no_truncate: NoTruncate = False) -> None:
    """Show a process that executes jobs."""
    show_row(instance_row(session_of(context).call(calls.find, instance_id)), form, no_truncate=no_truncate)


@app.command("list", epilog=examples("worker-instance list", "worker-instance list --active-only false"))
def list_(
    context: typer.Context,
    channel: Annotated[str | None, typer.Option("--channel", "-c", help="Only those that serve this channel.")] = None,
    active_only: Annotated[
        TrueFalse | None,
        typer.Option("--active-only", "-a", case_sensitive=False, help="Without those that are gone (default: true)."),
    ] = None,
    form: FormatOption = "table",
    no_truncate: NoTruncate = False,
) -> None:
    """List the processes that execute jobs."""
    found = session_of(context).call(calls.listing, channel, switch(active_only))
    show_rows([instance_row(each) for each in found], form, no_truncate=no_truncate)


@app.command()
def count(context: typer.Context, form: FormatOption = "card") -> None:
    """Show how many processes there are, and how many are active."""
    total, active = session_of(context).call(calls.count)
    show_row({"total": total, "active": active}, form)


@app.command(epilog=examples("worker-instance channels --format json"))
def channels(context: typer.Context, form: FormatOption = "table", no_truncate: NoTruncate = False) -> None:
    """List the channels that are served, with their slots."""
    found = session_of(context).call(calls.channels)
    show_rows([channel_row(each) for each in found], form, no_truncate=no_truncate)
