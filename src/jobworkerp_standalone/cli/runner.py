"""Commands about runners: what a worker can be made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from jobworkerp_standalone.cli.exits import not_found
from jobworkerp_standalone.cli.groups import group
from jobworkerp_standalone.cli.lazy import calls_of
from jobworkerp_standalone.cli.options import FormatOption, Id, Limit, Name, NoTruncate, Offset, examples
from jobworkerp_standalone.cli.rows import runner_row
from jobworkerp_standalone.cli.session import session_of
from jobworkerp_standalone.cli.show import as_json, emit, show_answer, show_row, show_rows
from jobworkerp_standalone.cli.values import id_or_name, text_of

if TYPE_CHECKING:
    from jobworkerp_standalone.cli.calls import runner as calls
else:
    calls = calls_of("runner")

app = group("runner", "What a worker can be made of.")


@app.command(epilog=examples("runner create -n time -d 'Time zones' -r MCP_SERVER --definition @time.toml"))
def create(
    context: typer.Context,
    name: Name,
    description: Annotated[str, typer.Option("--description", "-d", help="What it is for.")],
    runner_type: Annotated[
        Literal["MCP_SERVER", "PLUGIN"], typer.Option("--runner-type", "-r", help="What kind of runner it is.")
    ],
    definition: Annotated[
        str, typer.Option("--definition", help="Its definition; @FILE reads a file, - standard input.")
    ],
    form: FormatOption = "card",
) -> None:
    """Add a runner: an MCP server or a plugin. Shows its id."""
    content = text_of("--definition", definition)
    show_row({"id": session_of(context).call(calls.create, name, description, runner_type, content)}, form)


@app.command(epilog=examples("runner find -i 1", "runner find -i 1 --format json"))
def find(context: typer.Context, runner_id: Id, form: FormatOption = "card", no_truncate: NoTruncate = False) -> None:
    """Show a runner by id, with its schemas."""
    _show(context, runner_id, form, no_truncate=no_truncate)


@app.command(epilog=examples("runner find-by-name -n COMMAND --no-truncate"))
def find_by_name(
    context: typer.Context, name: Name, form: FormatOption = "card", no_truncate: NoTruncate = False
) -> None:
    """Show a runner by name, with its schemas."""
    _show(context, name, form, no_truncate=no_truncate)


@app.command(epilog=examples("runner show COMMAND", "runner show GRPC --format json"))
def show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name or id of the runner.")],
    form: FormatOption = "card",
) -> None:
    """Explain a runner: settings, arguments and results of every method, each with an example."""
    key = id_or_name(name)
    found = session_of(context).call(calls.find, key)
    if found is None:
        raise not_found("runner", key, "runner list")
    from jobworkerp_standalone.cli.schema_page import as_object, as_page  # noqa: PLC0415 - the compiler

    emit(as_json(as_object(found)) if form == "json" else as_page(found))


@app.command(epilog=examples("runner new word_count", "runner new word_count --directory plugins"))
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is called: letters, digits and _.")],
    directory: Annotated[
        str, typer.Option("--directory", "-d", metavar="DIR", help="Where to put it (a part of PLUGINS_RUNNER_DIR).")
    ] = "runners",
) -> None:
    """Write the skeleton of a plugin with a test: it loads and works as it is."""
    from jobworkerp_standalone.cli.skeleton import write_skeleton  # noqa: PLC0415

    emit("\n".join(write_skeleton(name, directory)))


@app.command("list", epilog=examples("runner list", "runner list --format json"))
def list_(
    context: typer.Context,
    offset: Offset = None,
    limit: Limit = None,
    form: FormatOption = "table",
    no_truncate: NoTruncate = False,
) -> None:
    """List runners."""
    found = session_of(context).call(calls.listing, offset, limit)
    show_rows([runner_row(runner, form) for runner in found], form, no_truncate=no_truncate)


@app.command(epilog=examples("runner delete -i 65536"))
def delete(context: typer.Context, runner_id: Id, form: FormatOption = "card") -> None:
    """Remove a runner that was added. Those that are built in stay."""
    done = session_of(context).call(calls.delete, runner_id)
    show_answer(is_success=done, form=form, what=f"there is no runner {runner_id} that can be removed")


@app.command()
def count(context: typer.Context) -> None:
    """Show how many runners there are."""
    emit(str(session_of(context).call(calls.count)))


def _show(context: typer.Context, key: int | str, form: FormatOption, *, no_truncate: bool) -> None:
    runner = session_of(context).call(calls.find, key)
    if runner is None:
        raise not_found("runner", key, "runner list")
    show_row(runner_row(runner, form), form, no_truncate=no_truncate)
