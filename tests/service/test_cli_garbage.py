"""A command collects no garbage while it loads modules, and does so while it works.

The interpreter tells of what a command does (audit events); with each it is written down whether garbage is collected.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.support.patience import PATIENCE_SEC
from tests.support.ports import held_port
from tests.support.program import Program, document, until

WATCHED: Final = """
import gc, os, sys
event, what = os.environ["WATCHED_EVENT"], os.environ["WATCHED_WORD"]

def watch(name, arguments):
    if name == event and what in str(arguments):
        with open("collects", "a") as file:
            print(gc.isenabled(), file=file)

sys.addaudithook(watch)
from jobworkerp_standalone.cli.main import main
sys.exit(main())
"""
SHELL: Final = "- a: {run: {shell: {command: touch, arguments: [done]}}}"


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


def watched(program: Program, event: str, word: str, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", WATCHED, *arguments],
        cwd=program.folder,
        env={**program.variables, "WATCHED_EVENT": event, "WATCHED_WORD": word},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )


def collects(program: Program, event: str, word: str, *arguments: str) -> set[str]:
    """Run to the end; return whether garbage was collected whenever the event occurred."""
    watched(program, event, word, *arguments).wait(PATIENCE_SEC)
    return told(program)


def told(program: Program) -> set[str]:
    return set((program.folder / "collects").read_text().split())


@pytest.mark.parametrize(
    "arguments", ["--help", "workflow check flow.yml", "run flow.yml", "-a http://127.0.0.1:1 job list"]
)
def test_nothing_is_collected_while_a_command_is_loaded(arguments: str, program: Program) -> None:
    program.write("flow.yml", document(SHELL))
    assert collects(program, "import", "jobworkerp_standalone.cli.app", *arguments.split()) == {"False"}


def test_garbage_is_collected_while_files_are_checked(program: Program) -> None:
    program.write("flow.yml", document(SHELL))
    assert collects(program, "open", "flow.yml", "workflow", "check", "flow.yml") == {"True"}


def test_garbage_is_collected_while_a_server_is_called(program: Program) -> None:
    assert collects(program, "socket.connect", "127.0.0.1", "-a", "http://127.0.0.1:1", "job", "list") == {"True"}


def test_garbage_is_collected_while_a_workflow_runs(program: Program) -> None:
    program.write("flow.yml", document(SHELL))
    assert collects(program, "os.posix_spawn", "touch", "run", "flow.yml") == {"True"}


def test_garbage_is_collected_while_a_daemon_runs_jobs(program: Program) -> None:
    with held_port() as port:
        server = ("--address", f"http://127.0.0.1:{port}")
        daemon = watched(program, "os.posix_spawn", "touch", "all-in-one", "--grpc-addr", f"127.0.0.1:{port}")
        try:
            until(lambda: program.run(*server, "runner", "list")[0] == 0, "the daemon answers")
            program.run(*server, "worker", "create", "-n", "touch", "-r", "COMMAND", "--response-type", "DIRECT")
            args = json.dumps({"command": "touch", "args": ["done"]})
            assert program.run(*server, "job", "enqueue", "-w", "touch", "-a", args)[0] == 0
        finally:
            daemon.terminate()
            daemon.wait(PATIENCE_SEC)
    assert told(program) == {"True"}
