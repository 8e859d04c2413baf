"""MCP servers come, change, die and go, and the daemon follows."""

from __future__ import annotations

import json
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from grpclib.const import Status

from tests.support.house import open_house, refused
from tests.support.mcp_desk import Desk, alive, answer, configure, failure, http_server, open_desk, plain
from tests.support.ports import held_port
from tests.support.wire_client import build


@pytest.fixture
def port() -> Iterator[int]:
    """A port where nothing listens, unless the test has it."""
    with held_port() as held:
        yield held


async def test_a_server_that_dies_in_the_middle_fails_its_calls_and_comes_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_desk(tmp_path, plain(tmp_path, envs={"API_KEY": "about to"})) as desk:
        await desk.worker(use_static=True, broadcast_results=True)
        hanging = await desk.start("slow", {"hang": True, "steps": 0})
        await desk.until(lambda: "slow begins" in desk.events())
        text = failure(await desk.job("crash"), "MAX_RETRY")
        assert text.startswith("tool 'crash' of MCP server 'test' was broken off: its process ended: exit code 3")
        assert "*** crash" in text, "the end of its standard error, without what is secret"
        assert "broken off" in failure((await desk.house.listen(hanging, desk.latest)).data, "MAX_RETRY")
        assert (await desk.call("fail")).is_error, "the next job has it started again"
        assert len(desk.starts()) == 2
    assert [record for record in caplog.records if "MCP server test is gone" in record.message]


async def test_a_retry_finds_the_server_that_came_back(tmp_path: Path) -> None:
    async with open_desk(tmp_path, plain(tmp_path)) as desk:
        await desk.worker(retry_policy={"type": 3, "interval": 10, "max_retry": 3, "basis": 1.0})
        job = await desk.start("slow", {"hang": True, "steps": 0})
        await desk.until(lambda: "slow begins" in desk.events())
        os.kill(desk.starts()[0], signal.SIGKILL)
        await desk.until(lambda: desk.events().count("slow begins") == 2)
        assert await desk.house.delete(job)


async def test_a_server_at_an_address_comes_back(tmp_path: Path) -> None:
    with http_server("http", tmp_path) as server:
        entry = {"name": "test", "transport": "streamable-http", "url": server.url}
        async with open_desk(tmp_path, entry) as desk:
            await desk.worker(broadcast_results=True)
            assert (await desk.call("fail")).is_error
            hanging = await desk.start("slow", {"hang": True, "steps": 0})
            await desk.until(lambda: "slow begins" in desk.events())
            server.kill()
            assert "broken off" in failure((await desk.house.listen(hanging, desk.latest)).data, "MAX_RETRY")
            text = failure(await desk.job("fail"), "MAX_RETRY")
            assert "MCP server 'test'" in text
            server.again()
            assert (await desk.call("fail")).is_error


async def test_a_server_that_forgot_the_session_is_given_a_new_one(tmp_path: Path) -> None:
    with http_server("http", tmp_path) as server:
        entry = {"name": "test", "transport": "streamable-http", "url": server.url}
        async with open_desk(tmp_path, entry) as desk:
            await desk.worker(retry_policy={"type": 3, "interval": 1, "max_retry": 5, "basis": 1.0})
            server.again()
            assert (await desk.call("fail")).is_error


async def test_what_cannot_be_reached_neither_stops_the_daemon_nor_the_others(
    tmp_path: Path, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    entries = [
        {"name": "missing", "transport": "stdio", "command": "/no/such/program"},
        {"name": "silent", "transport": "stdio", "command": "sleep", "args": ["1000"], "connection_timeout_secs": 0.2},
        {"name": "rude", "transport": "stdio", "command": "echo", "args": ["hello"]},
        {"name": "closed", "transport": "sse", "url": f"http://127.0.0.1:{port}/mcp?token=letters-123"},
        plain(tmp_path),
    ]
    async with open_desk(tmp_path, *entries) as desk:
        await desk.worker()
        assert (await desk.call("fail")).is_error
        for name in ("missing", "silent", "rude", "closed"):
            await desk.until(lambda name=name: f"MCP server {name} cannot be reached" in caplog.text)
            assert await desk.find(name) is None
        for words in ("/no/such/program", "MCP_CONNECTION_TIMEOUT_SECS", "its process ended"):
            assert words in caplog.text
        assert "letters-123" not in caplog.text


async def test_a_server_that_is_there_later_is_found(tmp_path: Path, port: int) -> None:
    entry = {"name": "test", "transport": "streamable-http", "url": f"http://127.0.0.1:{port}/mcp"}
    async with open_desk(tmp_path, entry, MCP_RECONNECT_MAX_SECS="1") as desk:
        assert await desk.find() is None
        with http_server("http", tmp_path, port=port):
            await desk.worker()
            assert (await desk.call("fail")).is_error


async def test_new_tools_become_methods(tmp_path: Path) -> None:
    async with open_desk(tmp_path, plain(tmp_path)) as desk:
        await desk.worker()
        assert "extra" not in (await desk.runner()).data.method_proto_map.schemas
        await desk.call("grow")
        while "extra" not in (await desk.runner()).data.method_proto_map.schemas:
            pass
        assert len(desk.starts()) == 1


async def test_edits_of_the_file_are_followed(tmp_path: Path) -> None:
    async with open_desk(tmp_path, plain(tmp_path)) as desk:
        await desk.worker(use_static=True)
        found = await desk.runner()
        (first,) = {(await desk.text("pid"))[0]}
        desk.configure(plain(tmp_path, description="changed"), plain(tmp_path, "second"))
        await desk.runner("second")
        while (await desk.runner()).data.description != "changed":
            pass
        assert (await desk.runner()).id == found.id
        assert (await desk.text("pid"))[0] != first
        await desk.until(lambda: not alive(first))
        desk.configure(plain(tmp_path, "second"))
        while await desk.find() is not None:
            pass
        assert await desk.find("second")
        async with refused(Status.UNAVAILABLE, "'test'"):
            await desk.house.enqueue(b"", desk.latest)


async def test_a_mistake_in_the_file_costs_nothing_that_runs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with open_desk(tmp_path, plain(tmp_path), plain(tmp_path, "second")) as desk:
        await desk.worker()
        await desk.runner("second")
        pid = (await desk.text("pid"))[0]
        file = tmp_path / "mcp-settings.json"
        file.write_text('{"server": [')
        await desk.until(lambda: f"{file}: not TOML, JSON or YAML; as JSON" in caplog.text)
        broken = plain(tmp_path)
        del broken["command"]
        desk.configure(broken, plain(tmp_path, "second"), plain(tmp_path, "third"))
        await desk.until(lambda: f"{file}: server 'test': command: missing" in caplog.text)
        await desk.runner("third")
        assert (await desk.text("pid"))[0] == pid


async def test_a_server_is_created_and_deleted_at_run_time(tmp_path: Path) -> None:
    definition = {key: value for key, value in plain(tmp_path).items() if key != "name"}
    text = json.dumps({**definition, "envs": {"API_TOKEN": "letters-123"}})
    configure(tmp_path)
    file = str(tmp_path / "mcp-settings.json")
    async with open_house(tmp_path, MCP_CONFIG=file) as house:
        desk = Desk(house, tmp_path)
        reply = await house.client.call(
            "RunnerService.Create", name="made", description="mine", runner_type=7, definition=text
        )
        found = await desk.find("made")
        assert (found.id.value, found.data.description) == (reply.id.value, "mine")
        assert "letters-123" not in str(found)
        async with refused(Status.ALREADY_EXISTS, "made"):
            await house.client.call("RunnerService.Create", name="made", runner_type=7, definition=text)
        await desk.worker("made")
        assert (await desk.house.enqueue(b"", desk.latest, using="pid")).result.data.status == 0
    async with open_house(tmp_path, MCP_CONFIG=file) as house:  # it is still there after a restart
        desk = Desk(house, tmp_path, "w")
        found = await desk.runner("made")
        assert found.id.value == reply.id.value
        worker = await desk.worker("made")
        args = build("jobworkerp.runner.McpServerArgs", tool_name="fail", arg_json='{"why": "x"}').SerializeToString()
        assert answer((await house.enqueue(args, worker)).result.data).is_error
        pid = desk.starts()[-1]
        assert (await house.client.call("RunnerService.Delete", value=found.id.value)).is_success
        assert await desk.find("made") is None
        assert not alive(pid)


async def test_tools_that_are_not_told_anew_stay_and_so_does_what_runs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_desk(tmp_path, plain(tmp_path)) as desk:
        await desk.worker()
        job = await desk.start("slow")
        await desk.until(lambda: "slow begins" in desk.events())
        await desk.call("refuse_lists")
        await desk.until(lambda: "says that its tools changed, but not how: not now" in caplog.text)
        assert (await desk.call("fail")).is_error
        assert await desk.house.delete(job)
        await desk.until(lambda: "slow cancelled" in desk.events())
        assert len(desk.starts()) == 1


async def test_a_line_without_an_end_ends_the_session_on_standard_output_alone(tmp_path: Path) -> None:
    async with open_desk(tmp_path, plain(tmp_path)) as desk:
        await desk.worker()
        assert (await desk.call("babble", {"stderr": True, "mebibytes": 65})).content[0].text.text == "done"
        assert "more than 67108864 bytes" in failure(await desk.job("babble", {"mebibytes": 65}), "MAX_RETRY")
        assert (await desk.call("fail")).is_error
        assert len(desk.starts()) == 2


async def test_a_size_that_no_field_can_hold_is_left_out(tmp_path: Path) -> None:
    async with open_desk(tmp_path, plain(tmp_path)) as desk:
        await desk.worker()
        answers = [await desk.call("link", {"size": 3})]
        args = build("jobworkerp.runner.McpServerArgs", tool_name="link", arg_json=json.dumps({"size": 2**70}))
        answers.append(answer((await desk.house.enqueue(args.SerializeToString(), desk.latest)).result.data))
        links = [each.content[0].resource_link for each in answers]
        assert [each.HasField("size") for each in links] == [True, False]


@pytest.mark.parametrize(
    ("definition", "status", "words"),
    [
        ("", Status.INVALID_ARGUMENT, ["definition", "transport"]),
        ("{", Status.INVALID_ARGUMENT, ["definition", "JSON"]),
        ('transport = "stdio"', Status.INVALID_ARGUMENT, ["command", "missing"]),
        ('transport = "stdio"\ncommand = "/no/such"', Status.INTERNAL, ["cannot be reached", "/no/such"]),
        ('transport = "stdio"\ncommand = "true"', Status.INTERNAL, ["cannot be reached", "ended: exit code 0"]),
    ],
)
async def test_a_definition_that_is_none_is_refused(
    tmp_path: Path, definition: str, status: Status, words: list[str]
) -> None:
    async with open_house(tmp_path) as house:
        async with refused(status, *words):
            await house.client.call("RunnerService.Create", name="made", runner_type=7, definition=definition)
        assert await Desk(house, tmp_path).find("made") is None
