from __future__ import annotations

import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobworkerp_standalone.cli.checks import (
    check_address,
    check_docker,
    check_mcp,
    check_plugins,
    check_storage,
    check_token,
    check_uv,
    is_everywhere,
)
from jobworkerp_standalone.settings import Address, Settings


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port of a program that says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_port_is_free_or_taken(silent_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobworkerp_standalone.cli.checks._CONNECT_SEC", 0.2)
    taken = check_address(Address("127.0.0.1", silent_port))
    assert taken.state == "fail"
    assert "taken by another program" in taken.text
    assert check_address(Address("0.0.0.0", silent_port)).state == "fail"
    assert check_address(Address("127.0.0.1", 0)).state == "ok"
    assert check_address(Address("192.0.2.1", 9)).state == "fail"


@pytest.mark.parametrize(("host", "everywhere"), [("0.0.0.0", True), ("::", True), ("::1", False), ("name", False)])
def test_addresses_that_mean_every_address(host: str, everywhere: bool) -> None:
    assert is_everywhere(host) is everywhere


def test_storage(tmp_path: Path) -> None:
    assert check_storage(":memory:").state == "warn"
    new = check_storage(str(tmp_path / "new.sqlite3"))
    assert (new.state, new.text.endswith("will be created")) == ("ok", True)
    with sqlite3.connect(tmp_path / "old.sqlite3") as database:
        database.execute("CREATE TABLE alembic_version (version_num TEXT)")
        database.execute("INSERT INTO alembic_version VALUES ('0001')")
    database.close()
    assert check_storage(str(tmp_path / "old.sqlite3")).text.endswith("schema version 0001")
    (tmp_path / "text.sqlite3").write_text("not a database at all, but long enough to look like one" * 20)
    assert check_storage(str(tmp_path / "text.sqlite3")).state == "fail"


def test_token() -> None:
    here, elsewhere = (Address("127.0.0.1", 1), Address("localhost", 1)), (Address("0.0.0.0", 1),)
    assert check_token(Settings(grpc_addresses=here), {}).state == "ok"
    assert check_token(Settings(grpc_addresses=elsewhere), {}).state == "warn"
    assert check_token(Settings(auth_token="t"), {}).state == "warn"
    assert check_token(Settings(auth_token="t"), {"JOBWORKERP_AUTH_TOKEN": "t"}).state == "ok"


def test_docker_and_uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_docker(f"unix://{tmp_path}/docker.sock").state == "warn"
    assert check_docker("tcp://127.0.0.1:2375").state == "ok"
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("docker.sock")
        server.listen()
        assert check_docker("unix://docker.sock").state == "ok"
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert check_uv().state == "warn"


def test_plugins(tmp_path: Path) -> None:
    found = list(check_plugins(f"{tmp_path}, {tmp_path}/none", named=True))
    assert [each.state for each in found] == ["ok", "warn"]
    assert [each.state for each in check_plugins("runners", named=False)] == ["ok"]


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ('[[server]]\nname = "time"\ncommand = "uvx"\n', "ok"),
        ("", "ok"),
        ("[[server]]\ncommand = 'uvx'\n", "fail"),
        ("server = 5\n", "fail"),
        ("[[server\n", "fail"),
        ("\xff", "fail"),
    ],
)
def test_mcp_file(text: str, state: str, tmp_path: Path) -> None:
    path = tmp_path / "mcp.toml"
    path.write_text(text, encoding="latin-1")
    assert check_mcp(path, named=True).state == state


def test_mcp_file_that_is_not_there(tmp_path: Path) -> None:
    assert check_mcp(tmp_path / "none", named=True).state == "fail"
    assert check_mcp(tmp_path / "none", named=False).state == "ok"
