"""What the program of the guard ends when the pipe does, told by hand, and whom it never touches."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from jobworkerp_standalone.runners.guard import main as program
from jobworkerp_standalone.runners.guard.main import ENDED, MESSAGE, STARTED
from jobworkerp_standalone.runners.guard.sessions import ticks
from tests.support.patience import PATIENCE_SEC

GUARD = f"import {program.__name__} as program; program.main()"


@contextmanager
def sleeping(script: str = "exec sleep 1000", stdout: int = subprocess.DEVNULL) -> Iterator[subprocess.Popen[bytes]]:
    """Start a session, which nobody but the guard ends before the end of the context."""
    with subprocess.Popen(["sh", "-c", script], stdout=stdout, start_new_session=True) as process:
        try:
            yield process
        finally:
            process.kill()


def guard(*messages: tuple[int, int, int]) -> None:
    """Tell a guard these, end its pipe, and wait until it has done its work."""
    told = b"".join(MESSAGE.pack(*each) for each in messages)
    subprocess.run([sys.executable, "-c", GUARD], input=told, check=True, timeout=PATIENCE_SEC)


def test_what_was_told_and_has_not_ended_is_ended() -> None:
    with sleeping() as left, sleeping() as over:
        guard((STARTED, left.pid, ticks()), (STARTED, over.pid, ticks()), (ENDED, over.pid, 0))
        assert left.wait(PATIENCE_SEC) != 0
        assert over.poll() is None


def test_nothing_is_ended_while_the_daemon_still_dies(monkeypatch: pytest.MonkeyPatch) -> None:
    parents = iter([7, 7, 1])
    monkeypatch.setattr(os, "getppid", lambda: next(parents))
    program._outlive(7)
    assert list(parents) == []


def test_who_has_got_the_number_of_a_program_that_is_over_is_not_touched() -> None:
    before = ticks() - 1
    with sleeping("sleep 1000 & wait") as stranger:
        guard((STARTED, stranger.pid, before))
        assert stranger.poll() is None


def test_who_gets_the_number_while_the_program_may_still_end_is_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["sh", "-c", "trap '' TERM; echo; exec cat"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as stranger:
        assert stranger.stdout is not None
        assert stranger.stdout.readline()
        answers = iter([True, False])
        monkeypatch.setattr(program, "is_from", lambda _leader, _told: next(answers))
        monkeypatch.setattr(program, "_GRACE_SEC", 0.0)
        program._end({stranger.pid: ticks()})
        assert stranger.communicate(b"still there", PATIENCE_SEC) == (b"still there", None)


def test_members_of_a_session_whose_leader_is_gone_are_ended() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as output:
        with sleeping("sleep 1000 & echo $!", stdout=writing) as leader:
            os.close(writing)
            told = ticks()
            assert output.readline()
            leader.wait(PATIENCE_SEC)
        guard((STARTED, leader.pid, told))
        assert output.read() == b"", "nobody holds it any more"


def test_a_program_that_gets_its_output_after_the_end_of_the_pipe_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    looked = threading.Event()
    sessions_at = program.sessions_at

    def look(pipe: int) -> set[int]:
        found = sessions_at(pipe)
        looked.set()
        return found

    monkeypatch.setattr(program, "sessions_at", look)
    monkeypatch.setattr(program, "_LATE_SEC", PATIENCE_SEC)
    number = os.fstat(writing).st_ino
    late = threading.Thread(target=program._end_late, args=(number,), daemon=True)
    late.start()
    assert looked.wait(PATIENCE_SEC)
    with os.fdopen(reading), sleeping(stdout=writing) as process:
        os.close(writing)
        assert process.wait(PATIENCE_SEC) != 0
