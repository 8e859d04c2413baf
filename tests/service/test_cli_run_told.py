"""What ``jobworkerp run`` tells of tasks: what they said, how they ended and why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.program import Program, document


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


def last_lines(program: Program, tasks: str) -> list[str]:
    program.write("flow.yml", document(tasks))
    return [each.get("lastLine", "") for each in program.json("run", "flow.yml")["tasks"]]


# ---------------------------------------------------------------- what they said


@pytest.mark.parametrize(
    "form",
    [
        "{shell: {command: 'echo tick 1; echo tick 2'}}",
        "{runner: {name: COMMAND, arguments: {command: echo, args: [tick 2]}, options: {}}}",
        "{function: {runnerName: COMMAND, arguments: {command: echo, args: [tick 2]}}}",
        "{function: {runnerName: PYTHON_COMMAND, arguments: {scriptContent: print('tick 2')}}}",
        "{script: {language: python, code: print('tick 2')}}",
    ],
)
def test_pieces_of_streams_are_told_as_text(program: Program, form: str) -> None:
    program.write("flow.yml", document(f"- a: {{run: {form}, useStreaming: true}}"))
    code, out, err = program.run("run", "flow.yml", "--events", "ndjson")
    assert code == 0, err
    events = [json.loads(line) for line in out.splitlines()]
    said = [each.get("lastLine") for each in events if each["kind"] == "streamingData"]
    assert "tick 2" in said
    assert said[-1] is None, "the last piece tells how the program ended"
    (ended,) = (each for each in events if each["kind"] == "taskCompleted" and each["taskName"] == "a")
    assert ended["lastLine"] == "tick 2"


def test_an_exit_code_is_told_whatever_form_started_the_program(program: Program) -> None:
    fails = "{command: sh, args: [-c, 'echo no such thing >&2; exit 3']}"
    told = last_lines(
        program,
        f"""
- runner: {{run: {{runner: {{name: COMMAND, arguments: {fails}, options: {{}}}}}}}}
- function: {{run: {{function: {{runnerName: COMMAND, arguments: {fails}}}}}}}
- stream: {{run: {{function: {{runnerName: COMMAND, arguments: {fails}}}}}, useStreaming: true}}
- killed: {{run: {{function: {{runnerName: COMMAND, arguments: {{command: sh, args: [-c, 'kill -9 $$']}}}}}}}}
- python: {{run: {{function: {{runnerName: PYTHON_COMMAND, arguments: {{scriptContent: 'exit(4)'}}}}}}}}
- fine: {{run: {{function: {{runnerName: PYTHON_COMMAND, arguments: {{scriptContent: print('done')}}}}}}}}
""",
    )
    assert told[:3] == ["exit code 3: no such thing"] * 3
    assert told[3:] == ["killed by a signal", "exit code 4", "done"]


def test_the_last_line_is_what_a_terminal_shows(program: Program) -> None:
    told = last_lines(
        program,
        r"""
- bar: {run: {shell: {command: 'printf "10%%\r50%%\r100%%\r\n"'}}}
- red: {run: {shell: {command: 'printf "\033[31mred\033[0m\033[K\n\033[0m\n"'}}}
- failed: {run: {shell: {command: 'printf "10%%\r\033[1mbroken\033[0m" >&2; exit 1'}}}
""",
    )
    assert told == ["100%", "red", "exit code 1: broken"]
