"""What ``jobworkerp run`` tells of tasks: what they said, how they ended and why."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest

from tests.support.patience import PATIENCE_SEC
from tests.support.program import Program, document, until
from tests.support.terminal import on_terminal


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


# ---------------------------------------------------------------- how they ended


SLEEPS = "- around: {do: [{sleep: {run: {shell: {command: sleep 1000}}}}]}"


def test_tasks_that_a_timeout_ends_say_so(program: Program) -> None:
    program.write("flow.yml", document(SLEEPS, {"timeout": {"after": "PT1S"}}))
    code, out, err = program.run("run", "flow.yml", "--format", "json", "--junit", "report.xml")
    assert code == 1
    told = [(each["name"], each["state"], each["reason"]) for each in json.loads(out)["tasks"]]
    assert told == [("around", "cancelled", "timeout"), ("sleep", "cancelled", "timeout")]
    for position in ("/ROOT/do/0/around", "/ROOT/do/0/around/do/0/sleep"):
        assert re.search(rf"{position}: ended by a timeout after [\d.]+ s$", err, re.MULTILINE), err
    cases = {
        case.get("name"): case for case in fromstring((program.folder / "report.xml").read_text()).iter("testcase")
    }
    skipped = cases["do/0/around/do/0/sleep"].find("skipped")
    assert skipped is not None
    assert skipped.get("message") == "ended by a timeout"

    code, out, _ = program.run("run", "flow.yml", "--events", "ndjson")
    events = [json.loads(line) for line in out.splitlines()]
    ends = [(each["taskName"], each["reason"]) for each in events if each["kind"] == "taskCancelled"]
    assert (code, ends) == (1, [("sleep", "timeout"), ("around", "timeout")])


def test_the_timeout_of_a_task_ends_what_is_inside(program: Program) -> None:
    program.write("flow.yml", document(SLEEPS.replace("{do:", "{timeout: {after: PT1S}, do:")))
    around, sleep = program.json("run", "flow.yml", code=1)["tasks"]
    assert (around["state"], sleep["state"], sleep["reason"]) == ("faulted", "cancelled", "timeout")


def test_those_that_lose_are_cancelled(program: Program) -> None:
    branches = "[{slow: {run: {shell: {command: sleep 1000}}}}, {fast: {set: {a: 1}}}]"
    program.write("flow.yml", document(f"- race: {{fork: {{compete: true, branches: {branches}}}}}"))
    told = {each["name"]: each for each in program.json("run", "flow.yml")["tasks"]}
    assert {name: each["state"] for name, each in told.items()} == {
        "race": "completed",
        "slow": "cancelled",
        "fast": "completed",
    }
    assert told["slow"]["reason"] == "cancelled"


def test_an_interrupt_cancels_and_that_is_told(program: Program) -> None:
    mark = program.folder / "mark"
    program.write("flow.yml", document(f"- sleep: {{run: {{shell: {{command: 'touch {mark}; sleep 1000'}}}}}}"))
    with program.started("run", "flow.yml", "--junit", "report.xml") as running:
        until(mark.exists, "the task runs")
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=PATIENCE_SEC)
    assert running.returncode == 130
    assert re.search(r"/ROOT/do/0/sleep: cancelled after ", err), err
    assert '<skipped message="cancelled"' in (program.folder / "report.xml").read_text()


LOOP = """
- each:
    for: {each: item, in: '${ [range(6)] }'}
    inParallel: 3
    onError: continue
    do:
      - s: {run: {shell: {command: '[ "$1" != 3 ] || exit 4', arguments: ['${ $item }'], treatNonzeroAsError: true}}}
"""


@pytest.mark.parametrize("text", [LOOP, LOOP.replace("    inParallel: 3\n", "")])
def test_a_loop_that_goes_on_says_what_failed(program: Program, text: str) -> None:
    program.write("flow.yml", document(text))
    code, out, err = program.run("run", "flow.yml", "--format", "json")
    assert code == 0
    each = json.loads(out)["tasks"][0]
    assert (each["name"], each["state"], each["failedItems"]) == ("each", "completed", 1)
    assert re.search(r"do/0/each: completed after .*: 1 of 6 failed: A job failed: .*exit code 4 \(", err), err
    shown = on_terminal(program, "run", "flow.yml", code=0)
    assert "1 of 6 failed: A job failed" in shown


TRACEBACK = """
- a:
    run:
      script:
        language: python
        code: |
          x = {}
          print(x["nokey"])
"""


def test_a_traceback_is_told_once_with_its_lines(program: Program) -> None:
    program.write("flow.yml", document(TRACEBACK))
    with program.started("run", "flow.yml") as running:
        _, err = running.communicate(timeout=PATIENCE_SEC)
    assert running.returncode == 1
    gist = "A script failed: it ended with exit code 1: KeyError: 'nokey' (runtime, 500)"
    assert re.search(rf"/ROOT/do/0/a: FAULTED after [\d.]+ m?s: {re.escape(gist)}$", err, re.MULTILINE), err
    at = err.index("error: A script failed")
    assert err.count("Traceback (most recent call last)") == 1
    lines = err[at:].splitlines()
    assert lines[:2] == [
        "error: A script failed: it ended with exit code 1",
        "  stderr: Traceback (most recent call last):",
    ]
    assert lines[-2:] == ["  KeyError: 'nokey' (runtime, 500 at /do/0/a/run/script)", "  at flow.yml:5:9"]
    assert "stdout:" not in err
    assert "KeyError: 'nokey'" in on_terminal(program, "run", "flow.yml", code=1).partition("error:")[0]


def test_what_a_loop_leaves_out_is_told_once(program: Program) -> None:
    program.write(
        "flow.yml",
        document("- each: {for: {in: '${ [range(9)] }'}, do: [{odd: {if: '${ $item == 4 }', set: {a: 1}}}]}"),
    )
    code, _, err = program.run("run", "flow.yml")
    assert code == 0
    told = [line.split(": ", 1)[1] for line in err.splitlines() if "/odd: " in line]
    assert [line for line in told if "skipped" in line] == ["skipped (x4)", "skipped (x8)"], told
