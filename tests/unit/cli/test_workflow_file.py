from __future__ import annotations

import json
from pathlib import Path

from tests.unit.cli.conftest import Run

GOOD = "document: {dsl: 1.0.3, namespace: t, name: flow, version: 1.0.0}\ndo:\n  - a: {set: {x: 1}}\n"
BAD = GOOD + "  - b: {set: {\u4e16: 1}, then: aa}\n"


def test_check_shows_what_a_compiler_shows(run: Run, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yml", tmp_path / "bad.yml"
    good.write_text(GOOD)
    bad.write_text(BAD)
    assert run("workflow", "check", str(good)) == (0, f"{good}: ok\n", "")
    code, out, _ = run("workflow", "check", str(bad), str(good))
    assert code == 2
    assert out.splitlines() == [
        f"{bad}:4:28: error: there is no task 'aa' in this list [/do/1/b/then]",
        "  4 |   - b: {set: {\u4e16: 1}, then: aa}",
        "    | " + " " * 28 + "^",
        "  help: did you mean 'a'?",
        f"{good}: ok",
        "1 error in 1 of 2 files",
    ]


def test_check_gives_json(run: Run, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yml"
    bad.write_text(BAD)
    code, out, _ = run("workflow", "check", "--format", "json", str(bad))
    (row,) = json.loads(out)
    assert (code, row["line"], row["column"], row["severity"], row["pointer"]) == (2, 4, 28, "error", "/do/1/b/then")


def test_files_that_cannot_be_read(run: Run, tmp_path: Path) -> None:
    code, _, err = run("workflow", "check", str(tmp_path / "none.yml"))
    assert code == 2
    assert "cannot be read" in err


def test_graph_draws_or_says_what_is_wrong(run: Run, tmp_path: Path) -> None:
    good, bad, svg = tmp_path / "good.yml", tmp_path / "bad.yml", tmp_path / "flow.svg"
    good.write_text(GOOD)
    bad.write_text(BAD)
    code, out, _ = run("workflow", "graph", str(good))
    assert (code, out.splitlines()[0]) == (0, "flowchart TD")
    assert run("workflow", "graph", str(good), "--format", "svg", "-o", str(svg))[0] == 0
    assert svg.read_text().startswith("<svg")
    code, _, err = run("workflow", "graph", str(bad))
    assert code == 2
    assert "there is no task 'aa'" in err
