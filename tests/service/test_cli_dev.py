"""``workflow dev`` where a file is saved while its run is in the middle, or waits for somebody."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.service.test_cli_run_server import until_it_waits
from tests.support.patience import PATIENCE_SEC
from tests.support.program import Program, document, interrupt, until
from tests.support.terminal import on_terminal

ASK = "- ask: {run: {shell: 'echo ask >> ran; echo \"?\"'}, then: wait}\n"


def save(program: Program, text: str) -> None:
    """Save the file as editors do."""
    program.write("flow.new", document(text))
    os.replace(program.folder / "flow.new", program.folder / "flow.yml")


def ran(program: Program) -> list[str]:
    """Return which tasks have run."""
    return (program.folder / "ran").read_text().split()


@contextmanager
def developing(program: Program) -> Iterator[subprocess.Popen[str]]:
    """Start ``workflow dev`` with a standard input to which the test writes."""
    with program.started("workflow", "dev", "flow.yml", stdin=subprocess.PIPE) as process:
        yield process


def answer(process: subprocess.Popen[str], line: str) -> None:
    """Type a line."""
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def end(process: subprocess.Popen[str]) -> str:
    """End it, and return the outputs that the runs have shown, without blanks."""
    interrupt(process)
    out, _ = process.communicate(timeout=PATIENCE_SEC)
    return "".join(out.split())


def test_tasks_that_completed_before_a_save_in_the_middle_do_not_run_again(tmp_path: Path) -> None:
    program = Program(tmp_path)
    first, slow = "- first: {run: {shell: 'echo first >> ran; printf 1'}}\n", "- slow: {run: {shell: '%s'}}\n"
    save(program, first + slow % "touch slow; exec sleep 1000")
    with developing(program) as process:
        until((tmp_path / "slow").exists, "the second task runs")
        save(program, first + slow % "rm slow; touch slow; exec sleep 1001")
        told = until_it_says(process, "going on after")
        assert "saved: the run begins again" in told
        until((tmp_path / "slow").exists, "the second task runs again")
        save(program, first + "- last: {set: {got: '${ . }'}}")
        assert "going on after /do/0/first" in until_it_waits(process)
        assert end(process) == '{"got":"1"}'
    assert ran(program) == ["first"]


def test_no_save_takes_a_run_past_a_task_that_waits(tmp_path: Path) -> None:
    """What the task put out before somebody answered is not what comes after it."""
    program = Program(tmp_path)
    save(program, ASK + "- use: {set: {got: '${ . }'}}")
    with developing(program) as process:
        assert "the run waits before /ROOT/do/1/use" in until_it_waits(process)
        save(program, ASK + "- use: {set: {has: '${ . }'}}")
        assert "the run waits before /ROOT/do/1/use" in until_it_waits(process)
        answer(process, '{"yes": 1}')
        until_it_waits(process)
        assert end(process) == '??{"has":{"yes":1}}'
    assert ran(program) == ["ask", "ask"]


def test_an_answer_counts_until_its_task_changes(tmp_path: Path) -> None:
    program = Program(tmp_path)
    save(program, ASK + "- use: {run: {shell: 'touch slow; exec sleep 1000'}}")
    with developing(program) as process:
        until_it_waits(process)
        answer(process, '{"yes": 1}')
        until((tmp_path / "slow").exists, "the run goes on")
        save(program, ASK + "- use: {set: {got: '${ . }'}}")
        assert "going on after /do/0/ask" in until_it_waits(process), "it was saved in the middle"
        save(program, ASK + "- use: {set: {has: '${ . }'}}")
        assert "going on after /do/0/ask" in until_it_waits(process), "it was saved after the end"
        save(program, ASK.replace("?", "!") + "- use: {set: {has: '${ . }'}}")
        assert "the run waits before /ROOT/do/1/use" in until_it_waits(process)
        assert end(process) == '?{"got":{"yes":1}}{"has":{"yes":1}}!'
    assert ran(program) == ["ask", "ask"]


def test_what_was_typed_before_a_run_waits_is_no_answer(tmp_path: Path) -> None:
    """Somebody presses Enter to part the runs on the screen: that is no payload for the next one that waits."""
    program = Program(tmp_path)
    save(program, "- a: {set: {n: 1}}")
    done: list[str] = []

    def press(shown: str) -> str:
        if not done and "to be saved" in shown:
            done.append("typed")
            return "\r\r\r"
        if len(done) == 1 and shown.count("\r\n\r\n") >= 1:
            done.append("saved")
            save(program, ASK + "- use: {set: {got: '${ . }'}}")
        if len(done) == 2 and "to go on with the run" in shown:
            done.append("asked")
            return '"later"\r'
        if len(done) == 3 and "got" in shown.partition("to go on with the run")[2]:
            done.append("over")
            return "\x03"
        return ""

    text = on_terminal(program, "workflow", "dev", "flow.yml", code=0, press=press)
    assert '"got": "later"' in text.partition("to go on with the run")[2]


def until_it_says(process: subprocess.Popen[str], what: str) -> str:
    """Return what it says up to a line with some words."""
    assert process.stderr is not None
    lines: list[str] = []
    while not (lines and what in lines[-1]):
        lines.append(process.stderr.readline())
        assert lines[-1], "".join(lines)
    return "".join(lines)
