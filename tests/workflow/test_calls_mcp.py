"""``call: mcp``: servers that a document describes, and those of MCP_CONFIG."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.support.house import eventually
from tests.support.mcp_desk import PLAIN, Desk, alive, http_server, open_desk, plain
from tests.support.patience import PATIENCE_SEC, longer_and_longer
from tests.support.processes import descriptors
from tests.support.python_jobs import content
from tests.support.token_server import open_authority
from tests.support.web import Reply
from tests.support.web_values import Seen
from tests.support.wire_client import build
from tests.workflow.stage import WORKFLOW, Stage

SERVER = Path(__file__).parents[1] / "support" / "mcp_server.py"
ROOT = Path(__file__).parents[2]


def call(folder: Path, method: str, parameters: Any = None, **members: Any) -> dict[str, Any]:
    """Return a document with one request to a server that is started for it."""
    stdio = {
        "command": sys.executable,
        "arguments": [str(SERVER), "stdio"],
        "environment": {"MCP_TEST_DIR": str(folder), "PYTHONPATH": str(ROOT)},
    }
    given: dict[str, Any] = {"method": method, "transport": {"stdio": stdio}, **members}
    if parameters is not None:
        given["parameters"] = parameters
    return {"do": [{"ask": {"call": "mcp", "with": given}}]}


async def test_a_tool_is_called(stage: Stage, tmp_path: Path) -> None:
    arguments = {"count": "${ .n }", "tags": ["a"]}
    end = await stage.run(call(tmp_path, "tools/call", {"name": "echo", "arguments": arguments}), {"n": 3})
    assert end.status == "Completed", end.text
    assert '"count": 3' in end.output["content"][0]["text"] or '"count":3' in end.output["content"][0]["text"]


async def test_tools_are_listed(stage: Stage, tmp_path: Path) -> None:
    end = await stage.run(call(tmp_path, "tools/list"), {})
    assert "echo" in [tool["name"] for tool in end.output["tools"]]


async def test_the_limit_may_be_an_expression(stage: Stage, tmp_path: Path) -> None:
    slow = call(tmp_path, "tools/call", {"name": "slow", "arguments": {}}, timeout="${ .limit }")
    end = await stage.run(slow, {"limit": "PT0.1S"})
    assert (end.error["status"], end.error["type"].rpartition("/")[2]) == (408, "timeout")
    assert (await stage.run(slow, {"limit": "soon"})).error["instance"] == "/do/0/ask/with/timeout"


@pytest.mark.parametrize(
    ("method", "parameters", "status", "word"),
    [
        ("${ .m }", {}, 400, "tools/call"),
        ("tools/call", {}, 400, "name"),
        ("tools/call", {"name": "refuse", "arguments": {}}, 500, "tools/call"),
    ],
)
async def test_mistakes(stage: Stage, tmp_path: Path, method: str, parameters: Any, status: int, word: str) -> None:
    end = await stage.run(call(tmp_path, method, parameters), {"m": "tools/frobnicate"})
    assert end.error["status"] == status, end.text
    assert word in end.error["detail"]


async def test_prompts_and_resources_are_asked_for(stage: Stage, tmp_path: Path) -> None:
    async def asked(method: str, parameters: Any = None) -> Any:
        end = await stage.run(call(tmp_path, method, parameters), {})
        assert end.status == "Completed", end.text
        return end.output

    assert (await asked("prompts/list"))["prompts"][0]["arguments"] == [{"name": "who", "required": True}]
    prompt = await asked("prompts/get", {"name": "greet", "arguments": {"who": "ann"}})
    assert prompt["messages"] == [{"role": "user", "content": {"type": "text", "text": "Greet ann."}}]
    assert (await asked("resources/list"))["resources"] == [{"name": "memo", "uri": "memo://1"}]
    assert (await asked("resources/read", {"uri": "memo://7"}))["contents"] == [
        {"uri": "memo://7", "text": "at memo://7"}
    ]
    templates = (await asked("resources/templates/list"))["resourceTemplates"]
    assert templates == [{"name": "memos", "uriTemplate": "memo://{n}"}]
    assert await asked("ping") == {}


async def test_a_list_goes_on_where_a_page_ends(stage: Stage, tmp_path: Path) -> None:
    first = (await stage.run(call(tmp_path, "tools/list"), {})).output
    assert first["nextCursor"] == "more"
    second = (await stage.run(call(tmp_path, "tools/list", "${ {cursor: .next} }"), {"next": "more"})).output
    assert {tool["name"] for tool in first["tools"]}.isdisjoint(tool["name"] for tool in second["tools"])
    assert "nextCursor" not in second


async def test_a_tool_that_failed_is_a_result(stage: Stage, tmp_path: Path) -> None:
    end = await stage.run(call(tmp_path, "tools/call", {"name": "fail", "arguments": {"why": "tired"}}), {})
    assert end.output["isError"] is True
    assert end.output["content"] == [{"type": "text", "text": "tired"}]


# Who asks, and in which words


def program(*command: str, **members: Any) -> dict[str, Any]:
    """Return a document with one request to a program."""
    transport = {"stdio": {"command": command[0], "arguments": list(command[1:])}}
    given = {"method": "tools/list", "transport": transport, **members}
    return {"do": [{"ask": {"call": "mcp", "with": given}}]}


def plain_program(folder: Path, **members: Any) -> dict[str, Any]:
    return program(sys.executable, "-S", "-I", str(PLAIN), str(folder), **members)


@pytest.mark.parametrize("revision", ["2024-11-05", "2025-06-18", "2025-11-25"])
async def test_the_document_names_revision_and_client(stage: Stage, tmp_path: Path, revision: str) -> None:
    client = {"name": "me", "version": "7.0"}
    document = plain_program(tmp_path, protocolVersion=revision, client=client)
    assert (await stage.run(document, {})).status == "Completed"
    told = json.loads((tmp_path / "greeting").read_text())
    assert (told["protocolVersion"], told["clientInfo"]) == (revision, client)


async def test_a_document_that_names_neither_says_who_it_is_itself(stage: Stage, tmp_path: Path) -> None:
    assert (await stage.run(plain_program(tmp_path), {})).status == "Completed"
    told = json.loads((tmp_path / "greeting").read_text())
    assert (told["protocolVersion"], told["clientInfo"]) == ("2025-06-18", {"name": "flow", "version": "1.0.0"})


async def test_the_newest_revision_needs_no_greeting(stage: Stage, tmp_path: Path) -> None:
    end = await stage.run(call(tmp_path, "tools/list", protocolVersion="2026-07-28"), {})
    assert "echo" in [tool["name"] for tool in end.output["tools"]]


async def test_a_revision_that_is_none(stage: Stage, tmp_path: Path) -> None:
    error = (await stage.run(plain_program(tmp_path, protocolVersion="2.0"), {})).error
    assert error["status"] == 400
    assert "2025-06-18" in error["detail"]


async def test_a_server_at_an_address_asks_who_asks(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKFLOW_SECRET_MCP", "sesame-1")

    def document(**endpoint: Any) -> dict[str, Any]:
        given = {"method": "ping", "transport": {"http": {"endpoint": {"uri": server.url, **endpoint}}}}
        return {"use": {"secrets": ["MCP"]}, "do": [{"ask": {"call": "mcp", "with": given}}]}

    with http_server("http", tmp_path, token="sesame-1") as server:
        known = {"bearer": {"token": "${ $secrets.MCP }"}}
        assert (await stage.run(document(authentication=known), {})).output == {}
        error = (await stage.run(document(), {})).error
        assert (error["type"].rpartition("/")[2], error["status"]) == ("communication", 401)
        digest = {"digest": {"username": "a", "password": "b"}}
        error = (await stage.run(document(authentication=digest), {})).error
        assert (error["status"], error["instance"]) == (400, "/do/0/ask/with/transport/http/endpoint/authentication")


async def test_a_token_that_is_refused_is_asked_for_anew(stage: Stage) -> None:
    async with open_authority() as authority:

        async def guarded(seen: Seen, reply: Reply) -> None:
            request: dict[str, Any] = json.loads(seen.body) if seen.body else {}
            about = {"protocolVersion": "2025-06-18", "serverInfo": {"name": "g", "version": "1"}, "capabilities": {}}
            if seen.all("authorization") != [f"Bearer {authority.given[-1]}"]:
                await reply.answer(401, b"who are you")
            elif "id" not in request:
                await reply.answer(202 if request else 405)
            else:
                result = about if request["method"] == "initialize" else {}
                body = json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}).encode()
                await reply.answer(200, body, [("Content-Type", "application/json")])

        authority.web.routes["/mcp"] = guarded
        client = {"id": "me", "secret": "hush-hush"}
        policy = {"oauth2": {"authority": authority.url, "grant": "client_credentials", "client": client}}
        endpoint = {"uri": f"{authority.url}/mcp", "authentication": policy}
        by_hand = {"authorization": "Basic bWluZTo="}
        document = {
            "do": [
                {
                    "ask": {
                        "call": "mcp",
                        "with": {"method": "ping", "transport": {"http": {"endpoint": endpoint, "headers": by_hand}}},
                    }
                }
            ]
        }
        assert (await stage.run(document, {})).output == {}
        authority.given.append("revoked all others")
        assert (await stage.run(document, {})).output == {}
        assert len(authority.asked) == 2


# Servers that misbehave

BABBLER = """
import sys
for _ in range(50): print("no JSON")
print("{", file=sys.stderr)
for line in sys.stdin: print("no JSON", flush=True)
"""
DEAF = "import time; time.sleep(1000)"
HUGE = """
import json, sys
for line in sys.stdin:
    got = json.loads(line)
    if got.get("method") == "initialize":
        about = {"serverInfo": {"name": "h", "version": "1"}, "capabilities": {}}
        print(json.dumps({"jsonrpc": "2.0", "id": got["id"], "result": {"protocolVersion": "2025-06-18", **about}}))
    elif "id" in got:
        print("x" * 70_000_000)
    sys.stdout.flush()
"""


@pytest.mark.parametrize(
    ("command", "word"),
    [
        (("/nowhere/server",), "/nowhere/server"),
        (
            (sys.executable, "-c", "import sys; print('bad luck', file=sys.stderr); sys.exit(3)"),
            "exit code 3\nbad luck",
        ),
        ((sys.executable, "-c", HUGE), "more than 67108864 bytes"),
    ],
)
async def test_a_program_that_is_no_server(stage: Stage, command: tuple[str, ...], word: str) -> None:
    error = (await stage.run(program(*command), {})).error
    assert (error["type"].rpartition("/")[2], error["status"]) == ("communication", 503)
    assert " ".join(word.split()) in " ".join(error["detail"].split())


@pytest.mark.parametrize("code", [BABBLER, DEAF])
async def test_a_program_that_never_answers_ends_with_the_call(stage: Stage, tmp_path: Path, code: str) -> None:
    marked = f"import os; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n{code}"
    for limit in longer_and_longer(500):
        document = program(sys.executable, "-c", marked, timeout={"milliseconds": limit})
        assert (await stage.run(document, {})).error["status"] == 408
        if content(tmp_path / "pid"):
            break
    assert not alive(int(content(tmp_path / "pid")))


async def test_a_server_that_dies_in_the_middle(stage: Stage, tmp_path: Path) -> None:
    document = plain_program(tmp_path, method="tools/call", parameters={"name": "crash"})
    error = (await stage.run(document, {})).error
    assert error["status"] == 503
    assert "exit code 3" in error["detail"]
    assert "about to crash" in error["detail"]


async def test_a_call_that_is_cancelled_leaves_no_process(stage: Stage, tmp_path: Path) -> None:
    parameters = {"name": "slow", "arguments": {"hang": True}}
    job = await stage.start(plain_program(tmp_path, method="tools/call", parameters=parameters), {})
    with anyio.fail_after(PATIENCE_SEC):
        await eventually(lambda: "slow begins" in events(tmp_path))
        await stage.house.client.call("JobService.Delete", build("jobworkerp.data.JobId", value=job))
        assert (await stage.result(job)).job_status == "CANCELLED"
    assert "slow cancelled" in events(tmp_path), "the server is told"
    assert not any(alive(int(line.split()[1])) for line in events(tmp_path) if line.startswith("started"))


async def test_what_a_server_started_ends_with_the_call(stage: Stage, tmp_path: Path) -> None:
    end = await stage.run(plain_program(tmp_path, method="tools/call", parameters={"name": "pid"}), {})
    assert not any(map(alive, json.loads(end.output["content"][0]["text"])))


async def test_a_hundred_calls_leave_nothing(stage: Stage, tmp_path: Path) -> None:
    inner = plain_program(tmp_path, method="tools/call", parameters={"name": "env", "arguments": {"name": "HOME"}})
    document = {"do": [{"all": {"for": {"in": "${ [range(.n)] }"}, "inParallel": True, **inner}}]}
    await stage.run(document, {"n": 1})  # what expressions need stays open
    (tmp_path / "events").unlink()
    before = descriptors()
    end = await stage.run(document, {"n": 100})
    assert end.status == "Completed", end.text
    assert len(end.output) == 100
    started = [int(line.split()[1]) for line in events(tmp_path) if line.startswith("started")]
    assert len(started) == 100
    assert not any(map(alive, started))
    await eventually(lambda: descriptors() <= before)


def events(folder: Path) -> list[str]:
    path = folder / "events"
    return path.read_text().splitlines() if path.exists() else []


# Servers of MCP_CONFIG


@asynccontextmanager
async def configured(folder: Path, **keys: Any) -> AsyncIterator[tuple[Stage, Desk]]:
    async with open_desk(folder, plain(folder, **keys)) as desk:
        await desk.house.worker("flow", WORKFLOW, response_type=1)
        await desk.runner()
        yield Stage(desk.house), desk


def named(method: str, parameters: Any = None, server: str = "test", **members: Any) -> dict[str, Any]:
    given = {"server": server, "method": method, "parameters": parameters or {}, **members}
    return {"do": [{"ask": {"call": "mcp", "with": given}}]}


async def test_a_configured_server_is_asked_over_its_session(tmp_path: Path) -> None:
    async with configured(tmp_path) as (stage, desk):
        for _ in range(3):
            end = await stage.run(
                named("tools/call", {"name": "fail", "arguments": {"why": "no"}}, "${ .s }"), {"s": "test"}
            )
            assert end.output == {"content": [{"type": "text", "text": "no"}], "isError": True}, end.text
        assert len(desk.starts()) == 1


async def test_an_isolated_server_gets_a_session_for_the_call(tmp_path: Path) -> None:
    async with configured(tmp_path, isolated=True) as (stage, desk):
        assert (await stage.run(named("tools/list"), {})).status == "Completed"
        assert len(desk.starts()) == 2


async def test_a_configured_server_that_dies_is_there_for_the_next_call(tmp_path: Path) -> None:
    async with configured(tmp_path, envs={"API_KEY": "about to"}) as (stage, desk):
        error = (await stage.run(named("tools/call", {"name": "crash"}), {})).error
        assert (error["status"], "*** crash" in error["detail"]) == (503, True)
        assert (await stage.run(named("tools/list"), {})).status == "Completed"
        assert len(desk.starts()) == 2


async def test_a_configured_server_has_its_own_time_limit(tmp_path: Path) -> None:
    async with configured(tmp_path, call_timeout_secs=0.2) as (stage, _):
        error = (await stage.run(named("tools/call", {"name": "slow", "arguments": {"hang": True}}), {})).error
        assert error["status"] == 408


async def test_a_server_that_is_not_configured(tmp_path: Path) -> None:
    async with configured(tmp_path) as (stage, _):
        error = (await stage.run(named("tools/list", server="best"), {})).error
        assert (error["status"], error["instance"]) == (404, "/do/0/ask")
        assert "which has: test" in error["detail"]


async def test_mistakes_are_found_when_a_document_is_read(stage: Stage) -> None:
    http = {"http": {"endpoint": "http://127.0.0.1:1/"}}
    calls = [
        {"method": "tools/lists", "server": "x"},
        {"method": "ping"},
        {"method": "ping", "server": "x", "transport": http},
        {"method": "ping", "server": "x", "client": {"name": "a", "version": "1"}},
        {"method": "ping", "transport": http, "client": {"name": "a"}},
    ]
    end = await stage.run({"do": [{f"t{n}": {"call": "mcp", "with": each}} for n, each in enumerate(calls)]}, {})
    for word in (
        "'tools/lists' is no method",
        "needs one of transport, server",
        "has 'transport' and 'server'",
        "'client' has no meaning",
        "'client' lacks 'version'",
    ):
        assert word in end.text


async def test_a_server_that_is_not_there(stage: Stage) -> None:
    transport = {"http": {"endpoint": "http://127.0.0.1:1/mcp"}}
    document = {"do": [{"ask": {"call": "mcp", "with": {"method": "tools/list", "transport": transport}}}]}
    assert (await stage.run(document, {})).error["status"] == 503


async def test_a_slow_server_is_interrupted(stage: Stage, tmp_path: Path) -> None:
    document = call(tmp_path, "tools/call", {"name": "slow", "arguments": {}}, timeout={"milliseconds": 100})
    assert (await stage.run(document, {})).error["status"] == 408
