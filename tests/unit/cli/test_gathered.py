"""Options that make one value together."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import pytest
import typer
from typer.testing import CliRunner

from jobworkerp_standalone.cli.gathered import gathered


class Point(NamedTuple):
    x: Annotated[int, typer.Option("-x", help="Across.")]
    y: Annotated[int, typer.Option("-y", help="Up.")] = 2


class Ink(NamedTuple):
    colour: Annotated[str, typer.Option(help="Of the ink.")] = "black"


@gathered
def draw(context: typer.Context, what: Annotated[str, typer.Argument()] = "dot", *, at: Point, ink: Ink) -> None:
    """Draw something."""
    print(context.info_name, what, at, ink)


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer(rich_markup_mode=None)
    app.command()(draw)
    return app


def test_a_command_gets_the_values(app: typer.Typer) -> None:
    done = CliRunner().invoke(app, ["line", "-x", "1", "--colour", "red"])
    assert done.output == "draw line Point(x=1, y=2) Ink(colour='red')\n"


def test_a_member_without_a_default_is_required(app: typer.Typer) -> None:
    done = CliRunner().invoke(app, [])
    assert (done.exit_code, "Missing option '-x'" in done.output) == (2, True), done.output


def test_help_has_the_members_in_the_place_of_the_value(app: typer.Typer) -> None:
    text = CliRunner().invoke(app, ["--help"]).output
    assert "Draw something." in text
    assert text.index("Across.") < text.index("Up.") < text.index("Of the ink.")
