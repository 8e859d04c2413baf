"""Who asks: basic, bearer, digest, OAuth 2, OpenID Connect; and secrets, which nobody sees but the server."""

from __future__ import annotations

import json
from base64 import b64decode, urlsafe_b64decode
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.pet_store import open_pet_store
from tests.support.token_server import Authority, open_authority
from tests.support.web import WebServer
from tests.workflow.stage import Stage

CLIENT = {"id": "me", "secret": "hush-hush"}
AUTHENTICATION = "https://serverlessworkflow.io/spec/1.0.0/errors/authentication"


@pytest.fixture(scope="module")
async def store() -> AsyncIterator[WebServer]:
    async with open_pet_store() as web:
        yield web


@pytest.fixture
async def authority() -> AsyncIterator[Authority]:
    async with open_authority() as opened:
        yield opened


def guarded(uri: str, policy: Any, use: Any = None, **members: Any) -> dict[str, Any]:
    """Return a document that asks once under a policy."""
    endpoint = {"uri": uri, "authentication": policy}
    document: dict[str, Any] = {
        "do": [{"ask": {"call": "http", "with": {"method": "get", "endpoint": endpoint, **members}}}]
    }
    return document if use is None else {**document, "use": use}


# ------------------------------------------------------------ names and passwords


async def test_a_named_policy(stage: Stage, store: WebServer) -> None:
    use = {"authentications": {"ours": {"basic": {"username": "ann", "password": "pass word"}}}}
    for policy in ({"use": "ours"}, "ours"):
        end = await stage.run(guarded(f"{store.url}/basic-auth/ann/pass%20word", policy, use), {})
        assert end.output == {"authenticated": True}


async def test_a_wrong_password_is_an_error_of_that_status(stage: Stage, store: WebServer) -> None:
    policy = {"basic": {"username": "ann", "password": "wrong"}}
    end = await stage.run(guarded(f"{store.url}/basic-auth/ann/right", policy), {})
    assert end.error["status"] == 401


async def test_a_policy_replaces_a_header_written_by_hand(stage: Stage, store: WebServer) -> None:
    document = guarded(f"{store.url}/bearer/t0ken", {"bearer": {"token": "t0ken"}}, headers={"authorization": "Own x"})
    assert (await stage.run(document, {})).output == {"authenticated": True}


async def test_digest(stage: Stage, store: WebServer) -> None:
    policy = {"digest": {"username": "ann", "password": "secret"}}
    uri = f"{store.url}/digest-auth/ann/secret"
    end = await stage.run(guarded(uri, policy, method="post", body="twice", query={"a": "b c"}), {})
    assert end.output == {"user": "ann", "body": "twice"}
    wrong = await stage.run(guarded(f"{store.url}/digest-auth/ann/other", policy), {})
    assert wrong.error["status"] == 401


async def test_digest_where_the_server_wants_something_else(stage: Stage, store: WebServer) -> None:
    policy = {"digest": {"username": "ann", "password": "secret"}}
    end = await stage.run(guarded(f"{store.url}/basic-auth/ann/secret", policy), {})
    assert (end.error["type"], end.error["status"]) == (AUTHENTICATION, 401)


async def test_authorization_can_be_seen_by_other_members(stage: Stage, store: WebServer) -> None:
    document = guarded(
        f"{store.url}/echo", {"bearer": {"token": "t0ken"}}, headers={"X-Same": "${ $authorization.scheme }"}
    )
    said = (await stage.run(document, {})).output
    assert said["headers"]["x-same"] == ["Bearer"]


# ------------------------------------------------------------ tokens


async def test_oauth2_client_credentials(stage: Stage, authority: Authority) -> None:
    policy = {
        "oauth2": {
            "authority": authority.url,
            "grant": "client_credentials",
            "client": CLIENT,
            "scopes": ["read", "write"],
            "audiences": ["pets"],
        }
    }
    assert (await stage.run(guarded(f"{authority.url}/guarded", policy), {})).output == {"known": True}
    assert authority.asked == [
        {
            "grant_type": "client_credentials",
            "scope": "read write",
            "audience": "pets",
            "client_id": "me",
            "client_secret": "hush-hush",
        }
    ]


async def test_a_token_is_used_again_until_it_expires(stage: Stage, authority: Authority) -> None:
    policy = {"oauth2": {"authority": authority.url, "grant": "client_credentials", "client": CLIENT}}
    document = guarded(f"{authority.url}/guarded", policy)
    for _ in range(3):
        assert (await stage.run(document, {})).output == {"known": True}
    assert len(authority.asked) == 1


async def test_an_expired_token_is_asked_for_anew(stage: Stage, authority: Authority) -> None:
    authority.expires_in = 0
    policy = {"oauth2": {"authority": authority.url, "grant": "client_credentials", "client": CLIENT}}
    for _ in range(2):
        assert (await stage.run(guarded(f"{authority.url}/guarded", policy), {})).output == {"known": True}
    assert len(authority.asked) == 2


async def test_a_token_that_was_refused_is_not_used_again(stage: Stage, authority: Authority) -> None:
    policy = {"oauth2": {"authority": authority.url, "grant": "client_credentials", "client": CLIENT}}
    document = guarded(f"{authority.url}/guarded", policy)
    await stage.run(document, {})
    authority.given.append("revoked all others")
    assert (await stage.run(document, {})).error["status"] == 401
    assert (await stage.run(document, {})).output == {"known": True}


async def test_parallel_calls_ask_once(stage: Stage, authority: Authority) -> None:
    policy = {"oauth2": {"authority": authority.url, "grant": "client_credentials", "client": CLIENT}}
    ask = guarded(f"{authority.url}/guarded", policy)["do"][0]["ask"]
    branches = [{f"b{number}": ask} for number in range(5)]
    end = await stage.run({"do": [{"all": {"fork": {"branches": branches}}}]}, {})
    assert end.output == [{"known": True}] * 5
    assert len(authority.asked) == 1


async def test_oauth2_password(stage: Stage, authority: Authority) -> None:
    policy = {
        "oauth2": {
            "authority": f"{authority.url}/",
            "grant": "password",
            "username": "ann",
            "password": "pw",
            "endpoints": {"token": "/realm/tokens"},
            "client": {"id": "me", "authentication": "none"},
            "request": {"encoding": "application/json"},
        }
    }
    assert (await stage.run(guarded(f"{authority.url}/guarded", policy), {})).output == {"known": True}
    assert authority.asked == [{"grant_type": "password", "username": "ann", "password": "pw", "client_id": "me"}]


async def test_client_secret_basic(stage: Stage, authority: Authority) -> None:
    client = {**CLIENT, "authentication": "client_secret_basic"}
    policy = {"oauth2": {"authority": authority.url, "grant": "client_credentials", "client": client}}
    await stage.run(guarded(f"{authority.url}/guarded", policy), {})
    scheme, _, pair = authority.heads[0].one("Authorization").partition(" ")
    assert (scheme, b64decode(pair)) == ("Basic", b"me:hush-hush")
    assert authority.asked == [{"grant_type": "client_credentials"}]


async def test_client_secret_jwt(stage: Stage, authority: Authority) -> None:
    client = {**CLIENT, "authentication": "client_secret_jwt"}
    policy = {"oauth2": {"authority": authority.url, "grant": "client_credentials", "client": client}}
    await stage.run(guarded(f"{authority.url}/guarded", policy), {})
    claims = authority.asked[0]["client_assertion"].split(".")[1]
    assert json.loads(urlsafe_b64decode(claims + "=="))["aud"] == f"{authority.url}/oauth2/token"
    assert "hush-hush" not in json.dumps(authority.asked)


async def test_token_exchange(stage: Stage, authority: Authority) -> None:
    grant = "urn:ietf:params:oauth:grant-type:token-exchange"
    subject = {"token": "of-ann", "type": "urn:ietf:params:oauth:token-type:access_token"}
    policy = {"oauth2": {"authority": authority.url, "grant": grant, "client": CLIENT, "subject": subject}}
    await stage.run(guarded(f"{authority.url}/guarded", policy), {})
    assert authority.asked[0]["subject_token"] == "of-ann"
    assert authority.asked[0]["subject_token_type"] == subject["type"]


@pytest.mark.parametrize("path", ["/realm", "/realm/", "/realm/.well-known/openid-configuration"])
async def test_oidc_finds_the_token_endpoint(stage: Stage, authority: Authority, path: str) -> None:
    policy = {"oidc": {"authority": authority.url + path, "grant": "client_credentials", "client": CLIENT}}
    assert (await stage.run(guarded(f"{authority.url}/guarded", policy), {})).output == {"known": True}


async def test_issuers(stage: Stage, authority: Authority) -> None:
    policy: dict[str, Any] = {"authority": authority.url, "grant": "client_credentials", "client": CLIENT}
    right = {"oauth2": {**policy, "issuers": ["https://other.example", authority.issuer]}}
    assert (await stage.run(guarded(f"{authority.url}/guarded", right), {})).output == {"known": True}
    wrong = await stage.run(guarded(f"{authority.url}/guarded", {"oauth2": {**policy, "issuers": ["https://x"]}}), {})
    assert (wrong.error["type"], wrong.error["status"]) == (AUTHENTICATION, 401)


async def test_an_authority_that_refuses(stage: Stage, authority: Authority) -> None:
    authority.refuse = (400, {"error": "invalid_client", "error_description": "hush-hush is wrong"})
    policy = {"oauth2": {"authority": authority.url, "grant": "client_credentials", "client": CLIENT}}
    end = await stage.run(guarded(f"{authority.url}/guarded", policy), {})
    assert (end.error["type"], end.error["status"]) == (AUTHENTICATION, 401)
    assert end.error["instance"] == "/do/0/ask/with/endpoint/authentication"
    assert "invalid_client" in end.text
    assert "hush-hush" not in end.text


async def test_an_authority_that_is_away(stage: Stage) -> None:
    policy = {"oauth2": {"authority": "http://127.0.0.1:1", "grant": "client_credentials", "client": CLIENT}}
    end = await stage.run(guarded("http://127.0.0.1:1/", policy), {})
    assert end.error["status"] == 503


# ------------------------------------------------------------ secrets


async def test_c95_an_undeclared_secret(stage: Stage, store: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKFLOW_SECRET_API", "abc")
    policy = {"bearer": {"token": "${ $secrets.API }"}}
    before = len(store.seen)
    end = await stage.run(guarded(f"{store.url}/bearer/abc", policy), {})
    assert end.error["status"] == 400
    assert len(store.seen) == before
    declared = await stage.run(guarded(f"{store.url}/bearer/abc", policy, {"secrets": ["API"]}), {})
    assert declared.output == {"authenticated": True}


async def test_a_secret_that_is_not_set_names_its_variable(stage: Stage, store: WebServer) -> None:
    policy = {"bearer": {"token": "${ $secrets.not-there }"}}
    use = {"secrets": ["not-there"]}
    policy = {"bearer": {"token": '${ $secrets["not-there"] }'}}
    end = await stage.run(guarded(f"{store.url}/bearer/abc", policy, use), {})
    assert end.error["status"] == 400
    assert "WORKFLOW_SECRET_NOT_THERE" in end.error["detail"]


@pytest.mark.parametrize(
    ("kind", "text", "path"),
    [
        ("basic", '{"username":"ann","password":"pw-1"}', "/basic-auth/ann/pw-1"),
        ("digest", '{"username":"ann","password":"pw-1"}', "/digest-auth/ann/pw-1"),
        ("bearer", "plain-token", "/bearer/plain-token"),
        ("bearer", '{"token":"json-token"}', "/bearer/json-token"),
    ],
)
async def test_policies_from_secrets(
    stage: Stage, store: WebServer, monkeypatch: pytest.MonkeyPatch, kind: str, text: str, path: str
) -> None:
    monkeypatch.setenv("WORKFLOW_SECRET_OURS", text)
    end = await stage.run(guarded(store.url + path, {kind: {"use": "OURS"}}, {"secrets": ["OURS"]}), {})
    assert end.status == "Completed", end.text


async def test_an_oauth2_policy_from_a_secret(
    stage: Stage, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = {"authority": authority.url, "grant": "client_credentials", "client": CLIENT}
    monkeypatch.setenv("WORKFLOW_SECRET_OURS", json.dumps(secret))
    end = await stage.run(guarded(f"{authority.url}/guarded", {"oauth2": {"use": "OURS"}}, {"secrets": ["OURS"]}), {})
    assert end.output == {"known": True}


async def test_secrets_are_seen_by_calls_only(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKFLOW_SECRET_API", "abc")
    end = await stage.run({"use": {"secrets": ["API"]}, "do": [{"a": {"set": {"v": "${ $secrets.API }"}}}]}, {})
    assert end.error["status"] == 400


async def test_nobody_but_the_server_sees_a_secret(
    stage: Stage, store: WebServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WORKFLOW_SECRET_API", "top-secret-text")
    monkeypatch.setenv("WORKFLOW_SECRET_USER", '{"username":"ann","password":"pass-text"}')
    args: list[bytes] = []
    got: list[Any] = []

    async def look(seen: Any, reply: Any) -> None:
        got.append(seen)
        args.extend(each.job.args for each in stage.house.daemon.engine.live.all() if each.job.metadata)
        await reply.answer(200, b"{}", [("Content-Type", "application/json")])

    store.routes["/look"] = look
    document = guarded(
        f"{store.url}/look",
        {"basic": {"use": "USER"}},
        {"secrets": ["API", "USER"]},
        method="post",
        headers={"X-Key": "${ $secrets.API }", "X-Open": "open"},
        query={"key": '${ "v-" + $secrets.API }'},
        body={"deep": ["${ $secrets.API | ascii_upcase }", "plain"], "user": "${ $secrets.USER.username }"},
        output="response",
    )
    end = await stage.run(document, {})
    assert got[0].one("X-Key") == "top-secret-text"
    assert "key=v-top-secret-text" in got[0].target
    assert json.loads(got[0].body) == {"deep": ["TOP-SECRET-TEXT", "plain"], "user": "ann"}
    assert b64decode(got[0].one("Authorization").split()[1]) == b"ann:pass-text"
    shown = b"".join(args).decode("utf-8", "replace")
    assert "open" in shown
    assert "plain" in shown
    request = end.output["request"]
    assert request["headers"]["Authorization"] == "***"
    assert "v-" not in request["uri"]
    for text in (shown, json.dumps(end.output), caplog.text):
        assert "secret" not in text.lower().replace("workflow_secret", "")
        assert got[0].one("Authorization").split()[1] not in text


async def test_errors_hide_secrets(stage: Stage, store: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKFLOW_SECRET_API", "top-secret-text")
    use = {"secrets": ["API"]}
    document = guarded(f"{store.url}/bearer/x", None, use, headers={"a": "${ error($secrets.API) }"})
    document["do"][0]["ask"]["with"]["endpoint"] = f"{store.url}/echo"
    end = await stage.run(document, {})
    assert end.error["status"] == 400
    assert "top-secret-text" not in end.text
