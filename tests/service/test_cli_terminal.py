"""What ``jobworkerp run`` shows on a terminal."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from rich.cells import cell_len

from tests.support.program import Program, document
from tests.support.terminal import Screen, on_terminal

FILLED = """
- twice:
    for: {in: '${ [0, 3600] }'}
    do:
      - say: {run: {shell: {command: 'sleep $1; echo a line that fills what is left', arguments: ['${ $item }']}}}
"""
RUNTIME = "https://serverlessworkflow.io/spec/1.0.0/errors/runtime"
FAULTS = document(
    f"""
- careful:
    try:
      - bad: {{raise: {{error: {{type: "{RUNTIME}", status: 500, title: Oh}}}}}}
    catch:
      do:
        - calm: {{set: {{a: 1}}}}
- left: {{if: "${{ false }}", set: {{a: 2}}}}
- bad:
    raise:
      error: {{type: "{RUNTIME}", status: 500, title: No way, detail: not at all}}
"""
)
LONG = document(
    """
- this is a very long name of a task that does not fit into forty columns:
    do:
      - 这是一个非常非常非常长的任务名称它不适合四十列的终端:
          run: {shell: 'echo something that is rather long as a last line of output'}
      - pause: {for: {in: '${ [range(3)] }'}, do: [{short: {wait: {milliseconds: 200}}}]}
- über: {set: {said: 'é😀'}, output: {as: '${ {said: .said} }'}}
"""
)


def seen(text: str, columns: int) -> list[str]:
    screen = Screen(columns)
    screen.write(text)
    return screen.lines


def test_the_tasks_are_a_tree_and_a_failure_says_why(tmp_path: Path) -> None:
    program = Program(tmp_path)
    program.write("flow.yml", FAULTS)
    text = on_terminal(program, "run", "flow.yml", code=1)
    assert "\x1b[31m" in text
    lines = [re.sub(r"\d+ ms", "TIME", re.sub(" +", " ", line)) for line in seen(text, 100)]
    assert lines == [
        "flow.yml TIME",
        " ✓ careful TIME",
        " ✗ bad TIME Oh (runtime, 500)",
        " ✓ calm TIME",
        " · left",
        " ✗ bad TIME No way: not at all (runtime, 500)",
        "error: No way: not at all (runtime, 500 at /do/2/bad)",
        " at flow.yml:10:5",
        "",
    ]


@pytest.mark.parametrize("columns", [20, 40, 80])
def test_long_names_are_shortened_in_the_middle(tmp_path: Path, columns: int) -> None:
    program = Program(tmp_path)
    program.write("flow.yml", LONG)
    lines = seen(on_terminal(program, "run", "flow.yml", "--format", "json", columns=columns, code=0), columns)
    tree = lines[: lines.index("{")]
    assert [len(tree), tree[0][:2]] == [6, "fl"], "nothing wraps, and nothing of earlier pictures is left"
    assert all(cell_len(line) <= columns - 2 for line in tree)
    if columns > 20:
        assert re.match(r"  ✓ th.*….*ns  +\d", tree[1])
        assert re.match(r"    ✓ 这.*端  +\d", tree[2])


def test_on_a_narrow_terminal_names_come_before_what_was_said(tmp_path: Path) -> None:
    program = Program(tmp_path)
    again = "{delay: {milliseconds: 1}, backoff: {constant: {}}, limit: {attempt: {count: 2}}}"
    error = '{type: "https://serverlessworkflow.io/spec/1.0.0/errors/communication", status: 503, title: no}'
    tasks = f"""
- careful:
    try: [{{boom: {{raise: {{error: {error}}}}}}}]
    catch: {{retry: {again}, do: [{{giveup: {{set: {{a: 1}}}}}}]}}
- say: {{run: {{shell: {{command: 'echo a line that is longer than what is left'}}}}}}
"""
    program.write("flow.yml", document(tasks))
    lines = seen(on_terminal(program, "run", "flow.yml", columns=30, code=0), 30)
    tree = lines[: lines.index("a line that is longer than what is left"[:30])]
    assert [re.split(r"  +", line.strip())[0] for line in tree] == [
        "flow.yml",
        "✓ careful",
        "✗ boom",
        "✓ giveup",
        "✓ say",
    ]
    assert re.search("  at[a-z]*…", tree[1])


def test_an_interrupt_leaves_no_lines_behind(tmp_path: Path) -> None:
    """The terminal writes ^C where the cursor is: at the end of a line, which it must not wrap."""
    program = Program(tmp_path)
    program.write("flow.yml", document(FILLED))
    pressed = False

    def press(shown: str) -> str:
        nonlocal pressed
        if pressed or not re.search(r"x2 +a line", re.sub(r"\x1b\[[\d;]*m", "", shown)):
            return ""
        pressed = True
        return "\x03"

    lines = seen(on_terminal(program, "run", "flow.yml", columns=40, code=130, press=press), 40)
    assert sum("flow.yml" in line for line in lines) == 1, lines


def test_a_file_that_is_saved_or_gone_while_it_runs_leaves_no_lines_behind(tmp_path: Path) -> None:
    """Each run has its tree once; what happens to the file is said above it, and nobody is told of a Ctrl-C."""
    program = Program(tmp_path)
    file, aside = tmp_path / "flow.yml", tmp_path / "aside.yml"
    program.write("flow.yml", document(FILLED))
    done: list[str] = []

    def press(shown: str) -> str:
        step, now = len(done), re.sub(r"\x1b\[[\d;]*m", "", shown)
        if step == 0 and re.search(r"x2 +a line", now):
            os.rename(file, aside)
            done.append("the file is gone")
        elif step == 1 and "is gone" in now:
            aside.write_text(document("- a: {set: {done: true}}"))
            os.rename(aside, file)
            done.append("the file is back")
        elif step == 2 and "to be saved" in now:
            done.append("over")
            return "\x03"
        return ""

    lines = seen(on_terminal(program, "workflow", "dev", "flow.yml", columns=80, code=0, press=press), 80)
    assert [re.sub(r" {2,}.*", "", line.strip()) for line in lines if line] == [
        "flow.yml is gone; it is run again when it is back",
        "saved: the run begins again",
        "flow.yml",
        "■ twice",
        "■ say",
        "flow.yml",
        "✓ a",
        "{",
        '"done": true',
        "}",
        "waiting for flow.yml to be saved; Ctrl-C ends this",
        "^C",
    ]


@pytest.mark.parametrize("variables", [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}])
def test_a_terminal_that_knows_ascii_only(tmp_path: Path, variables: dict[str, str]) -> None:
    program = Program(tmp_path, **variables)
    program.write("flow.yml", LONG)
    text = on_terminal(program, "run", "flow.yml", "-q", code=0)
    if "PYTHONIOENCODING" in variables:
        assert text.isascii()
    text = on_terminal(program, "run", "flow.yml", "--format", "json", columns=40, code=0)
    tree = [line for line in seen(text.partition("{\r\n")[0], 40) if line]
    assert all(line.isascii() for line in tree)
    assert len(tree) == 6
    assert re.match(r"  \+ th.*\.\.\..*ns  +\d", tree[1])


@pytest.mark.parametrize("columns", [20, 50, 80])
@pytest.mark.parametrize(("before", "after"), [("", "a" * 90), ("a" * 90, "a" * 90), ("世" * 60, ""), ("\t" * 9, "")])
def test_the_place_of_a_mistake_is_under_it_however_narrow_the_terminal(
    tmp_path: Path, columns: int, before: str, after: str
) -> None:
    program = Program(tmp_path, NO_COLOR="1")
    task = f'- a: {{set: {{x: "{before}"}}, then: zzz, metadata: {{x: "{after}"}}}}'
    program.write("flow.yml", document(task))
    text = on_terminal(program, "workflow", "check", "flow.yml", columns=columns, code=2)
    snippet, caret = re.findall(r"^  [ 0-9]+ \| .*$", text.replace("\r", ""), re.MULTILINE)
    assert cell_len(snippet) <= columns
    assert cell_len(snippet.partition("zzz")[0]) == cell_len(caret) - 1
    line, shown = f"  {task}".replace("\t", " "), snippet.partition("| ")[2]
    assert shown.startswith("…") != line.startswith(shown.rstrip("…"))
    assert shown.endswith("…") != line.endswith(shown.lstrip("…"))


@pytest.mark.parametrize(("variables", "absent"), [({"NO_COLOR": "1"}, r"\x1b\[[\d;]*m"), ({"TERM": "dumb"}, r"\x1b")])
def test_a_terminal_that_wants_no_colours(tmp_path: Path, variables: dict[str, str], absent: str) -> None:
    program = Program(tmp_path, **variables)
    program.write("flow.yml", FAULTS)
    program.write("bad.yml", document("- a: {sett: {}}"))
    for arguments, code in ((("run", "flow.yml"), 1), (("workflow", "check", "bad.yml"), 2), (("run", "bad.yml"), 2)):
        text = on_terminal(program, *arguments, code=code)
        assert not re.search(absent, text), text


def test_json_is_json_where_the_output_knows_ascii_only(tmp_path: Path) -> None:
    program = Program(tmp_path, PYTHONIOENCODING="ascii")
    program.write("flow.yml", LONG)
    assert program.json("run", "flow.yml", "-q")["output"] == {"said": "é😀"}
