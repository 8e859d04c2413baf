"""MCP_CONFIG: three formats, both generations of keys, and mistakes that name themselves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobworkerp_standalone.runners.mcp.config import Http, Limits, McpServer, Stdio
from jobworkerp_standalone.runners.mcp.settings_file import Mistake, read_definition, read_settings

README = """
[[server]]
name = "time"
description = "timezone"
protocol = "stdio"
command = "uvx"
args = ["mcp-server-time", "--local-timezone=Asia/Tokyo"]

[[server]]
name = "fetch"
protocol = "sse"
url = "http://localhost:8080"
"""
TIME = McpServer("time", Stdio("uvx", ("mcp-server-time", "--local-timezone=Asia/Tokyo")), "timezone")
FETCH = McpServer("fetch", Http("sse", "http://localhost:8080"))


def test_the_older_keys_are_read() -> None:
    found = read_settings(README, "mcp-settings.toml")
    assert found.servers == {"time": TIME, "fetch": FETCH}
    assert not found.mistakes


def test_the_newest_keys_are_read_from_each_format() -> None:
    entry = {
        "name": "web",
        "transport": "streamable-http",
        "url": "https://example.org/mcp",
        "headers": {"Authorization": "Bearer abcdef"},
        "isolated": True,
        "call_timeout_secs": 1.5,
    }
    wanted = McpServer(
        "web",
        Http("streamable-http", "https://example.org/mcp", {"Authorization": "Bearer abcdef"}),
        limits=Limits(call=1.5),
        isolated=True,
    )
    yaml = """
server:
  - name: web
    transport: streamable-http
    url: https://example.org/mcp
    headers: {Authorization: Bearer abcdef}
    isolated: true
    call_timeout_secs: 1.5
"""
    toml = """
[[server]]
name = "web"
transport = "streamable-http"
url = "https://example.org/mcp"
headers = { Authorization = "Bearer abcdef" }
isolated = true
call_timeout_secs = 1.5
"""
    for text in (json.dumps({"server": [entry]}), yaml, toml):
        assert read_settings(text, "file").servers == {"web": wanted}


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({}, ["server 'bad'", "transport", "missing"]),
        ({"transport": "pigeon"}, ["transport", "'pigeon'", "stdio"]),
        ({"transport": ["stdio"]}, ["transport", "stdio"]),
        ({"transport": "stdio"}, ["command", "missing"]),
        ({"transport": "stdio", "command": " "}, ["command", "empty"]),
        ({"transport": "stdio", "command": "x", "args": "y"}, ["args", "list of strings"]),
        ({"transport": "stdio", "command": "x", "envs": {"PORT": 1}}, ["envs", "'PORT'", "quotes"]),
        ({"transport": "stdio", "command": "x", "envs": {"A=B": ""}}, ["envs", "'A=B'"]),
        ({"transport": "sse"}, ["url", "missing"]),
        ({"transport": "sse", "url": "localhost:80"}, ["url", "http://"]),
        ({"transport": "sse", "url": "http://h", "headers": {"a b": "c"}}, ["headers", "'a b'"]),
        ({"transport": "sse", "url": "http://h", "headers": {"a": "b\nc"}}, ["headers", "'a'"]),
        ({"transport": "sse", "url": "http://h", "isolated": "yes"}, ["isolated", "'yes'"]),
        ({"transport": "sse", "url": "http://h", "call_timeout_secs": -1}, ["call_timeout_secs", "-1"]),
        ({"transport": "stdio", "command": "x", "description": 3}, ["description", "string"]),
    ],
)
def test_a_mistake_names_file_entry_and_key_and_costs_no_other_entry(
    entry: dict[str, object], words: list[str]
) -> None:
    good = {"name": "time", "transport": "stdio", "command": "uvx"}
    found = read_settings(json.dumps({"server": [{"name": "bad", **entry}, good]}), "some/file.json")
    (mistake,) = found.mistakes
    for word in ["some/file.json", "server 'bad'", *words]:
        assert word in mistake
    assert list(found.servers) == ["time"]
    assert found.broken == {"bad"}


def test_an_entry_without_a_name_is_counted() -> None:
    found = read_settings('{"server": [{"transport": "stdio", "command": "x"}, 7]}', "f")
    assert [mistake.split(": ")[1:3] for mistake in found.mistakes] == [
        ["server number 1", "name"],
        ["server number 2", "it is no table of keys such as name, transport and command"],
    ]


def test_a_name_is_taken_once() -> None:
    found = read_settings(README + README, "f")
    assert found.servers == {"time": TIME, "fetch": FETCH}
    assert len(found.mistakes) == 2
    assert "taken" in found.mistakes[0]
    assert not found.broken


def test_an_unknown_key_is_told_and_the_entry_used() -> None:
    found = read_settings(README.replace("command", "env = {}\ncommand"), "f")
    assert list(found.servers) == ["time", "fetch"]
    assert "unknown key" in found.mistakes[0]
    assert "envs" in found.mistakes[0]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.toml", "[[server]\n", ["a.toml", "TOML", "line 1"]),
        ("a.json", '{"server": [}', ["a.json", "JSON", "line 1"]),
        ("a.yaml", "server: [\n", ["a.yaml", "YAML"]),
        ("a.toml", "[server]\nname = 'x'\n", ["a.toml", "[[server]]"]),
        ("a.toml", "[[mcp_servers]]\nname = 'x'\n", ["mcp_servers", "[[server]]"]),
        ("a.json", "[]", ["a.json", "[[server]]"]),
    ],
)
def test_a_document_that_is_none_is_a_mistake_of_the_file(name: str, text: str, words: list[str]) -> None:
    with pytest.raises(Mistake) as caught:
        read_settings(text, name)
    for word in words:
        assert word in str(caught.value)


def test_a_complaint_quotes_no_secret() -> None:
    with pytest.raises(Mistake) as caught:
        read_settings("server:\n - token: hunter22\n  : x\n", "a.yaml")
    assert "hunter22" not in str(caught.value)


def test_nothing_is_no_server() -> None:
    assert read_settings("", "f").servers == {}
    assert read_settings("# only a comment\n", "f.yaml").servers == {}


def test_the_file_of_a_checkout_is_good() -> None:
    text = (Path(__file__).parents[4] / "mcp-settings.toml").read_text()
    assert not read_settings(text, "mcp-settings.toml").mistakes
    examples = "\n".join(line.removeprefix("# ") for line in text.splitlines() if line.startswith(("# [", "# ")))
    examples = examples[examples.index("[[server]]") :]
    found = read_settings(examples, "mcp-settings.toml")
    assert not found.mistakes
    assert len(found.servers) >= 3


def test_a_definition_is_the_transport_alone() -> None:
    server = read_definition("n", "d", 'transport = "stdio"\ncommand = "x"\n')
    assert server == McpServer("n", Stdio("x"), "d")
    for text, word in [
        ('name = "other"\ntransport = "stdio"\ncommand = "x"', "'name'"),
        ("42", "table of keys"),
        ("", "transport"),
        ('transport = "stdio"\ncommand = "x"\nurl = "http://h"', "'url'"),
    ]:
        with pytest.raises(Mistake, match=word):
            read_definition("n", "", text)


def test_clients_see_no_secrets() -> None:
    secrets = ["hunter22", "tok-123456", "pass-word", "query-secret", "opt-secret", "var-secret"]
    shown = [
        McpServer("a", Stdio("x", ("--api-key", "opt-secret", "--token=tok-123456", "API_KEY=var-secret", "--port=1"),
                             {"PASSWORD": "hunter22"})),
        McpServer("b", Http("sse", "https://me:pass-word@h:8/p?api_key=query-secret&page=2", {"X-Auth": "hunter22"})),
    ]  # fmt: skip
    text = "".join(server.definition for server in shown)
    for secret in secrets:
        assert secret not in text
    for kept in ["--port=1", "PASSWORD", "X-Auth", "page=2", "h:8/p", "API_KEY"]:
        assert kept in text
    for server in shown:
        leaked = "".join(server.redactor.clean(f"<{secret}>") for secret in server.transport.secrets())
        assert not any(secret in leaked for secret in secrets)


def test_a_bearer_token_is_taken_out_of_texts_with_and_without_its_scheme() -> None:
    server = McpServer("b", Http("sse", "http://h", {"Authorization": "Bearer abcdef123"}))
    assert server.redactor.clean("401 for abcdef123 (Bearer abcdef123)") == "401 for *** (***)"


@pytest.mark.parametrize(
    "args",
    [
        ["mcp-remote", "https://example.org/mcp", "--header", "Authorization: Bearer letters-123"],
        ["-H", "X-Api-Key:letters-123"],
        ["-HAuthorization: letters-123"],
        ["--header=X-Auth-Token: letters-123"],
        ["--token", "letters-123"],
        ["API_KEY=letters-123"],
        ["--url", "postgres://me:letters-123@host/db"],
        ["https://letters-123@host/"],
        ["https://host/?token=letters-123&x=y"],
    ],
)
def test_a_secret_in_a_command_line_is_in_no_text(args: list[str]) -> None:
    server = read_definition("one", "", json.dumps({"transport": "stdio", "command": "uvx", "args": args}))
    assert "letters-123" not in server.definition
    assert "letters-123" not in server.redactor.clean("said: " + " ".join(args))
    assert server.redactor.clean("https://example.org/mcp and host") == "https://example.org/mcp and host"


def test_a_secret_in_an_address_is_in_no_text_however_it_is_written() -> None:
    server = read_definition("one", "", 'transport = "sse"\nurl = "http://host/mcp?token=letters%2F123&x=1"')
    assert "123" not in server.redactor.clean("404 for http://host/mcp?token=letters%2F123&x=1, letters/123")
    assert "x=1" in server.definition


@pytest.mark.parametrize(
    "url", ["http://me:letters-123@[oops/", "http://me:letters-123@host:99999/", "ftp://me:letters-123@h"]
)
def test_an_address_that_cannot_be_is_a_mistake_that_quotes_no_secret(url: str) -> None:
    with pytest.raises(Mistake, match="url:") as caught:
        read_definition("one", "", json.dumps({"transport": "sse", "url": url}))
    assert "letters-123" not in str(caught.value)
