from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Run

GOOD = "document: {dsl: 1.0.3, namespace: t, name: flow, version: 1.0.0}\ndo:\n  - a: {set: {x: 1}}\n"
BOMB = "".join(f"x{n}: &{n} [{f'*{n - 1},' * 9 if n else 'y'}]\n" for n in range(9))
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


def test_files_that_cannot_be_read_do_not_hide_the_others(run: Run, tmp_path: Path) -> None:
    none, latin, bad = tmp_path / "none.yml", tmp_path / "latin.yml", tmp_path / "bad.yml"
    latin.write_bytes("a: b\n\u4e16: ".encode() + b"\xe4\r\n")
    bad.write_text(BAD)
    code, out, _ = run("workflow", "check", str(none), str(latin), str(bad))
    assert code == 2
    lines = out.splitlines()
    assert lines[0] == f"{none}: error: cannot be read: No such file or directory"
    assert lines[1:5] == [
        f"{latin}:2:4: error: the byte 0xe4 is no UTF-8",
        "  2 | \u4e16: \ufffd",
        "    |     ^",
        "  help: save the file as UTF-8",
    ]
    assert "there is no task 'aa'" in out
    assert lines[-1] == "3 errors in 3 of 3 files"
    code, _, err = run("workflow", "graph", str(none))
    assert (code, err) == (2, f"error: {none} cannot be read: No such file or directory\n")


def test_a_directory_stands_for_its_yaml_files(run: Run, tmp_path: Path) -> None:
    for name in ("b.yml", "a/c.yaml", "a/input.json", ".hidden/x.yml", "a/.x.yml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(GOOD if name.endswith("l") and "x" not in name else "nothing")
    assert run("workflow", "check", str(tmp_path)) == (0, f"{tmp_path}/a/c.yaml: ok\n{tmp_path}/b.yml: ok\n", "")
    (tmp_path / "empty").mkdir()
    code, out, _ = run("workflow", "check", str(tmp_path / "empty"))
    assert (code, "empty: error: has no file in it that ends in .yml or .yaml" in out) == (2, True)


def test_a_child_that_is_not_there_is_a_warning(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("here.yml", "flows/beside.yml", "roots/in/a.yml"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(GOOD)
    monkeypatch.setenv("WORKFLOW_ALLOWED_ROOTS", f"/nowhere, {tmp_path}/roots")
    urls = ("here.yml", "beside.yml", "in/a.yml", "http://x.example/a.yml", "/no/a.yml", "'${ .x }'", "gone.yml")
    tasks = "".join(f"  - t{n}: {{run: {{workflow: {{workflowUrl: {url}}}}}}}\n" for n, url in enumerate(urls))
    inner = "  - i: {run: {workflow: {workflowData: {do: [{c: {run: {workflow: {workflowUrl: lost.yml}}}}]}}}}\n"
    (tmp_path / "flows/flow.yml").write_text(GOOD + tasks + inner)
    code, out, _ = run("workflow", "check", "flows/flow.yml")
    heads = [line for line in out.splitlines() if line.startswith("flows/flow.yml:")]
    assert (code, heads[-1]) == (0, "flows/flow.yml: ok")
    assert [head.partition(": warning: ")[2].partition(":")[0] for head in heads[:-1]] == [
        "there is no file gone.yml",
        "there is no file lost.yml",
    ]


def test_files_of_a_directory_that_are_no_workflows_are_left_out(run: Run, tmp_path: Path) -> None:
    texts = {
        "ci.yml": "name: x\non: [push]\njobs:\n  a: {steps: [{do: 1}]}\n",
        "none.yml": "",
        "text.yml": "{{ template }}: x",
        "bare.yml": "do: []",
        "flow.yaml": "{document: {}}",
        "broken.yml": "do:\n - a: [",
        "broken.yaml": "{'do': [",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    code, out, err = run("workflow", "check", str(tmp_path))
    seen = {name for name in texts if f"{tmp_path}/{name}:" in out}
    assert (code, seen) == (2, {"bare.yml", "flow.yaml", "broken.yml", "broken.yaml"})
    assert err.startswith("3 YAML files left out")
    assert run("workflow", "check", str(tmp_path / "ci.yml"))[0] == 2, "a file that is named is looked at"
    (tmp_path / "ci").mkdir()
    (tmp_path / "ci.yml").rename(tmp_path / "ci" / "ci.yml")
    code, out, _ = run("workflow", "check", str(tmp_path / "ci"))
    assert (code, "and is a workflow" in out) == (2, True)


@pytest.mark.parametrize(
    ("content", "place", "message"),
    [
        ("\ufeff" + BAD, "4:28", "there is no task 'aa'"),
        (BAD.replace("\n", "\r\n"), "4:28", "there is no task 'aa'"),
        (f"{GOOD}---\n{GOOD}", "4:1", "more than one document"),
        (GOOD + "\t- b: {set: {x: 1}}\n", "4:1", "not valid YAML"),
        (GOOD + "  - b: {set: {x: \x07}}\n", "4:18", "the character U+0007 is not allowed"),
        (GOOD + "  - a: {set: {x: 1}, 'set': {}}\n", "4:22", "the key 'set' is there twice"),
        (GOOD + "  - b: {set: {x: " + "[" * 200 + "\n", "4:114", "nested deeper than 100 levels"),
        (GOOD + BOMB, "10:5", "aliases included"),
        (GOOD + "  - b: {set: {x: '" + "y" * 300_000 + "'}, then: aa}\n", "4:300029", "there is no task 'aa'"),
        (json.dumps({"do": [{"a": {"then": "b"}}]}, indent=1), "4:9", "the task has no kind"),
    ],
)  # fmt: skip
def test_whatever_the_text_looks_like_the_place_is_right(
    run: Run, tmp_path: Path, content: str, place: str, message: str
) -> None:
    file = tmp_path / "flow.yml"
    file.write_bytes(content.encode())
    code, out, err = run("workflow", "check", "--bare", str(file))
    assert (code, err) == (2, "")
    heads = [line for line in out.splitlines() if line.startswith(f"{file}:")]
    assert any(head.startswith(f"{file}:{place}: error: ") and message in head for head in heads), heads
    assert max(map(len, out.splitlines())) < 300


def test_a_document_cannot_move_the_cursor(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "flow.yml"
    file.write_text(GOOD + '  - b: {set: {x: 1}, "\\e[31m\\n": 1, then: "\\e]0;title\\a"}\n')
    code, out, _ = run("workflow", "check", str(file))
    assert code == 2
    assert "unknown key '?[31m?'" in out
    assert set(out) - {"\n"} == {each for each in out if each.isprintable()}


def test_graph_draws_or_says_what_is_wrong(run: Run, tmp_path: Path) -> None:
    good, bad, svg = tmp_path / "good.yml", tmp_path / "bad.yml", tmp_path / "flow.svg"
    good.write_text(GOOD)
    bad.write_text(BAD)
    code, out, _ = run("workflow", "graph", str(good))
    assert (code, out.splitlines()[1]) == (0, "flowchart TD")
    assert run("workflow", "graph", str(good), "--format", "svg", "-o", str(svg))[0] == 0
    picture = svg.read_text()
    assert picture.startswith("<svg")
    svg.unlink()
    assert run("workflow", "graph", str(good), "-o", str(svg))[0] == 0
    assert svg.read_text() == picture, "the suffix says the form"
    assert run("workflow", "graph", str(good), "--format", "mermaid", "-o", str(svg))[0] == 0
    assert "flowchart TD" in svg.read_text()
    code, _, err = run("workflow", "graph", str(bad))
    assert code == 2
    assert "there is no task 'aa'" in err
    code, _, err = run("workflow", "graph", str(good), "-o", str(tmp_path / "flow.PNG"))
    assert (code, err) == (2, "error: no .png can be drawn: pictures are SVG, so let OUTPUT end in .svg\n")
    assert not (tmp_path / "flow.PNG").exists()
