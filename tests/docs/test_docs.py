"""The documentation names what exists: links, settings, commands and options."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jobworkerp_standalone.cli.app import app
from jobworkerp_standalone.settings import settings_table
from tools.settings_page import page

TOP = Path(__file__).parents[2]
PAGES = sorted([TOP / "README.md", *TOP.glob("docs/**/*.md"), TOP / "CHANGELOG.md", *TOP.glob("runners/*.md")])
BLOCK = re.compile(r"```shell\n(.*?)```", re.DOTALL)


def commands() -> list[list[str]]:
    """Return every jobworkerp command line of the pages, split into words."""
    found: list[list[str]] = []
    for path in PAGES:
        for block in BLOCK.findall(path.read_text()):
            for line in block.splitlines():
                if line.startswith("jobworkerp "):
                    words = shlex.split(line.split(" || ")[0].replace("<the id it printed>", "1"))
                    found.append(words[1:])
    return found


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text()):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_the_settings_page_is_made_from_the_code() -> None:
    assert (TOP / "docs" / "settings.md").read_text() == page()


def test_settings_that_pages_mention_exist() -> None:
    known = {name for row in settings_table() for name in row.names}
    known |= {"JOBWORKERP_ADDR", "JOBWORKERP_AUTH_TOKEN", "WORKFLOW_SECRET_API_KEY"}
    known |= {"WORKFLOW_SKIP_SCHEMA_VALIDATION"}  # said to have no effect
    prefix = re.compile(
        r"`((?:JOB|GRPC|SQLITE|WORKER|STREAM|SHUTDOWN|COMMAND|CHILD|AUTH|LOG|HTTP_RESPONSE|URL_FETCH|SLACK|MCP|PLUGINS|WORKFLOW)_[A-Z_]+)[`=]"
    )
    for path in PAGES:
        for name in prefix.findall(path.read_text()):
            assert name in known, f"{path.name} mentions {name}"


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_line_of_the_pages_can_be_parsed(words: list[str]) -> None:
    """Only parsed: with --help at its end a command does nothing."""
    outcome = CliRunner().invoke(app, [*words, "--help"])
    assert outcome.exit_code == 0, outcome.output
    shown = outcome.output
    for word in words:
        if word.startswith("--") and word != "--timeout":  # which stands before the command
            assert word in shown, f"{word} is not an option of {' '.join(words)}"


def test_make_targets_that_the_readme_names_exist() -> None:
    makefile = (TOP / "Makefile").read_text()
    for target in re.findall(r"^make ([a-z]+)", (TOP / "README.md").read_text(), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
