"""Tools of MCP servers as jobs: what is called, what comes back, what goes wrong."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from grpclib.const import Status

from tests.support.house import eventually, refused
from tests.support.mcp_desk import Desk, alive, answer, decode, failure, http_server, open_desk, plain, stdio
from tests.support.patience import longer_and_longer
from tests.support.processes import descriptors
from tests.support.wire_client import build


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module", params=["stdio", "streamable-http", "sse"])
async def desk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    """The test server over each transport; ``sse`` finds out that it is the older one that is spoken."""
    kind: str = request.param
    folder = tmp_path_factory.mktemp(kind)
    if kind == "stdio":
        async with open_desk(folder, stdio(folder)) as desk:
            yield desk
        return
    with http_server("sse" if kind == "sse" else "http", folder) as server:
        async with open_desk(folder, {"name": "test", "transport": kind, "url": server.url}) as desk:
            yield desk
        server.kill()


@pytest.fixture(scope="module")
async def one(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    """The test server as a process."""
    folder = tmp_path_factory.mktemp("one")
    async with open_desk(folder, stdio(folder)) as desk:
        yield desk


async def test_arguments_arrive_as_the_json_that_was_meant(desk: Desk) -> None:
    await desk.worker()
    arguments = {
        "count": 0, "ratio": 0.5, "loud": False, "mode": "very-fast", "dashed-name": "", "limit": 2**53 + 1,
        "tags": [], "place": {"x": 0},
    }  # fmt: skip
    result = await desk.call("echo", {**arguments, "when": "next week", "options": '{"a": 1}'})
    arrived = {**arguments, "when": "next week", "options": {"a": 1}}
    assert json.loads(result.content[0].text.text) == arrived
    assert json.loads(result.structured_content) == {"arguments": arrived}


async def test_every_kind_of_content_comes_back(desk: Desk) -> None:
    await desk.worker()
    result = await desk.call("media")
    kinds = [each.WhichOneof("raw_content") for each in result.content]
    assert kinds == ["text", "image", "audio", "resource", "resource", "resource_link"]
    text, image, audio, memo, blob, link = result.content
    assert (text.text.text, json.loads(text.annotations)) == ("seen", {"priority": 0.5})
    assert (image.image.mime_type, audio.audio.data) == ("image/png", "AAAA")
    assert (memo.resource.text.uri, memo.resource.text.text, memo.resource.text.mime_type) == (
        "memo://1",
        "m",
        "text/plain",
    )
    assert (blob.resource.blob.blob, blob.resource.blob.HasField("mime_type")) == ("AQID", False)
    assert (link.resource_link.uri, link.resource_link.size) == ("https://example.org/", 3)
    assert json.loads(result.meta) == {"trace": 7}


async def test_a_stream_tells_progress_and_log_then_the_answer(desk: Desk) -> None:
    await desk.worker()
    items = await desk.stream("slow", {"steps": 2})
    progress = [
        (each.progress.progress, each.progress.total, each.progress.message)
        for each in items
        if each.HasField("progress")
    ]
    assert progress == [(1, 2, "step 1"), (2, 2, "step 2")]
    logs = [
        (each.log.level, each.log.logger, json.loads(each.log.data), each.log.shared)
        for each in items
        if each.HasField("log")
    ]
    assert logs == [("info", "slow", {"step": 1}, False), ("info", "slow", {"step": 2}, False)]
    assert items[-1].content[0].text.text == "done"


async def test_the_folded_stream_is_the_answer_alone(one: Desk) -> None:
    await one.worker(store_success=True)
    async with one.streaming("slow", {"steps": 1}) as (job, stream):
        while await stream.recv_message() is not None:
            pass
    (stored,) = await one.house.results(job)
    folded = answer(stored.data)
    assert [each.text.text for each in folded.content] == ["done"]
    assert not folded.HasField("progress")
    assert not folded.HasField("log")


async def test_a_chatty_server_costs_no_memory_and_says_what_was_left_out(one: Desk) -> None:
    await one.worker()
    items = await one.stream("chatty", {"lines": 3000})
    logs = [each.log for each in items if each.HasField("log")]
    assert len(logs) + sum(each.left_out for each in logs) == 3000
    assert json.loads(logs[-1].data) == 2999
    assert items[-1].content[0].text.text == "done"


async def test_an_error_of_the_tool_is_a_result_unless_it_is_to_be_a_failure(desk: Desk) -> None:
    await desk.worker()
    result = await desk.call("fail", {"why": "no such city"})
    assert result.is_error
    assert result.content[0].text.text == "no such city"
    strict = await desk.job("fail", {"why": "no such city", "treat_error_status_as_error": True})
    assert "no such city" in failure(strict, "MAX_RETRY")


@pytest.mark.parametrize(("code", "status"), [(-32602, "OTHER_ERROR"), (-32601, "OTHER_ERROR"), (-32603, "MAX_RETRY")])
async def test_a_protocol_error_says_whether_to_try_again(one: Desk, code: int, status: str) -> None:
    await one.worker()
    text = failure(await one.job("refuse", {"code": code}), status)
    assert text == f"tool 'refuse' of MCP server 'test' failed: refused (code {code})"


async def test_bad_args_are_named(one: Desk) -> None:
    await one.worker()
    data = (await one.house.enqueue(b"\xff\xff", one.latest, using="echo")).result.data
    assert "TestEchoArgs" in failure(data, "OTHER_ERROR")
    assert "options is not JSON" in failure(await one.job("echo", {"count": 1, "options": "{"}), "OTHER_ERROR")
    async with refused(Status.INVALID_ARGUMENT, "nothing", "echo", "media"):
        await one.house.enqueue(b"", one.latest, using="nothing")


async def test_the_older_form_calls_any_tool(desk: Desk) -> None:
    await desk.worker()
    found = await desk.runner()
    assert "string tool_name = 1;" in found.data.job_args_proto
    args = build("jobworkerp.runner.McpServerArgs", tool_name="echo", arg_json='{"count": 1, "tags": []}')
    data = (await desk.house.enqueue(args.SerializeToString(), desk.latest)).result.data
    assert json.loads(answer(data).content[0].text.text) == {"count": 1, "tags": []}


async def test_a_cancelled_job_is_told_to_the_server_and_frees_its_slot(desk: Desk) -> None:
    await desk.worker(channel="narrow")
    job = await desk.start("slow", {"hang": True, "steps": 0})
    await desk.until(lambda: "slow begins" in desk.events())
    assert await desk.house.delete(job)
    assert (await desk.call("fail")).is_error, "the slot is free"
    await desk.until(lambda: "slow cancelled" in desk.events())
    assert len(desk.starts()) <= 1


async def test_a_cancelled_stream_is_told_to_the_server(desk: Desk) -> None:
    await desk.worker(channel="narrow")
    async with desk.streaming("slow", {"hang": True, "steps": 1}) as (job, stream):
        await stream.recv_message()
        assert await desk.house.delete(job)
        async with refused(Status.CANCELLED):
            while await stream.recv_message() is not None:
                pass
            await stream.recv_trailing_metadata()
    await desk.until(lambda: "slow cancelled" in desk.events())


async def test_a_time_out_is_told_to_the_server(one: Desk) -> None:
    await one.worker()
    for limit in longer_and_longer(200):
        text = failure(await one.job("slow", {"hang": True, "steps": 0}, timeout=limit), "MAX_RETRY")
        assert f"{limit} ms" in text
        if "slow begins" in one.events():
            break
    await one.until(lambda: "slow cancelled" in one.events())


async def test_a_server_may_have_a_time_limit_for_its_calls(tmp_path: Path) -> None:
    for limit in longer_and_longer(200):
        folder = tmp_path / str(limit)
        folder.mkdir()
        async with open_desk(folder, plain(folder, call_timeout_secs=limit / 1000)) as desk:
            await desk.worker()
            text = failure(await desk.job("slow", {"hang": True, "steps": 0}), "MAX_RETRY")
            assert f"call_timeout_secs ({limit / 1000:g} s)" in text
            if "slow begins" in desk.events():
                await desk.until(lambda: "slow cancelled" in desk.events())
                break


async def test_200_cancelled_calls_leave_nothing(one: Desk) -> None:
    await one.worker()
    await one.call("fail")
    before = descriptors()
    for _ in range(10):
        jobs = [await one.start("slow", {"hang": True, "steps": 0}) for _ in range(20)]
        for job in jobs:
            assert await one.house.delete(job)
    assert (await one.call("fail")).is_error
    await one.until(lambda: one.events().count("slow cancelled") == one.events().count("slow begins"))
    await eventually(lambda: descriptors() <= before)
    assert len(one.starts()) == 1


async def test_one_session_serves_all_workers(one: Desk) -> None:
    plain, warm = await one.worker(), await one.worker(use_static=True)
    pids = {(await one.text("pid", worker=name))[0] for name in (plain, plain, warm, warm)}
    assert pids == {*one.starts()}
    assert len(pids) == 1


async def test_an_isolated_server_has_a_process_for_each_job_or_warm_instance(tmp_path: Path) -> None:
    async with open_desk(tmp_path, plain(tmp_path, isolated=True)) as desk:
        first = await desk.worker()
        await desk.worker(use_static=True, channel="narrow")
        single = [await desk.text("pid", worker=first) for _ in range(2)]
        assert single[0][0] != single[1][0]
        await desk.until(lambda: not any(alive(pid) for pids in single for pid in pids))
        warm = [(await desk.text("pid"))[0] for _ in range(2)]
        assert warm[0] == warm[1]
        assert warm[0] not in [pid for pids in single for pid in pids]


async def test_the_server_and_what_it_started_end_with_the_daemon(tmp_path: Path) -> None:
    async with open_desk(tmp_path, plain(tmp_path)) as desk:
        await desk.worker()
        pids = await desk.text("pid")
        assert all(alive(pid) for pid in pids)
    assert not any(alive(pid) for pid in pids)


async def test_the_process_sees_its_own_variables_and_none_of_our_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_PASSWORD", "s3cret")
    monkeypatch.setenv("HARMLESS", "seen")
    monkeypatch.setenv("DENIED_THING", "hidden")
    entry = plain(tmp_path, envs={"API_TOKEN": "for-the-server"})
    async with open_desk(tmp_path, entry, CHILD_ENV_DENY="DENIED_*") as desk:
        await desk.worker()
        for name, value in {
            "API_TOKEN": "for-the-server", "HARMLESS": "seen", "DB_PASSWORD": None, "DENIED_THING": None,
        }.items():  # fmt: skip
            assert await desk.text("env", {"name": name}) == value
        shown = (await desk.runner()).data.definition
        assert "for-the-server" not in shown
        assert "API_TOKEN" in shown


async def test_headers_are_sent_and_not_shown(tmp_path: Path) -> None:
    with http_server("http", tmp_path, token="letters-123") as server:
        entry = {
            "name": "test",
            "transport": "sse",
            "url": server.url,
            "headers": {"Authorization": "Bearer letters-123"},
        }
        async with open_desk(tmp_path, entry) as desk:
            await desk.worker()
            assert (await desk.call("fail")).is_error
            assert "letters-123" not in str(await desk.runner())
        server.kill()


async def test_a_stream_that_is_to_fail_sends_its_answer_first(one: Desk) -> None:
    await one.worker()
    strict = {"why": "late", "treat_error_status_as_error": True}
    async with one.streaming("fail", strict) as (_job, stream):
        item = one.house.client.reply("JobService.EnqueueForStream", await stream.recv_message())
        assert decode(item.data).content[0].text.text == "late"
        async with refused(Status.ABORTED, "late"):
            while await stream.recv_message() is not None:
                pass
            await stream.recv_trailing_metadata()
