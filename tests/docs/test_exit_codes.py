"""What the pages and the help say of exit codes is what the program means by them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from jobworkerp_standalone.cli.exits import MEANINGS, RUN_MEANINGS, RUN_WAITS, Exit
from tests.support.program import PROGRAM

ROOT = Path(__file__).parents[2]
RUNNING = (("run",), ("workflow", "resume"), ("job", "enqueue-workflow"))


def plain(text: str) -> str:
    return text.lower().replace("`", "'").rstrip(".")


def test_every_code_has_a_meaning() -> None:
    assert set(MEANINGS) == set(Exit)
    assert set(RUN_MEANINGS) == set(Exit) - {Exit.UNREACHABLE} | {RUN_WAITS}


def test_the_page_has_the_table_of_the_program() -> None:
    text = (ROOT / "docs/run.md").read_text()
    table = text.partition("| Exit code | Meaning |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", table, re.MULTILINE)
    assert {int(code): plain(meaning) for code, meaning in rows} == {
        code: plain(meaning) for code, meaning in RUN_MEANINGS.items()
    }


@pytest.mark.parametrize(("command", "meanings"), [((), MEANINGS), *((each, RUN_MEANINGS) for each in RUNNING)])
def test_help_has_it_too(command: tuple[str, ...], meanings: Mapping[int, str]) -> None:
    shown = subprocess.run([PROGRAM, *command, "--help"], capture_output=True, text=True, check=True).stdout
    table = shown.partition("Exit codes:\n")[2].partition("\n\n")[0]
    assert {int(line.split()[0]): line.split(maxsplit=1)[1] for line in table.splitlines() if line.strip()} == meanings
