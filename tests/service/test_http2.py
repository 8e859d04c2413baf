"""HTTP_REQUEST over TLS: HTTP/2 where the server offers it, certificates that are checked."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from jobworkerp_standalone.jobs.errors import FetchError
from jobworkerp_standalone.net.fetch import FetchRules, fetch
from jobworkerp_standalone.net.tls import client_tls
from tests.support.certificates import Authority
from tests.support.house import House, eventually, open_house
from tests.support.http_jobs import failed, got, pairs, silent, stream, worker
from tests.support.patience import longer_and_longer
from tests.support.web import Reply, Seen, WebServer, answering, open_web, text
from tests.support.wire_client import build


def server_tls(authority: Authority, *protocols: str) -> ssl.SSLContext:
    pair = authority.sign("127.0.0.1")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pair.certificate, pair.key)
    tls.set_alpn_protocols(list(protocols))
    return tls


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An authority that the daemon trusts."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    made = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.certificate))
    client_tls.cache_clear()
    yield made
    client_tls.cache_clear()


@pytest.fixture
async def web(authority: Authority) -> AsyncIterator[WebServer]:
    async with open_web(tls=server_tls(authority, "h2", "http/1.1")) as opened:
        yield opened


@pytest.fixture
async def house(tmp_path: Path, authority: Authority) -> AsyncIterator[House]:
    async with open_house(tmp_path) as opened:
        yield opened


async def test_a_request_and_its_answer(house: House, web: WebServer) -> None:
    web.routes["/a"] = answering(201, "grün".encode(), [("Content-Type", "text/plain"), ("X-Two", "a"), ("X-Two", "b")])
    await worker(house, web.url)
    result = await got(house, "/a", method="POST", body="b", headers=pairs(("X-A", "1"), ("X-A", "2")))
    (seen,) = web.seen
    assert (seen.version, seen.method, seen.body, seen.all("x-a")) == ("2", "POST", b"b", ["1", "2"])
    assert (result.status_code, result.content) == (201, "grün")
    assert [each.value for each in result.headers if each.key == "x-two"] == ["a", "b"]


async def test_jobs_at_the_same_time_share_one_connection(house: House, web: WebServer) -> None:
    arrived = asyncio.Event()

    async def together(_seen: Seen, reply: Reply) -> None:
        if len(web.seen) == 4:
            arrived.set()
        await arrived.wait()
        await reply.answer(200, b"x")

    web.routes |= {"/warm": text("x"), "/a": together}
    await worker(house, web.url)
    await got(house, "/warm")
    web.seen.clear()
    await asyncio.gather(*(got(house, "/a") for _ in range(4)))
    assert web.opened == 1


async def test_a_server_without_http_2_is_asked_by_http_1(house: House, authority: Authority) -> None:
    async with open_web({"/a": text("one")}, tls=server_tls(authority, "http/1.1")) as old:
        await worker(house, old.url)
        assert (await got(house, "/a")).content == "one"
        assert old.seen[0].version == "1.1"


async def test_a_stream_arrives_as_the_server_sends_it(house: House, web: WebServer) -> None:
    gates = [asyncio.Event() for _ in range(2)]

    async def slowly(_seen: Seen, reply: Reply) -> None:
        await reply.begin(200, [("Content-Type", "text/plain")])
        for gate, data in zip(gates, (b"one", b"two"), strict=True):
            await gate.wait()
            await reply.piece(data)
        await reply.end()

    web.routes["/a"] = slowly
    await worker(house, web.url)
    items = await stream(house, "/a", lambda got: gates[min(len(got) - 1, 1)].set())
    assert [each.content for each in items] == ["", "one", "two"]


async def test_a_stream_that_is_reset_fails_and_the_connection_serves_on(house: House, web: WebServer) -> None:
    async def broken(_seen: Seen, reply: Reply) -> None:
        await reply.begin()
        await reply.piece(b"half")
        reply.cut()

    web.routes |= {"/a": broken, "/b": text("fine")}
    await worker(house, web.url)
    assert "connection broke" in await failed(house, "/a")
    assert (await got(house, "/b")).content == "fine"


async def test_cancelled_and_timed_out_jobs_reset_their_streams_alone(house: House, web: WebServer) -> None:
    left = 0

    async def waits(seen: Seen, reply: Reply) -> None:
        nonlocal left
        await silent(seen, reply)
        left += 1

    web.routes |= {"/silent": waits, "/b": text("fine")}
    await worker(house, web.url)
    await got(house, "/b")
    for limit in longer_and_longer(200):
        assert f"{limit} ms" in await failed(house, "/silent", timeout=limit)
        if len(web.seen) == 2:
            break
    await eventually(lambda: left == 1)
    data = build("jobworkerp.runner.HttpRequestArgs", method="GET", path="/silent").SerializeToString()
    for turn in range(25):
        jobs = [await house.enqueue(data, "web", overrides={"response_type": 0}) for _ in range(2)]
        await eventually(lambda turn=turn: len(web.seen) == 2 + 2 * (turn + 1))
        for job in jobs:
            await house.delete(job.id.value)
        await eventually(lambda turn=turn: left == 1 + 2 * (turn + 1))
    assert (await got(house, "/b")).content == "fine"


async def test_a_certificate_nobody_vouches_for_is_refused(tmp_path: Path, house: House, web: WebServer) -> None:
    strangers = tmp_path / "strangers"
    strangers.mkdir()
    async with open_web(tls=server_tls(Authority(strangers), "h2")) as strange:
        await worker(house, strange.url)
        assert "SSL_CERT_FILE" in await failed(house, "/", status="OTHER_ERROR")
        assert not strange.seen
        with pytest.raises(FetchError, match="SSL_CERT_FILE"):
            await fetch(strange.url, FetchRules())


async def test_documents_come_by_tls_from_the_address_that_was_checked(
    web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The certificate is that of the name in the URL, although the connection goes to a checked address."""

    async def as_if_public(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    monkeypatch.setattr("jobworkerp_standalone.net.pinning.checked_addresses", as_if_public)
    web.routes["/a"] = text("safe")
    strict = FetchRules(deny_private=True)
    assert (await fetch(f"{web.url}/a", strict)).text == "safe"
    with pytest.raises(FetchError, match="certificate"):
        await fetch(f"https://localhost:{web.port}/a", strict)


async def test_what_came_by_https_does_not_go_on_by_http(web: WebServer) -> None:
    async with open_web({"/b": text("b")}) as plain:
        web.routes["/a"] = answering(302, headers=[("Location", f"{plain.url}/b")])
        with pytest.raises(FetchError, match="not protected"):
            await fetch(f"{web.url}/a", FetchRules())
        assert not plain.opened
