"""What a command does not use, it does not import: most of the time of a short one is imports.

Each is run in a process of its own, which then tells what it has loaded. What is listed here was found to be heavy;
where it is needed after all, look at what it costs (``python -X importtime -m jobworkerp_standalone ...``).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
FLOW: Final = """
document: {dsl: 1.0.3, namespace: test, name: one, version: 0.1.0}
do:
  - only:
      set: {x: 1}
"""
COMMAND: Final = """
import sys
from jobworkerp_standalone.cli.main import main
main(sys.argv[1:])
print(*sys.modules)
"""
DAEMON: Final = """
import asyncio, os, sys
from jobworkerp_standalone.daemon import run_daemon
from jobworkerp_standalone.settings import load_settings

async def start():
    async with run_daemon(load_settings({"SQLITE_URL": sys.argv[1], "GRPC_ADDR": "127.0.0.1:0"})):
        print(*sys.modules)

asyncio.run(start())
"""
MESSAGES: Final = """
import sys
from jobworkerp_standalone.pb.jobworkerp.data import MethodProtoMap, MethodSchema, RunnerData
data = RunnerData(name="a", method_proto_map=MethodProtoMap(schemas={"run": MethodSchema(args_proto="b")}))
assert RunnerData.parse(bytes(data)) == data
print(*sys.modules)
"""
OURS: Final = "jobworkerp_standalone"
ENGINE: Final = {f"{OURS}.{name}" for name in ("backends", "daemon", "embedded", "engine", "rpc")}
RUNNERS_NEED: Final = {
    "docker",
    "grpc",
    "httpx",
    "jq",
    "jsonschema",
    "liquid",
    "mcp",
    "slack_sdk",
    "starlette",
    "uvicorn",
}
UNWANTED: Final = {"alembic", "pydantic.fields", "rich", "sqlalchemy.ext.asyncio", "sqlalchemy.orm", "greenlet"}


@pytest.fixture(autouse=True)
def current_environment() -> None:
    """Whether typer loads pydantic is its version's affair, and the lock decides which that is."""
    pinned = re.search(r"^typer==(\S+)", (ROOT / "requirements" / "dev.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    if version("typer") != pinned[1]:
        pytest.skip("typer is not the one that requirements/dev.txt pins: make dev-env")


def loaded(folder: Path, program: str, *arguments: str) -> set[str]:
    """Return the modules that a program has loaded at its end."""
    (folder / "flow.yml").write_text(FLOW)
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(done.stdout.split())


def heavy(modules: set[str], forbidden: set[str]) -> list[str]:
    """Return what was loaded although it is forbidden, the packages themselves first."""
    return sorted(each for each in modules if any(each == name or each.startswith(f"{name}.") for name in forbidden))


def test_the_version_is_told_without_a_command_line(tmp_path: Path) -> None:
    modules = loaded(tmp_path, COMMAND, "version")
    assert heavy(modules, {"typer", "asyncio", "logging", "subprocess"}) == []


def test_help_needs_nothing_of_what_commands_do(tmp_path: Path) -> None:
    modules = loaded(tmp_path, COMMAND, "--help")
    forbidden = {
        "anyio",
        "asyncio",
        "betterproto2",
        "google",
        "grpclib",
        "logging",
        "pydantic",
        "yaml",
        *UNWANTED,
    }
    assert heavy(modules, forbidden | ENGINE | {f"{OURS}.client", f"{OURS}.settings", f"{OURS}.workflow"}) == []


def test_a_command_does_not_make_the_others(tmp_path: Path) -> None:
    modules = loaded(tmp_path, COMMAND, "job", "--help")
    assert f"{OURS}.cli.job" in modules
    others = {f"{OURS}.cli.{name}" for name in ("worker", "runner", "workflow_file", "run")}
    assert heavy(modules, others | ENGINE | {"asyncio", "grpclib", f"{OURS}.client"}) == []


def test_checking_a_file_needs_neither_network_nor_engine(tmp_path: Path) -> None:
    modules = loaded(tmp_path, COMMAND, "workflow", "check", "flow.yml")
    assert f"{OURS}.workflow.load" in modules
    forbidden = {"asyncio", "betterproto2", "google", "grpclib", "logging", "pydantic", *RUNNERS_NEED, *UNWANTED}
    assert heavy(modules, forbidden | ENGINE | {f"{OURS}.client", f"{OURS}.settings", f"{OURS}.pb"}) == []


def test_a_client_needs_no_daemon_and_no_schemas(tmp_path: Path) -> None:
    modules = loaded(tmp_path, COMMAND, "-a", "http://127.0.0.1:1", "worker-instance", "list")
    assert f"{OURS}.client.client" in modules
    forbidden = {"anyio", "google", "grpc_tools", "sqlalchemy", "yaml", *RUNNERS_NEED, *UNWANTED}
    parts = {f"{OURS}.{name}" for name in ("jobs.model", "runners", "schema", "settings", "workflow")}
    assert heavy(modules, forbidden | ENGINE | parts) == []


def test_messages_are_read_and_written_without_pydantic(tmp_path: Path) -> None:
    assert heavy(loaded(tmp_path, MESSAGES), UNWANTED) == []


def test_a_run_that_keeps_nothing_needs_no_database(tmp_path: Path) -> None:
    modules = loaded(tmp_path, COMMAND, "run", "flow.yml")
    assert f"{OURS}.daemon" in modules
    forbidden = {"aiosqlite", "sqlalchemy", "sqlite3", *RUNNERS_NEED, *UNWANTED}
    assert heavy(modules, forbidden | {f"{OURS}.backends.sql"}) == []


def test_a_daemon_that_starts_loads_what_all_jobs_need(tmp_path: Path) -> None:
    modules = loaded(tmp_path, DAEMON, f"sqlite://{tmp_path}/jobs.sqlite3")
    assert f"{OURS}.backends.sql.store" in modules
    forbidden = {"alembic", "betterproto2", "pydantic", "typer", "yaml", *RUNNERS_NEED, *UNWANTED}
    assert heavy(modules, forbidden | {f"{OURS}.client", f"{OURS}.cli"}) == []
