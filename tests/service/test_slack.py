"""SLACK_POST_MESSAGE against a local server that answers as Slack's documentation says."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.house import STATUS, House, eventually, open_house
from tests.support.processes import descriptors
from tests.support.web import Reply, Route, Seen, WebServer, answering, open_web
from tests.support.wire_client import build

SLACK = 5
PATH = "/api/chat.postMessage"
MESSAGE = {"type": "message", "text": "grün", "ts": "1503435956.000247", "bot_id": "B12345"}


def says(body: Any, status: int = 200, *headers: tuple[str, str]) -> Route:
    return answering(status, json.dumps(body).encode(), [("Content-Type", "application/json; charset=utf-8"), *headers])


POSTED = says({"ok": True, "channel": "C123456", "ts": "1503435956.000247", "message": MESSAGE})


@pytest.fixture
async def slack(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[WebServer]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    async with open_web({PATH: POSTED}) as web:
        yield web


@pytest.fixture
async def house(tmp_path: Path, slack: WebServer) -> AsyncIterator[House]:
    async with open_house(tmp_path, SLACK_API_BASE_URL=f"{slack.url}/api") as opened:
        yield opened


async def worker(house: House, name: str = "slack", *, bot_name: str | None = None, **fields: Any) -> None:
    named = {"bot_name": bot_name} if bot_name is not None else {}
    data = build("jobworkerp.runner.SlackRunnerSettings", bot_token=fields.pop("token", "xoxb-1-abc"), **named)
    await house.worker(name, runner=SLACK, runner_settings=data.SerializeToString(), response_type=1, **fields)


async def post(house: House, name: str = "slack", *, timeout: int = 0, **args: Any) -> Any:
    data = build("jobworkerp.runner.SlackChatPostMessageArgs", **{"channel": "C1", "text": "hi", **args})
    return (await house.enqueue(data.SerializeToString(), name, timeout=timeout)).result.data


async def posted(house: House, name: str = "slack", **args: Any) -> Any:
    data = await post(house, name, **args)
    assert data.status == STATUS["SUCCESS"], data.output.items
    result = build("jobworkerp.runner.SlackChatPostMessageResult")
    result.ParseFromString(data.output.items)
    return result


async def failed(house: House, status: str, name: str = "slack", **args: Any) -> str:
    data = await post(house, name, **args)
    assert data.status == STATUS[status], (data.status, data.output.items)
    return data.output.items.decode()


async def test_a_message_is_posted_and_what_slack_made_of_it_comes_back(house: House, slack: WebServer) -> None:
    await worker(house)
    result = await posted(house, text="grün")
    assert (result.channel, result.ts) == ("C123456", "1503435956.000247")
    assert json.loads(result.message) == MESSAGE
    (seen,) = slack.seen
    assert (seen.method, seen.target, seen.one("Authorization")) == ("POST", PATH, "Bearer xoxb-1-abc")
    assert seen.one("Content-Type").startswith("application/json")
    assert json.loads(seen.body) == {"channel": "C1", "text": "grün"}


async def test_every_field_reaches_slack_under_its_name(house: House, slack: WebServer) -> None:
    await worker(house)
    block = {"type": "section", "text": {"type": "mrkdwn", "text": "*b*"}}
    plain: dict[str, Any] = {
        "icon_emoji": ":x:",
        "link_names": True,
        "mrkdwn": False,
        "parse": "full",
        "thread_ts": "1.2",
        "reply_broadcast": True,
        "unfurl_links": False,
        "username": "me",
    }
    field = {"title": "t", "value": "v", "short": True}
    attachment = {"color": "good", "fields": [field], "mrkdwn_in": ["text"], "ts": 0, "text": "a"}
    await posted(house, blocks=[json.dumps(block)], attachments=[attachment], **plain)
    expected = {"channel": "C1", "text": "hi", "blocks": [block], "attachments": [attachment], **plain}
    assert json.loads(slack.seen[0].body) == expected


async def test_the_bots_name_is_used_where_the_args_have_none(house: House, slack: WebServer) -> None:
    await worker(house, bot_name="robot")
    await posted(house)
    await posted(house, username="me")
    assert [json.loads(seen.body)["username"] for seen in slack.seen] == ["robot", "me"]


async def test_a_message_slack_has_no_object_for(house: House, slack: WebServer) -> None:
    slack.routes[PATH] = says({"ok": True, "channel": "C1", "ts": "1.2"})
    await worker(house)
    assert (await posted(house)).message == "null"


@pytest.mark.parametrize(
    ("args", "word"),
    [
        ({"channel": ""}, "channel"),
        ({"blocks": ["{}", "{"]}, "blocks[1]"),
        ({"blocks": ["[]"]}, "blocks[0]"),
    ],
)
async def test_bad_args_name_the_field_and_nothing_is_posted(
    house: House, slack: WebServer, args: Any, word: str
) -> None:
    await worker(house)
    assert word in await failed(house, "OTHER_ERROR", **args)
    assert not slack.seen


@pytest.mark.parametrize("token", ["", "x y", "x\r\ny", "ü"])
async def test_a_token_that_can_be_none_ends_the_job(house: House, slack: WebServer, token: str) -> None:
    await worker(house, token=token)
    assert "bot_token" in await failed(house, "FATAL_ERROR")


@pytest.mark.parametrize(
    ("route", "status", "word"),
    [
        (says({"ok": False, "error": "invalid_auth"}), "FATAL_ERROR", "bot_token"),
        (says({"ok": False, "error": "missing_scope", "needed": "chat:write"}), "FATAL_ERROR", "chat:write"),
        (says({"ok": False, "error": "channel_not_found"}), "OTHER_ERROR", "channel_not_found"),
        (
            says({"ok": False, "error": "invalid_blocks", "response_metadata": {"messages": ["must be 3 chars"]}}),
            "OTHER_ERROR",
            "must be 3 chars",
        ),
        (says({"ok": False, "error": "internal_error"}), "MAX_RETRY", "internal_error"),
        (answering(503, b"<html>", [("Content-Type", "text/html")]), "MAX_RETRY", "503"),
        (answering(200, b"<html>", [("Content-Type", "text/html")]), "MAX_RETRY", "could not be read"),
        (answering(404), "OTHER_ERROR", "SLACK_API_BASE_URL"),
        (says([]), "MAX_RETRY", "could not be read"),
        (says(None), "MAX_RETRY", "could not be read"),
        (answering(200, b"\xff", [("Content-Type", "application/json")]), "MAX_RETRY", "could not be read"),
    ],
)
async def test_what_slack_answers_decides_how_the_job_ends(
    house: House, slack: WebServer, route: Route, status: str, word: str
) -> None:
    slack.routes[PATH] = route
    await worker(house)
    complaint = await failed(house, status)
    assert word in complaint
    assert "xoxb" not in complaint


def limited_first(slack: WebServer, wait: str) -> Route:
    async def route(seen: Seen, reply: Reply) -> None:
        if len(slack.seen) == 1:
            await says({"ok": False, "error": "ratelimited"}, 429, ("Retry-After", wait))(seen, reply)
        else:
            await POSTED(seen, reply)

    return route


async def test_a_rate_limit_is_waited_for_within_the_deadline(house: House, slack: WebServer) -> None:
    slack.routes[PATH] = limited_first(slack, "1")
    await worker(house)
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert (await posted(house, timeout=60_000)).ts
    assert loop.time() - began >= 1
    assert len(slack.seen) == 2


async def test_a_rate_limit_beyond_the_deadline_is_left_to_the_retry_policy(house: House, slack: WebServer) -> None:
    slack.routes[PATH] = limited_first(slack, "30")
    await worker(house)
    assert "30 s (rate limit)" in await failed(house, "MAX_RETRY", timeout=5_000)
    slack.seen.clear()
    await worker(house, "again", retry_policy={"type": 1, "interval": 1, "max_retry": 1, "basis": 1})
    assert (await posted(house, "again", timeout=20_000)).ts


async def test_slack_that_cannot_be_reached_or_dies_in_the_middle(house: House, slack: WebServer) -> None:
    async def cut(_seen: Seen, reply: Reply) -> None:
        reply.cut()

    async def half(_seen: Seen, reply: Reply) -> None:
        await reply.begin()
        await reply.piece(b'{"ok": tr')
        reply.cut()

    await worker(house)
    for route in (cut, half):
        slack.routes[PATH] = route
        assert "Slack could not be reached" in await failed(house, "MAX_RETRY")


async def silent(_seen: Seen, reply: Reply) -> None:
    await reply.gone()


async def test_a_time_out_says_that_the_message_may_be_there(house: House, slack: WebServer) -> None:
    slack.routes[PATH] = silent
    await worker(house)
    complaint = await failed(house, "MAX_RETRY", timeout=150)
    assert "timeout" in complaint
    await eventually(lambda: slack.open == 0)
    await eventually(lambda: not [each for each in threading.enumerate() if each.name == "slack"])


async def test_two_hundred_cancelled_jobs_leave_neither_thread_nor_connection(house: House, slack: WebServer) -> None:
    await worker(house)
    await posted(house)
    before = descriptors()
    slack.routes[PATH] = silent
    data = build("jobworkerp.runner.SlackChatPostMessageArgs", channel="C1", text="x").SerializeToString()
    for _ in range(50):
        jobs = [await house.enqueue(data, "slack", overrides={"response_type": 0}) for _ in range(4)]
        await eventually(lambda: slack.open == 4)
        for job in jobs:
            await house.delete(job.id.value)
        await eventually(lambda: not len(house.daemon.engine.live))
        await eventually(lambda: threads() == 0)
        await eventually(lambda: slack.open == 0)
    await eventually(lambda: descriptors() <= before)
    slack.routes[PATH] = POSTED
    await posted(house)


async def test_a_cancelled_job_closes_its_connection_also_while_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, contextlib.ExitStack() as crowd:
        for _ in range(4):  # further connections are not answered
            other = crowd.enter_context(socket.socket())
            other.setblocking(False)
            other.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}/api"
        async with open_house(tmp_path, SLACK_API_BASE_URL=url) as house:
            await worker(house)
            assert "timeout" in await failed(house, "MAX_RETRY", timeout=200)
            await eventually(lambda: threads() == 0)


async def test_a_redirect_does_not_take_the_token_along(house: House, slack: WebServer) -> None:
    slack.routes[PATH] = answering(302, b"", [("Location", f"{slack.url}/elsewhere")])
    await worker(house)
    assert "302" in await failed(house, "OTHER_ERROR")
    assert [each.target for each in slack.seen] == [PATH]


def threads() -> int:
    return sum(each.name == "slack" for each in threading.enumerate())


@pytest.mark.parametrize("static", [False, True])
async def test_static_or_not(house: House, slack: WebServer, static: bool) -> None:
    await worker(house, use_static=static)
    for _ in range(2):
        await posted(house)


async def test_neither_token_nor_text_is_logged(
    house: House, slack: WebServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await worker(house, token="xoxb-s3cret")
    await posted(house, text="s3cret")
    slack.routes[PATH] = answering(500, b"s3cret")
    await failed(house, "MAX_RETRY", text="s3cret")
    assert "s3cret" not in "".join(each.getMessage() for each in caplog.records if "slack" in each.name)


@pytest.mark.parametrize("url", ["ftp://x/", "slack", "http://a:b/"])
async def test_a_base_url_that_is_none_names_the_setting(tmp_path: Path, url: str) -> None:
    async with open_house(tmp_path, SLACK_API_BASE_URL=url) as house:
        await worker(house)
        assert "SLACK_API_BASE_URL" in await failed(house, "FATAL_ERROR")
