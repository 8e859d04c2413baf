"""Commands of the group ``workflow``: looking at files, running them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from jobworkerp_standalone.cli.exits import PROGRAM, Exit, usage
from jobworkerp_standalone.cli.groups import group
from jobworkerp_standalone.cli.lazy import calls_of
from jobworkerp_standalone.cli.options import examples
from jobworkerp_standalone.cli.run import DEV_HELP, RESUME_HELP, WAITING_HELP, dev, resume, waiting
from jobworkerp_standalone.cli.show import as_json, emit

if TYPE_CHECKING:
    from jobworkerp_standalone.cli.calls import workflow_file as calls
else:
    calls = calls_of("workflow_file")

app = group("workflow", "Check, draw and develop workflow files; go on with runs that wait.")
app.command("resume", epilog=RESUME_HELP)(resume)
app.command("waiting", epilog=WAITING_HELP)(waiting)


@app.command("run", hidden=True, context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def run_elsewhere() -> None:
    """Say where it is."""
    raise usage(f"a workflow is run by '{PROGRAM} run FILE'")


app.command("dev", epilog=DEV_HELP)(dev)
Bare = Annotated[bool, typer.Option("--bare", help="Allow files that have 'do' but no 'document'.")]

_PICTURES = (".png", ".pdf", ".jpg", ".jpeg", ".gif", ".webp")
_FILES_HELP = "Files to look at, or directories with workflows in .yml and .yaml files; - is standard input."


@app.command(epilog=examples("workflow check flow.yml", "workflow check --format json flows/"))
def check(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help=_FILES_HELP)],
    bare: Bare = False,
    form: Annotated[
        Literal["text", "json"], typer.Option("--format", case_sensitive=False, help="How to show what is found.")
    ] = "text",
) -> None:
    """Check workflow files: every mistake, with its place and what to do. Exit code 2 if there are any."""
    chosen = calls.files_of(files)
    reports = [calls.look_at(file, bare=bare) for file in chosen.files]
    if form == "json":
        emit(as_json([row for report in reports for row in report.rows()]))
    else:
        calls.show_reports(reports)
    calls.note_skipped(chosen.skipped)
    if any(report.problems for report in reports):
        raise typer.Exit(Exit.USAGE)


@app.command(epilog=examples("workflow graph flow.yml", "workflow graph flow.yml -o flow.svg"))
def graph(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The workflow; - is standard input.")],
    form: Annotated[
        Literal["mermaid", "svg"] | None,
        typer.Option(
            "--format",
            case_sensitive=False,
            help="Mermaid text (the default), or a picture (the default where OUTPUT ends in .svg).",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="OUTPUT", help="Write it here instead of showing it.")
    ] = None,
    bare: Bare = False,
) -> None:
    """Draw a workflow."""
    ending = "" if output is None else output.suffix.lower()
    if form is None and ending in _PICTURES:
        raise usage(f"no {ending} can be drawn: pictures are SVG, so let OUTPUT end in .svg")
    if form is None:
        form = "svg" if ending == ".svg" else "mermaid"
    text = calls.drawn(file, form, bare=bare)
    if output is None:
        emit(text, end="")
    else:
        calls.write(output, text)
