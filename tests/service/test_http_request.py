"""HTTP_REQUEST, from a request on the wire to the bytes of its result, against real servers."""

from __future__ import annotations

import asyncio
import gzip
import logging
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.house import STATUS, House, eventually, open_house
from tests.support.http_jobs import failed, got, pairs, silent, stream, worker
from tests.support.patience import longer_and_longer
from tests.support.processes import descriptors
from tests.support.web import Reply, Seen, WebServer, answering, open_web, redirect, text
from tests.support.wire_client import build


@pytest.fixture
async def web(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[WebServer]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    async with open_web() as opened:
        yield opened


async def test_method_path_query_headers_and_body_arrive_as_given(house: House, web: WebServer) -> None:
    await worker(house, f"{web.url}/api/?fixed=1")
    web.routes["/api/things"] = answering(
        201, b"made", [("X-Two", "a"), ("X-Two", "b"), ("Content-Type", "text/plain")]
    )
    result = await got(
        house,
        "things",
        method="PaTCH",
        queries=pairs(("q", "a b&c"), ("q", "ü")),
        headers=pairs(("X-A", "1"), ("X-A", "2"), ("X-Ü".encode().decode("ascii", "ignore"), "x")),
        body="grün",
    )
    (seen,) = web.seen
    assert (seen.method, seen.target) == ("PaTCH", "/api/things?q=a+b%26c&q=%C3%BC")
    assert (seen.all("X-A"), seen.body) == (["1", "2"], "grün".encode())
    assert {name.lower() for name, _ in seen.headers} == {"host", "x-a", "x-", "content-length", "accept"}
    assert (result.status_code, result.content) == (201, "made")
    assert [each.value for each in result.headers if each.key == "x-two"] == ["a", "b"]
    await got(house, "", queries=pairs(("q", "1")))
    assert web.seen[-1].target == "/api/?fixed=1&q=1"


@pytest.mark.parametrize(
    ("path", "target"),
    [("", "/a/b"), ("c", "/a/c"), ("/c", "/c"), ("../c?x=1#y", "/c?x=1"), ("?x", "/a/b?x"), ("a b", "/a/a%20b")],
)
async def test_paths_are_resolved_against_the_base(house: House, web: WebServer, path: str, target: str) -> None:
    await worker(house, f"{web.url}/a/b")
    await got(house, path)
    assert web.seen[0].target == target


@pytest.mark.parametrize("path", ["http://localhost:{port}/x", "//localhost:{port}/x", "http://127.0.0.1:1/x"])
async def test_a_path_may_not_leave_the_host_unless_the_worker_says_so(house: House, web: WebServer, path: str) -> None:
    await worker(house, web.url)
    text_of_failure = await failed(house, path.format(port=web.port), status="OTHER_ERROR")
    assert "allow_absolute_path" in text_of_failure
    assert not web.seen
    await worker(house, web.url, "free", {"allow_absolute_path": True})
    await worker(house, "", "any")
    if "localhost" in path:
        await got(house, path.format(port=web.port), name="free")
    await got(house, f"{web.url}/x", name="any")
    assert "base_url" in await failed(house, "/x", status="OTHER_ERROR", name="any")


async def test_any_status_is_a_success_unless_the_args_say_otherwise(house: House, web: WebServer) -> None:
    await worker(house, web.url, retry_policy={"type": 1, "interval": 1, "max_retry": 2, "basis": 1})
    web.routes["/no"] = answering(503, b"overloaded", [("Content-Type", "text/plain")])
    assert (await got(house, "/no")).status_code == 503
    web.seen.clear()
    complaint = await failed(house, "/no?token=s3cret", treat_error_status_as_error=True)
    assert len(web.seen) == 3
    assert complaint == f"GET {web.url}/no?...: the server answered 503 Said: overloaded"
    assert (await got(house, "/no", treat_error_status_as_error=False)).status_code == 503


async def test_text_and_bytes(house: House, web: WebServer) -> None:
    await worker(house, web.url)
    web.routes["/latin"] = answering(200, "grün".encode("latin-1"), [("Content-Type", "text/plain; charset=Latin-1")])
    web.routes["/json"] = answering(200, '{"a":"ü"}'.encode(), [("Content-Type", "application/json")])
    web.routes["/png"] = answering(200, b"plain", [("Content-Type", "image/png")])
    web.routes["/bad"] = answering(200, b"a\xff", [("Content-Type", "text/plain")])
    web.routes["/none"] = answering(200, b"no type")
    web.routes["/odd"] = answering(200, b"a\\u0041", [("Content-Type", "text/plain; charset=unicode_escape")])
    web.routes["/empty"] = answering(204)
    assert (await got(house, "/latin")).content == "grün"
    assert (await got(house, "/json")).content == '{"a":"ü"}'
    assert (await got(house, "/png")).chunk == b"plain"
    assert (await got(house, "/bad")).chunk == b"a\xff"
    assert (await got(house, "/none")).content == "no type"
    assert (await got(house, "/odd")).chunk == b"a\\u0041"
    assert (await got(house, "/empty")).WhichOneof("response_data") == "content"
    await got(house, "/none", method="POST", body_bytes=b"\x00\xff")
    assert web.seen[-1].body == b"\x00\xff"
    assert "body_bytes" in await failed(house, "/none", status="OTHER_ERROR", body="a", body_bytes=b"b")


async def test_a_packed_answer_is_unpacked(house: House, web: WebServer) -> None:
    await worker(house, web.url)
    headers = [("Content-Encoding", "gzip"), ("Content-Type", "text/plain")]
    web.routes["/gz"] = answering(200, gzip.compress(b"unpacked"), headers)
    web.routes["/broken"] = answering(200, b"not gzip", headers)
    assert (await got(house, "/gz")).content == "unpacked"
    assert f"{web.url}/broken" in await failed(house, "/broken")


async def test_a_response_header_may_hold_any_byte(house: House, web: WebServer) -> None:
    await worker(house, web.url)
    web.routes["/a"] = answering(200, headers=[("X-Odd", "gr\xfcn"), ("X-Utf", "ü".encode().decode("latin-1"))])
    headers = {each.key: each.value for each in (await got(house, "/a")).headers}
    assert (headers["x-odd"], headers["x-utf"]) == ("grün", "ü")


@pytest.mark.parametrize(
    ("args", "word"),
    [
        ({"method": ""}, "method"),
        ({"method": "GE T"}, "method"),
        ({"headers": pairs(("a b", "c"))}, "headers[0].key"),
        ({"headers": pairs(("a", "b"), ("c", "d\r\nHost: x"))}, "headers[1].value"),
        ({"path": "http://["}, "path"),
        ({"path": "/\r\n"}, "path"),
        ({"headers": pairs(("Content-Length", "5")), "body": "x", "method": "POST"}, "headers[0].value '5'"),
        ({"headers": pairs(("a", "b"), ("content-length", "x"))}, "headers[1].value 'x'"),
    ],
)
async def test_args_that_cannot_be_sent_name_the_field(house: House, web: WebServer, args: Any, word: str) -> None:
    await worker(house, web.url)
    assert word in await failed(house, **{"status": "OTHER_ERROR", **args})
    assert "Traceback" not in await failed(house, **{"status": "OTHER_ERROR", **args})


async def test_args_that_do_not_decode_name_the_message(house: House, web: WebServer) -> None:
    await worker(house, web.url)
    data = (await house.enqueue(b"\xff\xff", "web")).result.data
    assert data.status == STATUS["OTHER_ERROR"]
    assert b"jobworkerp.runner.HttpRequestArgs" in data.output.items


@pytest.mark.parametrize("base_url", ["not a url", "ftp://host/", "/relative", "http://a:b/"])
async def test_settings_that_cannot_be_used_end_the_job_for_good(house: House, web: WebServer, base_url: str) -> None:
    await worker(house, base_url)
    assert "base_url" in await failed(house, "/", status="FATAL_ERROR")


async def test_a_refused_connection_is_tried_again(house: House, web: WebServer) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        await worker(house, f"http://127.0.0.1:{free.getsockname()[1]}")
        assert "no connection" in await failed(house, "/")
    await worker(house, "http://no-such-host.invalid", "lost")
    assert "no connection" in await failed(house, "/", name="lost")


async def test_a_server_that_dies_in_the_middle_fails_the_job_and_may_be_asked_again(
    house: House, web: WebServer
) -> None:
    async def once_broken(_seen: Seen, reply: Reply) -> None:
        if len(web.seen) > 1:
            await reply.answer(200, b"whole")
            return
        await reply.begin()
        await reply.piece(b"half")
        reply.cut()

    web.routes["/a"] = once_broken
    await worker(house, web.url)
    assert "connection broke" in await failed(house, "/a")
    web.seen.clear()
    await worker(house, web.url, "again", retry_policy={"type": 1, "interval": 1, "max_retry": 2, "basis": 1})
    assert (await got(house, "/a", name="again")).content == "whole"


async def test_an_idle_connection_that_the_server_closed_costs_nobody_his_job(house: House, web: WebServer) -> None:
    async def hangs_up_on_the_second(_seen: Seen, reply: Reply) -> None:
        if len(web.seen) == 2:
            reply.cut()
        else:
            await reply.answer(200, b"here")

    web.routes["/a"] = hangs_up_on_the_second
    await worker(house, web.url)
    assert [(await got(house, "/a")).content for _ in range(3)] == ["here"] * 3
    assert len(web.seen) == 4
    web.seen.clear()
    await got(house, "/a")
    assert "connection broke" in await failed(house, "/a", method="POST")


async def test_time_outs(house: House, web: WebServer) -> None:
    async def half(_seen: Seen, reply: Reply) -> None:
        await reply.begin()
        await reply.piece(b"half")
        await reply.gone()

    web.routes |= {"/silent": silent, "/half": half}
    await worker(house, web.url)
    for path, said in (("/silent", f"GET {web.url}/silent: no answer yet"), ("/half", "200 was answered")):
        for limit in longer_and_longer(200):
            complaint = await failed(house, path, timeout=limit)
            assert f"{limit} ms" in complaint
            if said in complaint:
                break
    await worker(house, web.url, "quick", {"read_timeout_ms": 100})
    assert "silent for 0.1 s" in await failed(house, "/half", name="quick")
    await eventually(lambda: web.open == 0)


async def test_a_connection_that_is_not_made_in_time(house: House, web: WebServer) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for each in fillers:
            each.setblocking(False)
            each.connect_ex(deaf.getsockname())
        await worker(house, f"http://127.0.0.1:{deaf.getsockname()[1]}", settings={"connect_timeout_ms": 150})
        assert "no connection within 0.15 s" in await failed(house, "/")
        for each in fillers:
            each.close()


async def test_a_cancelled_job_leaves_its_connection(house: House, web: WebServer) -> None:
    web.routes["/silent"] = silent
    await worker(house, web.url)
    data = build("jobworkerp.runner.HttpRequestArgs", method="GET", path="/silent").SerializeToString()
    job = await house.enqueue(data, "web", overrides={"response_type": 0, "broadcast_results": True})
    await eventually(lambda: web.open == 1)
    assert await house.delete(job.id.value)
    await eventually(lambda: web.open == 0)


async def test_two_hundred_cancelled_jobs_leave_nothing_behind(house: House, web: WebServer) -> None:
    async def half(_seen: Seen, reply: Reply) -> None:
        await reply.begin()
        await reply.piece(b"half")
        await reply.gone()

    web.routes |= {"/silent": silent, "/half": half}
    await worker(house, web.url)
    await got(house, "/")
    tasks, before = len(asyncio.all_tasks()), descriptors()
    for turn in range(50):
        path = "/half" if turn % 2 else "/silent"
        data = build("jobworkerp.runner.HttpRequestArgs", method="GET", path=path).SerializeToString()
        jobs = [await house.enqueue(data, "web", overrides={"response_type": 0}) for _ in range(4)]
        await eventually(lambda turn=turn: len(web.seen) == 1 + 4 * (turn + 1))
        for job in jobs:
            assert await house.delete(job.id.value)
        await eventually(lambda: web.open <= 1 and not len(house.daemon.engine.live))
    await eventually(lambda: len(asyncio.all_tasks()) <= tasks)
    await eventually(lambda: descriptors() <= before)
    assert (await got(house, "/")).status_code == 404


@pytest.mark.parametrize("static", [False, True])
async def test_jobs_use_the_same_connection_again(house: House, web: WebServer, static: bool) -> None:
    await worker(house, web.url, use_static=static)
    for _ in range(5):
        await got(house, "/")
    assert web.opened == 1


async def test_redirects_follow_the_rules_of_http(house: House, web: WebServer) -> None:
    await worker(house, web.url)
    web.routes |= {
        "/302": redirect("/end"),
        "/303": redirect("/end", 303),
        "/307": redirect("end", 307),
        "/loop": redirect("/loop"),
        "/out": redirect("ftp://x/"),
        "/end": text("end"),
    }
    posted: dict[str, Any] = {"method": "POST", "body": "b", "headers": pairs(("Content-Type", "a/b"), ("X", "y"))}
    assert (await got(house, "/302", **posted)).content == "end"
    assert (web.seen[-1].method, web.seen[-1].body, web.seen[-1].all("X")) == ("GET", b"", ["y"])
    assert not web.seen[-1].all("Content-Type")
    await got(house, "/302", method="PUT", body="b")
    assert (web.seen[-1].method, web.seen[-1].body) == ("PUT", b"b")
    await got(house, "/303", method="PUT", body="b")
    assert web.seen[-1].method == "GET"
    await got(house, "/307", **posted)
    assert (web.seen[-1].method, web.seen[-1].body, web.seen[-1].one("Content-Type")) == ("POST", b"b", "a/b")
    web.seen.clear()
    assert "more than 10 redirects" in await failed(house, "/loop", status="OTHER_ERROR")
    assert len(web.seen) == 11
    assert "ftp" in await failed(house, "/out", status="OTHER_ERROR")


async def test_credentials_do_not_go_along_to_another_host(house: House, web: WebServer) -> None:
    async with open_web({"/end": text("end")}) as other:
        web.routes["/away"] = redirect(f"{other.url}/end")
        await worker(house, web.url.replace("//", "//user:hunter2@"))
        secrets = pairs(("Cookie", "c=1"), ("X-Other", "x"))
        assert (await got(house, "/away", headers=secrets)).content == "end"
        assert web.seen[0].one("Authorization").startswith("Basic ")
        assert not other.seen[0].all("Authorization")
        assert not other.seen[0].all("Cookie")
        assert other.seen[0].one("X-Other") == "x"
        assert "hunter2" not in await failed(house, "http://elsewhere/", status="OTHER_ERROR")


async def test_redirects_to_private_addresses_can_be_forbidden(tmp_path: Path, web: WebServer) -> None:
    async with open_house(tmp_path, URL_FETCH_DENY_PRIVATE="true") as house, open_web() as inner:
        web.routes["/away"] = redirect(f"http://localhost:{inner.port}/")
        await worker(house, web.url)
        assert "URL_FETCH_DENY_PRIVATE" in await failed(house, "/away", status="OTHER_ERROR")
        assert not inner.opened


async def test_an_answer_over_the_limit_fails_and_names_the_setting(tmp_path: Path, web: WebServer) -> None:
    web.routes["/big"] = answering(200, b"a" * 5000)
    async with open_house(tmp_path, HTTP_RESPONSE_MAX_BYTES="4000") as house:
        await worker(house, web.url)
        complaint = await failed(house, "/big", status="OTHER_ERROR")
        assert "HTTP_RESPONSE_MAX_BYTES" in complaint
        assert "4000 bytes" in complaint
        items = await stream(house, "/big")
        assert sum(len(each.content) for each in items) == 5000


async def test_a_stream_arrives_as_the_server_sends_it(house: House, web: WebServer) -> None:
    gates = [asyncio.Event() for _ in range(3)]

    async def slowly(_seen: Seen, reply: Reply) -> None:
        await reply.begin(200, [("Content-Type", "text/event-stream"), ("X-A", "1")])
        for gate, data in zip(gates, (b"one", "tw\xf6".encode()[:-1], b"\xb6!"), strict=True):
            await gate.wait()
            await reply.piece(data)
        await reply.end()

    web.routes["/a"] = slowly
    await worker(house, web.url)
    items = await stream(house, "/a", lambda got: gates[min(len(got) - 1, 2)].set())
    head, *rest = items
    assert (head.status_code, {each.key: each.value for each in head.headers}["x-a"]) == (200, "1")
    assert [each.content for each in rest] == ["one", "tw", "ö!"]


async def test_a_stream_of_bytes_and_one_that_turns_out_to_be_bytes(house: House, web: WebServer) -> None:
    async def sudden(_seen: Seen, reply: Reply) -> None:
        await reply.begin(200, [("Content-Type", "text/plain")])
        for data in ("aö".encode()[:-1], b"\xff", b"more"):
            await reply.piece(data)
        await reply.end()

    web.routes |= {"/png": answering(200, b"abc", [("Content-Type", "image/png")]), "/sudden": sudden}
    await worker(house, web.url)
    assert [each.chunk for each in (await stream(house, "/png"))[1:]] == [b"abc"]
    pieces = (await stream(house, "/sudden"))[1:]
    whole = b"".join(each.chunk or each.content.encode() for each in pieces)
    assert whole == b"a\xc3\xffmore"


@pytest.mark.parametrize("path", ["/text", "/bytes", "/mixed"])
async def test_a_stored_stream_is_what_a_run_returns(house: House, web: WebServer, path: str) -> None:
    async def mixed(_seen: Seen, reply: Reply) -> None:
        await reply.begin(200, [("Content-Type", "text/plain")])
        for data in (b"text ", "ö".encode()[:1], b"\xff"):
            await reply.piece(data)
        await reply.end()

    web.routes |= {"/text": text("grün"), "/bytes": answering(200, b"\xff", [("Content-Type", "image/png")])}
    web.routes["/mixed"] = mixed
    await worker(house, web.url, store_success=True)
    whole = await got(house, path)
    await stream(house, path)
    rows = (await house.client.items("JobResultService.FindList")).items
    folded = build("jobworkerp.runner.HttpResponseResult")
    folded.ParseFromString(max(rows, key=lambda row: row.id.value).data.output.items)
    assert folded == whole


async def test_a_stream_that_breaks_off_does_not_end_well(house: House, web: WebServer) -> None:
    async def broken(_seen: Seen, reply: Reply) -> None:
        await reply.begin()
        await reply.piece(b"half")
        await asyncio.sleep(0.05)
        reply.cut()

    web.routes |= {"/a": broken, "/no": answering(500, b"why")}
    await worker(house, web.url)
    ways: list[tuple[str, dict[str, Any]]] = [("/a", {}), ("/no", {"treat_error_status_as_error": True})]
    for path, args in ways:
        with pytest.raises(Exception, match=r"connection broke|answered 500"):
            await stream(house, path, **args)


async def test_nothing_of_headers_and_bodies_is_logged(
    house: House, web: WebServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await worker(house, web.url)
    secrets = pairs(("Authorization", "Bearer s3cret"))
    await got(house, "/?q=s3cret", method="POST", headers=secrets, body="s3cret")
    await failed(house, "/", method="POST", headers=secrets, body="s3cret", treat_error_status_as_error=True)
    assert "s3cret" not in caplog.text


async def test_the_environments_proxy_is_used(tmp_path: Path, web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_web({"http://far.invalid/a": text("by proxy")}) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        async with open_house(tmp_path) as house:
            await worker(house, "http://far.invalid/")
            assert (await got(house, "a")).content == "by proxy"
            await worker(house, web.url, "near")
            assert (await got(house, "/", name="near")).status_code == 404
