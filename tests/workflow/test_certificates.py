"""Client certificates: shown to servers that demand one, and nowhere else."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest
from cryptography.hazmat.primitives import serialization

from jobworkerp_standalone.net.identity import Identity
from jobworkerp_standalone.net.tls import client_tls
from jobworkerp_standalone.runners.http.site import open_site
from jobworkerp_standalone.runners.http.ways import Ways
from tests.support.certificates import Authority, Pair
from tests.support.grpc_peer import PROTO, Peer, credentials, open_peer
from tests.support.token_server import open_authority
from tests.support.web import WebServer, answering, open_web, redirect
from tests.workflow.stage import Stage, open_stage

NAME = "/do/0/ask"


@dataclass
class Ground:
    """A daemon that trusts an authority, a web server that demands certificates of it, and a client's own."""

    stage: Stage
    web: WebServer
    authority: Authority
    client: Pair
    other: Pair
    folder: Path

    @property
    def certificate(self) -> str:
        return self.client.certificate.read_text()

    @property
    def key(self) -> str:
        return self.client.key.read_text()


@pytest.fixture(scope="module")
async def ground(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ground]:
    folder = tmp_path_factory.mktemp("certificates")
    authority = Authority(folder)
    server, client, other = authority.sign("127.0.0.1"), authority.sign("client"), authority.sign("other")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.certificate))
    tls.load_cert_chain(server.certificate, server.key)
    tls.verify_mode = ssl.CERT_REQUIRED
    environment: dict[str, Any] = {
        "WORKFLOW_ALLOWED_ROOTS": str(folder),
        "WORKFLOW_ALLOWED_HOSTS": "127.0.0.1",
        "SSL_CERT_FILE": str(authority.certificate),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(authority.certificate))
        client_tls.cache_clear()
        routes = {"/open": answering(200, b'{"ok":true}', [("Content-Type", "application/json")])}
        async with (
            open_web(routes, tls=tls) as web,
            open_stage(tmp_path_factory.mktemp("stage"), **environment) as stage,
        ):
            yield Ground(stage, web, authority, client, other, folder)
    client_tls.cache_clear()


def asking(uri: str, policy: Any, *secrets: str, **members: Any) -> dict[str, Any]:
    """Return a document with one call of http."""
    given = {"method": "get", "endpoint": {"uri": uri, "authentication": policy}, **members}
    return {"use": {"secrets": list(secrets)}, "do": [{"ask": {"call": "http", "with": given}}]}


def encrypted(key: str, password: str) -> str:
    """Return a key that needs a password."""
    loaded = serialization.load_pem_private_key(key.encode(), None)
    way = serialization.BestAvailableEncryption(password.encode())
    form = serialization.PrivateFormat.PKCS8
    return loaded.private_bytes(serialization.Encoding.PEM, form, way).decode()


async def test_a_server_that_demands_a_certificate(ground: Ground) -> None:
    without = asking(f"{ground.web.url}/open", {"bearer": {"token": "t"}})
    assert (await ground.stage.run(without, {})).status == "Faulted"
    policy = {"certificate": {"certificate": ground.certificate, "key": ground.key}}
    assert (await ground.stage.run(asking(f"{ground.web.url}/open", policy), {})).output == {"ok": True}


async def test_files_are_read_where_files_may_be_read(ground: Ground, tmp_path: Path) -> None:
    policy = {"certificate": {"certificate": str(ground.client.certificate), "key": f"file://{ground.client.key}"}}
    assert (await ground.stage.run(asking(f"{ground.web.url}/open", policy), {})).output == {"ok": True}
    outside = tmp_path / "client.pem"
    outside.write_text(ground.certificate)
    policy["certificate"]["certificate"] = str(outside)
    end = await ground.stage.run(asking(f"{ground.web.url}/open", policy), {})
    assert (end.error["status"], "WORKFLOW_ALLOWED_ROOTS" in end.error["detail"]) == (400, True)


@pytest.mark.parametrize("form", ["one text", "object", "paths", "password"])
async def test_from_a_secret(ground: Ground, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    secret = {
        "one text": ground.certificate + ground.key,
        "object": json.dumps({"certificate": ground.certificate, "key": ground.key}),
        "paths": json.dumps({"certificate": str(ground.client.certificate), "key": str(ground.client.key)}),
        "password": json.dumps(
            {"certificate": ground.certificate, "key": encrypted(ground.key, "open-it"), "password": "open-it"}
        ),
    }
    monkeypatch.setenv("WORKFLOW_SECRET_MINE", secret[form])
    document = asking(f"{ground.web.url}/open", {"certificate": {"use": "MINE"}}, "MINE")
    assert (await ground.stage.run(document, {})).output == {"ok": True}


async def test_members_of_secrets(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKFLOW_SECRET_MINE", json.dumps({"c": ground.certificate, "k": ground.key}))
    policy = {"certificate": {"certificate": "${ $secrets.MINE.c }", "key": "${ $secrets.MINE.k }"}}
    assert (await ground.stage.run(asking(f"{ground.web.url}/open", policy, "MINE"), {})).output == {"ok": True}


@pytest.mark.parametrize(
    ("secret", "word"),
    [
        ("no pem", "cannot be read"),
        ('{"key": "x"}', "JSON object with certificate"),
        ("another key", "does not belong"),
        ("locked", "give its password"),
        ("wrong password", "does not open"),
    ],
)
async def test_certificates_that_cannot_be_used(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, secret: str, word: str
) -> None:
    locked = encrypted(ground.key, "open-it")
    made = {
        "another key": ground.certificate + ground.other.key.read_text(),
        "locked": ground.certificate + locked,
        "wrong password": json.dumps({"certificate": ground.certificate, "key": locked, "password": "guess"}),
    }
    monkeypatch.setenv("WORKFLOW_SECRET_MINE", made.get(secret, secret))
    before = len(ground.web.seen)
    end = await ground.stage.run(asking(f"{ground.web.url}/open", {"certificate": {"use": "MINE"}}, "MINE"), {})
    assert (end.error["status"], end.error["instance"]) == (400, f"{NAME}/with/endpoint/authentication")
    assert word in end.text
    assert "PRIVATE" not in end.text
    assert len(ground.web.seen) == before


async def test_requests_at_once_share_connections(ground: Ground) -> None:
    """Those of a loser would stay open for ever."""
    site = await open_site(b"")
    found: list[Ways] = []

    async def take() -> None:
        found.append(await site.ways(Identity(ground.certificate, ground.key)))

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(take)
    assert len({id(each) for each in found}) == 1
    assert await site.ways(None) is not found[0]
    await site.aclose()


async def test_it_needs_https(ground: Ground) -> None:
    policy = {"certificate": {"certificate": ground.certificate, "key": ground.key}}
    end = await ground.stage.run(asking("http://127.0.0.1:1/", policy), {})
    assert (end.error["status"], end.error["instance"]) == (400, f"{NAME}/with/endpoint")


async def test_nobody_sees_the_key(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKFLOW_SECRET_MINE", ground.certificate + ground.key)
    args: list[bytes] = []

    async def look(_seen: Any, reply: Any) -> None:
        args.extend(each.job.args for each in ground.stage.house.daemon.engine.live.all() if each.job.metadata)
        await reply.answer(200, b"{}")

    ground.web.routes["/look"] = look
    document = asking(f"{ground.web.url}/look", {"certificate": {"use": "MINE"}}, "MINE", output="response")
    end = await ground.stage.run(document, {})
    assert end.status == "Completed", end.text
    for text in (json.dumps(end.output), b"".join(args).decode("utf-8", "replace")):
        assert "PRIVATE" not in text
        assert ground.key.splitlines()[1] not in text
    assert "BEGIN CERTIFICATE" in b"".join(args).decode("utf-8", "replace")


async def test_a_redirect_to_another_host_is_not_followed(ground: Ground) -> None:
    async with open_web({"/open": answering(200, b"elsewhere")}) as other:
        ground.web.routes["/away"] = redirect(f"{other.url}/open")
        ground.web.routes["/home"] = redirect("/open")
        policy = {"certificate": {"certificate": ground.certificate, "key": ground.key}}
        end = await ground.stage.run(asking(f"{ground.web.url}/away", policy, redirect=True), {})
        assert "client certificate must not go" in end.text
        assert other.seen == []
        home = await ground.stage.run(asking(f"{ground.web.url}/home", policy, redirect=True), {})
        assert home.output == {"ok": True}


async def test_openapi_and_its_document(ground: Ground) -> None:
    policy = {"certificate": {"certificate": ground.certificate, "key": ground.key}}
    ground.web.routes["/api.yaml"] = answering(
        200, b"openapi: 3.1.0\ninfo: {title: t, version: '1'}\npaths: {/open: {get: {operationId: look}}}"
    )
    endpoint = {"uri": f"{ground.web.url}/api.yaml", "authentication": policy}
    given = {"document": {"endpoint": endpoint}, "operationId": "look", "authentication": policy}
    end = await ground.stage.run({"do": [{"ask": {"call": "openapi", "with": given}}]}, {})
    assert end.output == {"ok": True}, end.text
    del endpoint["authentication"]
    assert (await ground.stage.run({"do": [{"ask": {"call": "openapi", "with": given}}]}, {})).status == "Faulted"


def greeting(ground: Ground, peer: Peer, host: str, policy: Any) -> dict[str, Any]:
    """Return a document with one call of grpc."""
    (ground.folder / "peer.proto").write_text(PROTO)
    service = {"name": "peer.Peer", "host": host, "port": peer.port}
    given = {
        "service": service if policy is None else {**service, "authentication": policy},
        "method": "Say",
        "proto": {"endpoint": f"file://{ground.folder}/peer.proto"},
        "arguments": {"text": "ann"},
    }
    return {"do": [{"ask": {"call": "grpc", "with": given}}]}


async def test_grpc(ground: Ground) -> None:
    server = ground.authority.sign("127.0.0.1")
    tls = credentials(
        server.key.read_bytes(), server.certificate.read_bytes(), ground.authority.certificate.read_bytes()
    )
    policy = {"certificate": {"certificate": ground.certificate, "key": ground.key}}
    async with open_peer(tls) as peer:
        end = await ground.stage.run(greeting(ground, peer, "https://127.0.0.1", policy), {})
        assert end.status == "Completed", end.text
        assert end.output["body"] == {"text": "ann"}
        assert (await ground.stage.run(greeting(ground, peer, "https://127.0.0.1", None), {})).status == "Faulted"
        plain = await ground.stage.run(greeting(ground, peer, "127.0.0.1", policy), {})
        assert "needs TLS" in plain.text


async def test_one_mistake_is_one_mistake(ground: Ground) -> None:
    end = await ground.stage.run(asking("https://x.example/", {"certificate": {}}), {})
    assert end.text.count("/certificate") == 1
    assert "'certificate'" in end.text


async def test_a2a(ground: Ground) -> None:
    async def agent(seen: Any, reply: Any) -> None:
        asked = json.loads(seen.body)
        result = {"jsonrpc": "2.0", "id": asked["id"], "result": {"id": "t", "kind": "task"}}
        await reply.answer(200, json.dumps(result).encode(), [("Content-Type", "application/json")])

    ground.web.routes["/agent"] = agent
    policy = {"certificate": {"certificate": ground.certificate, "key": ground.key}}
    endpoint = {"uri": f"{ground.web.url}/agent", "authentication": policy}
    given = {"method": "tasks/get", "server": endpoint, "parameters": {"id": "t"}}
    end = await ground.stage.run({"do": [{"ask": {"call": "a2a", "with": given}}]}, {})
    assert end.output == {"id": "t", "kind": "task"}, end.text
    endpoint["uri"] = "http://127.0.0.1:1/agent"
    plain = await ground.stage.run({"do": [{"ask": {"call": "a2a", "with": given}}]}, {})
    assert (plain.error["status"], "https only" in plain.error["detail"]) == (400, True)


async def test_mcp_has_no_place_for_one(ground: Ground) -> None:
    policy = {"certificate": {"certificate": ground.certificate, "key": ground.key}}
    endpoint = {"uri": f"{ground.web.url}/mcp", "authentication": policy}
    given = {"method": "tools/list", "transport": {"http": {"endpoint": endpoint}}}
    end = await ground.stage.run({"do": [{"ask": {"call": "mcp", "with": given}}]}, {})
    assert (end.error["status"], end.error["title"]) == (400, "An authentication policy cannot be used")


async def test_an_authority_by_https_names_no_token_endpoint_by_http(ground: Ground) -> None:
    async with open_authority() as authority, open_web(tls=_server_tls(ground)) as web:
        place = json.dumps({"token_endpoint": f"{authority.url}/realm/tokens"}).encode()
        web.routes["/.well-known/openid-configuration"] = answering(200, place, [("Content-Type", "application/json")])
        client = {"id": "me", "secret": "hush-hush"}
        policy = {"oidc": {"authority": web.url, "grant": "client_credentials", "client": client}}
        error = (await ground.stage.run(asking(f"{authority.url}/guarded", policy), {})).error
        assert (error["status"], "not protected" in error["detail"]) == (401, True)
        assert authority.asked == []


async def test_a_document_that_is_asked_by_https_does_not_come_by_http(ground: Ground) -> None:
    async with open_web() as plain, open_web(tls=_server_tls(ground)) as web:
        web.routes["/function.yaml"] = redirect(f"{plain.url}/function.yaml")
        plain.routes["/function.yaml"] = answering(200, b"set: {stolen: true}", [("Content-Type", "text/yaml")])
        error = (await ground.stage.run({"do": [{"ask": {"call": f"{web.url}/function.yaml"}}]}, {})).error
        assert "not protected" in error["detail"]
        assert plain.seen == []


async def test_a_card_by_https_names_no_agent_by_http(ground: Ground) -> None:
    async with open_web() as agent, open_web(tls=_server_tls(ground)) as web:
        card = json.dumps({"protocolVersion": "0.3.0", "url": f"{agent.url}/a2a"}).encode()
        web.routes["/card"] = answering(200, card, [("Content-Type", "application/json")])
        own = {"bearer": {"token": "sesame"}}
        given = {"method": "tasks/get", "agentCard": {"endpoint": f"{web.url}/card"}, "authentication": own}
        task = {"call": "a2a", "with": {**given, "parameters": {"id": "1"}}}
        error = (await ground.stage.run({"do": [{"ask": task}]}, {})).error
        assert (error["instance"], "not protected" in error["detail"]) == (f"{NAME}/with/agentCard", True)
        assert agent.seen == []


async def test_an_openapi_document_by_https_has_credentials_sent_to_no_server_by_http(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_web() as server, open_web(tls=_server_tls(ground)) as web:
        server.routes["/x"] = answering(200, b"{}", [("Content-Type", "application/json")])
        parameter = {"name": "q", "in": "query", "schema": {"type": "string"}}
        paths = {"/x": {"get": {"operationId": "x", "parameters": [parameter]}}}
        body = json.dumps({"openapi": "3.0.0", "servers": [{"url": server.url}], "paths": paths})
        web.routes["/api"] = answering(200, body.encode(), [("Content-Type", "application/json")])
        given: dict[str, Any] = {"document": {"endpoint": f"{web.url}/api"}, "operationId": "x"}
        own = {"authentication": {"bearer": {"token": "sesame"}}}
        monkeypatch.setenv("WORKFLOW_SECRET_MINE", "sesame")
        for secret in (own, {"parameters": {"q": "${ $secrets.MINE }"}}):
            task = {"call": "openapi", "with": {**given, **secret}}
            error = (await ground.stage.run({"use": {"secrets": ["MINE"]}, "do": [{"ask": task}]}, {})).error
            assert (error["instance"], "not protected" in error["detail"]) == (f"{NAME}/with/document", True)
        assert server.seen == []
        assert (await ground.stage.run({"do": [{"ask": {"call": "openapi", "with": given}}]}, {})).output == {}


def _server_tls(ground: Ground) -> ssl.SSLContext:
    """Return what a server shows that demands no certificate."""
    server = ground.authority.sign("127.0.0.1")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(server.certificate, server.key)
    return tls
