"""Fetching a document, from real servers on this machine."""

from __future__ import annotations

import asyncio
import gzip
import socket
from pathlib import Path

import anyio
import pytest

from jobworkerp_standalone.jobs.errors import FetchError
from jobworkerp_standalone.net.fetch import FetchRules, download, fetch
from jobworkerp_standalone.settings import load_settings
from tests.support.house import eventually
from tests.support.web import Reply, Seen, answering, open_web, redirect, text

PLAIN = FetchRules(timeout_sec=10)
STRICT = FetchRules(timeout_sec=10, deny_private=True)
MINE = FetchRules(timeout_sec=10, deny_private=True, allowed_hosts=frozenset({"127.0.0.1"}))


async def refused(url: str, rules: FetchRules = PLAIN) -> FetchError:
    with pytest.raises(FetchError) as caught:
        await fetch(url, rules)
    return caught.value


async def test_a_document_comes_with_its_type_and_charset() -> None:
    async with open_web(
        {"/a": answering(200, "grün".encode("latin-1"), [("Content-Type", "a/b; charset=latin-1")])}
    ) as web:
        found = await fetch(f"{web.url}/a", PLAIN)
    assert (found.content, found.content_type, found.text) == (b"gr\xfcn", "a/b; charset=latin-1", "grün")
    assert found.url == f"{web.url}/a"


async def test_text_without_a_charset_is_utf_8_with_or_without_a_mark() -> None:
    async with open_web(
        {"/a": answering(body="grün".encode()), "/b": answering(body="grün".encode("utf-8-sig"))}
    ) as web:
        assert [(await fetch(web.url + path, PLAIN)).text for path in ("/a", "/b")] == ["grün", "grün"]


@pytest.mark.parametrize(
    "content_type", ["text/plain", "text/plain; charset=no-such", "text/plain; charset=unicode_escape"]
)
async def test_what_is_not_text_says_so_when_it_is_read_as_text(content_type: str) -> None:
    async with open_web({"/a": answering(body=b"\xff\xfe\xfd", headers=[("Content-Type", content_type)])}) as web:
        found = await fetch(f"{web.url}/a", PLAIN)
    with pytest.raises(FetchError, match=r"/a is not text in .*serve it as UTF-8"):
        _ = found.text


async def test_a_packed_body_is_unpacked_and_its_limit_is_that_of_what_comes_out() -> None:
    packed = gzip.compress(b"a" * 100_000)
    async with open_web({"/a": answering(body=packed, headers=[("Content-Encoding", "gzip")])}) as web:
        assert (await fetch(f"{web.url}/a", PLAIN)).content == b"a" * 100_000
        error = await refused(f"{web.url}/a", FetchRules(max_bytes=50_000))
    assert "larger than 50000 bytes" in str(error)
    assert "URL_FETCH_MAX_BYTES" in str(error)


async def test_a_body_that_is_announced_too_large_is_not_read() -> None:
    async def endless(_seen: Seen, reply: Reply) -> None:
        reply.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n")  # type: ignore[attr-defined]
        await reply.gone()

    async with open_web({"/a": endless}) as web:
        assert "larger than 1000 bytes" in str(await refused(f"{web.url}/a", FetchRules(max_bytes=1000)))


async def test_redirects_are_followed_and_counted() -> None:
    routes = {"/1": redirect("/2"), "/2": redirect("3"), "/3": text("here"), "/loop": redirect("/loop")}
    async with open_web(routes) as web:
        found = await fetch(f"{web.url}/1", PLAIN)
        assert (found.text, found.url) == ("here", f"{web.url}/3")
        assert "more than 5 redirects" in str(await refused(f"{web.url}/loop"))
        assert len(web.seen) == 3 + 6


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://x/y", "http://a:b/"])
async def test_a_redirect_leads_to_http_or_nowhere(target: str) -> None:
    async with open_web({"/a": redirect(target)}) as web:
        error = str(await refused(f"{web.url}/a"))
        assert "redirects to" in error or "location header" in error


async def test_headers_of_the_caller_go_to_the_host_of_the_url_alone() -> None:
    secret = FetchRules(timeout_sec=10, headers=(("X-Key", "k"),))
    async with open_web({"/c": answering(200)}) as other, open_web() as web:
        web.routes |= {"/a": redirect("/b"), "/b": redirect(f"{other.url}/c")}
        await fetch(f"{web.url}/a", secret)
    assert [seen.all("X-Key") for seen in (*web.seen, *other.seen)] == [["k"], ["k"], []]


async def test_private_addresses_are_refused_unless_their_host_is_named() -> None:
    async with open_web({"/a": text("a")}) as web:
        error = await refused(f"{web.url}/a", STRICT)
        assert "127.0.0.1 is not a public address" in str(error)
        assert not error.may_pass
        assert web.opened == 0
        assert (await fetch(f"{web.url}/a", MINE)).text == "a"


async def test_a_redirect_to_a_forbidden_host_is_refused_before_it_is_asked() -> None:
    async with open_web({"/secret": text("x")}) as inner, open_web() as web:
        web.routes["/a"] = redirect(f"http://localhost:{inner.port}/secret")
        assert "localhost resolves to" in str(await refused(f"{web.url}/a", MINE))
        assert inner.opened == 0
        web.routes["/a"] = redirect("http://169.254.169.254/latest/meta-data")
        assert "169.254.169.254 is not a public" in str(await refused(f"{web.url}/a", MINE))
        assert "ok" not in str(await refused(f"http://[::ffff:127.0.0.1]:{inner.port}/secret", MINE))


async def test_the_address_that_was_checked_is_the_one_that_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that resolves to something else a moment later changes nothing."""
    looked_up: list[str] = []

    async def first_public_then_not(host: str, port: int) -> list[str]:
        looked_up.append(host)
        return ["127.0.0.2", "127.0.0.1"]  # as if they were public; nobody listens at the first

    monkeypatch.setattr("jobworkerp_standalone.net.pinning.checked_addresses", first_public_then_not)
    async with open_web({"/a": text("from the checked address")}) as web:
        found = await fetch(f"http://name.invalid:{web.port}/a", STRICT)
        assert found.text == "from the checked address"
        assert web.seen[0].one("Host") == f"name.invalid:{web.port}"
    assert looked_up == ["name.invalid"]


async def test_failures_tell_url_reason_and_remedy_and_no_secrets() -> None:
    async with open_web({"/a": answering(403)}) as web:
        error = await refused(f"http://user:hunter2@127.0.0.1:{web.port}/a?token=s3cret")
        assert str(error) == (
            f"http://127.0.0.1:{web.port}/a?... could not be read: the server answered 403 Said; check the address"
        )
        assert web.seen[0].one("Authorization").startswith("Basic ")


@pytest.mark.parametrize("url", ["", "a/b", "file:///etc/passwd", "ftp://host/x", "http://", "http://a:b/", "\0"])
async def test_what_is_no_http_url_is_refused(url: str) -> None:
    error = await refused(url)
    assert "http:// or https://" in str(error)
    assert not error.may_pass


async def test_a_host_that_is_not_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        error = await refused(f"http://127.0.0.1:{free.getsockname()[1]}/")
    assert error.may_pass
    assert (await refused("http://no-such-host.invalid/")).may_pass
    assert (await refused("http://no-such-host.invalid/", STRICT)).may_pass


async def test_a_server_that_breaks_off_is_a_failure_that_may_pass() -> None:
    async def broken(_seen: Seen, reply: Reply) -> None:
        await reply.begin()
        await reply.piece(b"half")
        reply.cut()

    async with open_web({"/a": broken}) as web:
        assert (await refused(f"{web.url}/a")).may_pass


async def test_time_is_limited_over_everything() -> None:
    async def drip(_seen: Seen, reply: Reply) -> None:
        await reply.begin()
        while True:
            await reply.piece(b".")
            await asyncio.sleep(0.02)

    async with open_web({"/a": drip}) as web:
        error = await refused(f"{web.url}/a", FetchRules(timeout_sec=0.3, attempts=5))
        assert "0.3 s" in str(error)
        assert len(web.seen) <= 1, "the time of one attempt is the time of all"


async def test_failures_that_may_pass_are_tried_again_where_asked(tmp_path: Path) -> None:
    async def flaky(_seen: Seen, reply: Reply) -> None:
        if len(web.seen) == 1:
            await reply.begin()
            await reply.piece(b"half of it")
            reply.cut()
        elif len(web.seen) == 2:
            await reply.answer(503)
        else:
            await reply.answer(200, b"all")

    async with open_web({"/a": flaky, "/gone": answering(404)}) as web:
        await download(f"{web.url}/a", tmp_path / "a", FetchRules(attempts=3))
        assert (tmp_path / "a").read_bytes() == b"all"
        web.seen.clear()
        assert (await fetch(f"{web.url}/a", FetchRules(attempts=3))).content == b"all"
        web.seen.clear()
        await refused(f"{web.url}/gone", FetchRules(attempts=3))
        assert len(web.seen) == 1


async def test_a_cancelled_fetch_leaves_its_connection() -> None:
    async def silent(_seen: Seen, reply: Reply) -> None:
        await reply.begin()
        await reply.gone()

    async with open_web({"/a": silent}) as web, anyio.create_task_group() as group:
        group.start_soon(fetch, f"{web.url}/a", PLAIN)
        await eventually(lambda: bool(web.seen))
        group.cancel_scope.cancel()
        await eventually(lambda: not web.open)


async def test_the_environments_proxy_is_used_but_for_the_hosts_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_web({"/a": text("direct")}) as web, open_web() as proxy:
        proxy.routes["http://far.invalid/a"] = text("through the proxy")
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        assert (await fetch("http://far.invalid/a", PLAIN)).text == "through the proxy"
        assert (await fetch(f"{web.url}/a", PLAIN)).text == "direct"
        monkeypatch.setenv("HTTP_PROXY", "gopher://x")
        assert "HTTP_PROXY" in str(await refused("http://far.invalid/a"))


def test_the_rules_come_from_the_settings() -> None:
    settings = load_settings({"URL_FETCH_DENY_PRIVATE": "true", "URL_FETCH_ALLOWED_HOSTS": "A.example, b"})
    rules = FetchRules.of(settings, attempts=2)
    assert (rules.deny_private, rules.allowed_hosts, rules.attempts) == (True, {"a.example", "b"}, 2)
    assert not FetchRules.of(load_settings({})).deny_private
