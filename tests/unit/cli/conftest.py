from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobworkerp_standalone.cli.main import main
from jobworkerp_standalone.cli.session import Session, environment
from tests.support.program import KEPT

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test in an empty directory, with nothing of this machine's settings."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ.keys() - set(KEPT):
        if not name.startswith("PYTEST_"):
            monkeypatch.delenv(name)
    environment.cache_clear()
    yield
    environment.cache_clear()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run one command in this process; its exit code, standard output and standard error."""

    def run_command(*arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run_command


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a command would have called, instead of calling it; ``answer`` is what it gets."""
    seen: dict[str, Any] = {"answer": 1}

    def call(session: Session, action: Any, /, *arguments: Any) -> Any:
        seen.update(session=session, action=action.__name__, arguments=arguments)
        return seen["answer"]

    monkeypatch.setattr(Session, "call", call)
    return seen
