"""What may be read for whom."""
# ruff: noqa: ASYNC230, ASYNC240 - the files of a test are small and at hand

from __future__ import annotations

import http.server
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from jobworkerp_standalone.jobs.errors import SettingsError
from jobworkerp_standalone.net.rules import FetchRules
from jobworkerp_standalone.settings import load_settings
from jobworkerp_standalone.workflow.source import DOCUMENTS, SourceError, SourceRules, read_source


@pytest.fixture
def rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SourceRules:
    (tmp_path / "work").mkdir()
    (tmp_path / "more").mkdir()
    (tmp_path / "outside.yml").write_text("outside")
    monkeypatch.chdir(tmp_path / "work")
    return SourceRules(roots=(tmp_path / "work", tmp_path / "more"), fetch=FetchRules(deny_private=True))


async def test_files_of_the_roots_are_read(rules: SourceRules, tmp_path: Path) -> None:
    Path("flow.yml").write_bytes(b"\xef\xbb\xbfdo: \xc3\xa9")
    (tmp_path / "more" / "a b.yml").write_text("more")
    assert await read_source("flow.yml", rules) == "do: \u00e9"
    assert await read_source(" ./flow.yml ", rules) == "do: \u00e9"
    assert await read_source(f"{tmp_path}/more/a b.yml", rules) == "more"
    assert await read_source(f"file://{tmp_path}/more/a%20b.yml", rules) == "more"


async def test_relative_paths_are_looked_for_in_the_working_directory_first(rules: SourceRules, tmp_path: Path) -> None:
    (tmp_path / "more" / "flow.yml").write_text("more")
    assert await read_source("./flow.yml", rules) == "more"
    (tmp_path / "work" / "flow.yml").write_text("work")
    assert await read_source("./flow.yml", rules) == "work"
    with pytest.raises(SourceError, match=r"looked for at .*work/none.yml and .*more/none.yml"):
        await read_source("none.yml", rules)


@pytest.mark.parametrize(
    "named", ["../outside.yml", "link.yml", "dir/outside.yml", "{top}/outside.yml", "file://{top}/outside.yml"]
)
async def test_files_elsewhere_are_not(named: str, rules: SourceRules, tmp_path: Path) -> None:
    Path("link.yml").symlink_to(tmp_path / "outside.yml")
    Path("dir").symlink_to(tmp_path)
    with pytest.raises(SourceError, match="WORKFLOW_ALLOWED_ROOTS"):
        await read_source(named.format(top=tmp_path), rules)


@pytest.mark.parametrize("named", [".env", "./.env", "file://{top}/work/.env", ".git/config", "a/.b/c.yml", "link.yml"])
async def test_hidden_files_are_not(named: str, rules: SourceRules, tmp_path: Path) -> None:
    for hidden in (".env", ".git/config", "a/.b/c.yml"):
        path = Path(hidden)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("SECRET=1")
    Path("link.yml").symlink_to(".env")
    place = named.format(top=tmp_path)
    with pytest.raises(
        SourceError, match=r"it is hidden, .*; rename it, or set WORKFLOW_ALLOW_ANY_NAME=true"
    ) as refused:
        await read_source(place, rules)
    assert "SECRET" not in str(refused.value)
    assert await read_source(place, replace(rules, any_name=True)) == "SECRET=1"


async def test_a_root_may_be_hidden_itself_and_a_mounted_config_map_is_not(rules: SourceRules, tmp_path: Path) -> None:
    (tmp_path / ".flows").mkdir()
    (tmp_path / ".flows" / "flow.yml").write_text("hidden")
    (tmp_path / "more" / "..2026_01").mkdir()
    (tmp_path / "more" / "..2026_01" / "mounted.yml").write_text("mounted")
    (tmp_path / "more" / "mounted.yml").symlink_to("..2026_01/mounted.yml")
    within = replace(rules, roots=(*rules.roots, tmp_path / ".flows"))
    assert await read_source("flow.yml", within) == "hidden"
    assert await read_source("mounted.yml", within) == "mounted"


async def test_documents_have_their_endings(rules: SourceRules) -> None:
    Path("notes.txt").write_text("notes")
    Path("flow.YML").write_text("do: 1")
    assert await read_source("flow.YML", rules, DOCUMENTS) == "do: 1"
    with pytest.raises(SourceError, match=r"does not end in \.yaml or \.yml or \.json"):
        await read_source("notes.txt", rules, DOCUMENTS)
    assert await read_source("notes.txt", rules) == "notes"
    assert await read_source("notes.txt", replace(rules, any_name=True), DOCUMENTS) == "notes"


@pytest.mark.parametrize(
    "named", ["data/jobs.db", "data/jobs.db-wal", "logs/jobworkerp.log.2026-01-01", "servers.toml"]
)
async def test_files_of_the_daemon_are_never_read(named: str, rules: SourceRules, tmp_path: Path) -> None:
    settings = {
        "SQLITE_URL": "sqlite://data/jobs.db",
        "LOG_FILE_DIR": "logs",
        "MCP_CONFIG": f"{tmp_path}/work/servers.toml",
    }
    found = SourceRules.of(load_settings({**settings, "WORKFLOW_ALLOW_ANY_NAME": "true"}))
    Path(named).parent.mkdir(exist_ok=True)
    Path(named).write_text("inside")
    Path("link").symlink_to(named)
    for place in (named, "link"):
        with pytest.raises(SourceError, match="a file of the daemon itself"):
            await read_source(place, found)


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("missing.yml", "no such file"),
        ("", "is empty"),
        (".", "cannot be read|is no file"),
        ("pipe", "is no file"),
        ("bytes", "not text in UTF-8"),
        ("large", "is larger than"),
        ("ftp://example.com/x", "not of ftp"),
        ("file://elsewhere/x", "of the host elsewhere"),
    ],
)
async def test_what_cannot_be_read_says_why(named: str, message: str, rules: SourceRules) -> None:
    os.mkfifo("pipe")
    Path("bytes").write_bytes(b"\xff")
    with Path("large").open("wb") as file:
        file.truncate(11 * 1024 * 1024)
    with pytest.raises(SourceError, match=message):
        await read_source(named, rules)


async def test_a_working_directory_that_was_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone, more = tmp_path / "gone", tmp_path / "more"
    gone.mkdir()
    more.mkdir()
    (more / "flow.yml").write_text("more")
    monkeypatch.chdir(gone)
    gone.rmdir()
    rules = SourceRules.of(load_settings({"WORKFLOW_ALLOWED_ROOTS": str(more)}))
    assert await read_source(f"{more}/flow.yml", rules) == "more"
    assert await read_source("flow.yml", rules) == "more"
    with pytest.raises(SourceError, match="directory was deleted: give an absolute path"):
        await read_source("none.yml", rules)


class _Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"do: here")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the base
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.HTTPServer(("127.0.0.1", 0), _Page) as found:
        thread = threading.Thread(target=found.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{found.server_port}/flow.yml"
        found.shutdown()
        thread.join()


async def test_private_hosts_are_asked_only_if_allowed(rules: SourceRules, server: str) -> None:
    with pytest.raises(SourceError, match=r"127\.0\.0\.1"):
        await read_source(server, rules)
    allowed = FetchRules(deny_private=True, allowed_hosts=frozenset({"127.0.0.1"}))
    assert await read_source(server, SourceRules(roots=(), fetch=allowed)) == "do: here"


def test_documents_by_url_have_the_limit_of_the_settings() -> None:
    assert SourceRules.of(load_settings({"WORKFLOW_HTTP_TIMEOUT_SEC": "7"})).fetch.timeout_sec == 7
    assert SourceRules.of(load_settings({})).fetch.timeout_sec == 30


@pytest.mark.parametrize("agent", ["two\nlines", "caf\u00e9"])
def test_an_agent_that_no_header_can_name_is_refused_at_the_start(agent: str) -> None:
    with pytest.raises(SettingsError, match=r"^WORKFLOW_HTTP_USER_AGENT=.*: expected ASCII"):
        load_settings({"WORKFLOW_HTTP_USER_AGENT": agent})
