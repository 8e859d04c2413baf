"""Who asks: basic, bearer, digest, OAuth 2, OpenID Connect; and secrets, which nobody sees but the server."""

from __future__ import annotations

import asyncio
import json
import math
from base64 import b64decode, urlsafe_b64decode
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from jobworkerp_standalone.engine.waiting import Waiting
from jobworkerp_standalone.jobs.model import JobResult
from jobworkerp_standalone.workflow.calls import tokens
from tests.support.house import eventually, open_house
from tests.support.pet_store import open_pet_store
from tests.support.token_server import Authority, open_authority
from tests.support.web import WebServer, answering, open_web, redirect
from tests.workflow.stage import Stage, open_stage

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


async def test_a_user_name_with_a_colon_cannot_be_sent(stage: Stage, store: WebServer) -> None:
    """The server would take what stands behind it for the password."""
    before = len(store.seen)
    policy = {"basic": {"username": "ann:x", "password": "pw-1"}}
    end = await stage.run(guarded(f"{store.url}/basic-auth/ann/pw-1", policy), {})
    assert (end.error["type"].rpartition("/")[2], "colon" in end.error["detail"]) == ("configuration", True)
    assert len(store.seen) == before


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


async def test_authorization_can_be_seen_in_the_output_without_what_is_secret(stage: Stage, store: WebServer) -> None:
    document = guarded(f"{store.url}/bearer/t0ken", {"bearer": {"token": "t0ken"}})
    document["do"][0]["ask"]["output"] = {"as": {"by": "${ $authorization }"}}
    document["do"].append({"after": {"set": {"before": "${ . }", "now": "${ $authorization }"}}})
    end = await stage.run(document, {})
    assert end.output == {"before": {"by": {"scheme": "Bearer", "parameter": "***"}}, "now": None}


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
    assert (await stage.run(document, {})).output == {"known": True}
    assert len(authority.asked) == 2


async def test_a_new_token_that_is_refused_is_the_end(stage: Stage, authority: Authority) -> None:
    """One that was in use may have been revoked; there is no third try."""
    policy = {"oauth2": {"authority": authority.url, "grant": "client_credentials", "client": CLIENT}}
    document = guarded(f"{authority.url}/locked", policy)
    authority.web.routes["/locked"] = answering(401)
    for asked, seen in ((1, 1), (2, 2)):  # none is used again, so each is new
        assert (await stage.run(document, {})).error["status"] == 401
        assert (len(authority.asked), _number(authority, "/locked")) == (asked, seen)
    await stage.run(guarded(f"{authority.url}/guarded", policy), {})
    assert (await stage.run(document, {})).error["status"] == 401
    assert (len(authority.asked), _number(authority, "/locked")) == (4, 4)


def _number(authority: Authority, path: str) -> int:
    return sum(each.target == path for each in authority.web.seen)


async def test_a_hundred_parallel_calls_ask_once(stage: Stage, authority: Authority) -> None:
    end = await stage.run(_hundred(authority), {})
    assert end.output == [{"known": True}] * 100
    assert len(authority.asked) == 1


async def test_a_hundred_calls_share_a_failure(stage: Stage, authority: Authority) -> None:
    authority.refuse = (400, {"error": "invalid_client"})
    authority.hold = asyncio.Event()
    caught = _hundred(authority, lambda ask: {"try": [{"ask": ask}], "catch": {"as": "e"}})
    run = asyncio.create_task(stage.run(caught, {}))
    await eventually(lambda: len(authority.asked) == 1)
    kept = next(reversed(stage.house.daemon.engine.pool.host.shared(tokens.Tokens)._kept.values()))
    await eventually(lambda: kept.asking.statistics().tasks_waiting == 99)
    authority.hold.set()
    assert (await run).status == "Completed"
    assert len(authority.asked) == 1
    authority.refuse = None
    assert (await stage.run(_hundred(authority), {})).output == [{"known": True}] * 100


def _hundred(authority: Authority, wrap: Callable[[Any], Any] = lambda ask: ask) -> dict[str, Any]:
    """Return a document with a hundred calls at once."""
    policy = {"oauth2": {"authority": authority.url, "grant": "client_credentials", "client": CLIENT}}
    ask = guarded(f"{authority.url}/guarded", policy)["do"][0]["ask"]
    return {"do": [{"all": {"fork": {"branches": [{f"b{number}": wrap(ask)} for number in range(100)]}}}]}


async def test_documents_and_grpc_have_new_tokens_too(
    stage: Stage, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> None:
    policy = {"oauth2": {"authority": authority.url, "grant": "client_credentials", "client": CLIENT}}

    async def described(seen: Any, reply: Any) -> None:
        known = seen.all("Authorization") == [f"Bearer {authority.given[-1]}"]
        await reply.answer(200 if known else 401, b"openapi: 3.1.0\npaths: {/guarded: {get: {operationId: look}}}")

    authority.web.routes["/api"] = described
    endpoint = {"uri": f"{authority.url}/api", "authentication": policy}
    given = {"document": {"endpoint": endpoint}, "operationId": "look", "authentication": policy}
    openapi = {"do": [{"ask": {"call": "openapi", "with": given}}]}
    async with (
        open_stage(tmp_path_factory.mktemp("stage"), WORKFLOW_ALLOWED_HOSTS="127.0.0.1") as own,
        open_house(tmp_path_factory.mktemp("guarded"), AUTH_TOKEN="x" * 20) as guarded_house,
    ):
        for _ in range(2):
            assert (await own.run(openapi, {})).output == {"known": True}
            authority.given.append("revoked all others")
        assert len(authority.asked) == 2
        service = {"name": "jobworkerp.service.WorkerService", "host": "127.0.0.1", "port": guarded_house.port}
        call = {"service": {**service, "authentication": policy}, "method": "FindByName", "arguments": {"name": "flow"}}
        for asked in (3, 4):  # it takes none of them
            end = await own.run({"do": [{"ask": {"call": "grpc", "with": call}}]}, {})
            assert (end.error["status"], len(authority.asked)) == (401, asked), end.error


@pytest.mark.parametrize("expires_in", [float("nan"), float("inf"), 1e308, "soon", True, None, -5, [1], "9" * 400])
async def test_odd_times_of_expiry(stage: Stage, authority: Authority, expires_in: Any) -> None:
    authority.expires_in = expires_in
    policy = {"oauth2": {"authority": authority.url, "grant": "client_credentials", "client": CLIENT}}
    end = await stage.run(guarded(f"{authority.url}/guarded", policy), {})
    if isinstance(expires_in, float) and not math.isfinite(expires_in):
        assert "did not answer with a JSON object" in end.error["detail"]  # NaN is no JSON
    else:
        assert end.output == {"known": True}


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[" * 100_000, b"[]", b"{}", b'{"access_token":1}', b'{"access_token":""}', b" " * 2_000_000]
)
async def test_an_authority_that_gives_none(stage: Stage, authority: Authority, raw: bytes) -> None:
    authority.raw = raw
    policy = {"oauth2": {"authority": authority.url, "grant": "client_credentials", "client": CLIENT}}
    end = await stage.run(guarded(f"{authority.url}/guarded", policy), {})
    assert (end.error["type"], end.error["status"]) == (AUTHENTICATION, 401)


async def test_an_authority_that_is_elsewhere(stage: Stage, authority: Authority) -> None:
    """Whoever it names does not get the client's secret."""
    async with open_web({"/oauth2/token": authority.token}) as other:
        authority.web.routes["/oauth2/token"] = redirect(f"{other.url}/oauth2/token", 307)
        policy = {"oauth2": {"authority": authority.url, "grant": "client_credentials", "client": CLIENT}}
        end = await stage.run(guarded(f"{authority.url}/guarded", policy), {})
        assert (end.error["status"], "redirects" in end.error["detail"], other.seen) == (401, True, [])


async def test_a_token_that_is_no_header_is_not_sent(stage: Stage, authority: Authority) -> None:
    authority.raw = json.dumps({"access_token": "tok\r\nX-Evil: 1"}).encode()
    policy = {"oauth2": {"authority": authority.url, "grant": "client_credentials", "client": CLIENT}}
    end = await stage.run(guarded(f"{authority.url}/guarded", policy), {})
    assert end.status == "Faulted"
    assert _number(authority, "/guarded") == 0
    assert "Evil" not in end.text


async def test_an_authority_that_does_not_answer(
    stage: Stage, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "_TIMEOUT_SEC", 0.1)
    authority.silent = True
    policy = {"oauth2": {"authority": authority.url, "grant": "client_credentials", "client": CLIENT}}
    end = await stage.run(guarded(f"{authority.url}/guarded", policy), {})
    assert (end.error["status"], "within 0.1 s" in end.error["detail"]) == (503, True)


async def test_whoever_asks_may_be_cancelled_without_harm_to_others(stage: Stage, authority: Authority) -> None:
    authority.silent = True
    policy = {"oauth2": {"authority": authority.url, "grant": "client_credentials", "client": CLIENT}}
    document = guarded(f"{authority.url}/guarded", policy)
    document["do"][0]["ask"]["timeout"] = {"after": {"milliseconds": 200}}
    assert (await stage.run(document, {})).error["status"] == 408
    authority.silent = False
    assert (await stage.run(document, {})).output == {"known": True}


async def test_refresh_tokens_that_are_taken_once(stage: Stage, authority: Authority) -> None:
    authority.refresh_token, authority.expires_in = "first", 0
    subject = {"token": "first", "type": "urn:ietf:params:oauth:token-type:refresh_token"}
    policy = {"oauth2": {"authority": authority.url, "grant": "refresh_token", "client": CLIENT, "subject": subject}}
    document = guarded(f"{authority.url}/guarded", policy)
    for _ in range(3):
        assert (await stage.run(document, {})).output == {"known": True}
    assert [each["refresh_token"] for each in authority.asked] == ["first", "first+", "first++"]
    authority.refresh_token = "first"
    assert (await stage.run(document, {})).error["status"] == 401
    assert (await stage.run(document, {})).output == {"known": True}


async def test_authorities_are_templates(stage: Stage, authority: Authority) -> None:
    client = {"authority": f"{authority.url}/{{realm}}", "endpoints": {"token": "/tokens"}, "client": CLIENT}
    policy = {"oauth2": {**client, "grant": "client_credentials", "issuers": ["https://{host}.example"]}}
    document = guarded(f"{authority.url}/guarded", policy)
    assert (await stage.run(document, {"realm": "realm", "host": "issuer"})).output == {"known": True}
    assert (await stage.run(document, {"realm": "realm", "host": "x"})).error["status"] == 401


@pytest.mark.parametrize("kind", ["oauth2", "oidc"])
async def test_a_grant_that_needs_a_person_is_refused_before_anything_runs(stage: Stage, kind: str) -> None:
    policy = {kind: {"authority": "https://x.example", "grant": "authorization_code", "client": CLIENT}}
    end = await stage.run(guarded("https://x.example", policy), {})
    assert end.text.count("needs a person") == 1
    assert "/grant" in end.text


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
    assert authority.heads[0].one("Content-Type") == "application/json"


@pytest.mark.parametrize(("secret", "sent"), [("hush-hush", "hush-hush"), ("a:b/c d", "a%3Ab%2Fc%20d")])
async def test_client_secret_basic(stage: Stage, authority: Authority, secret: str, sent: str) -> None:
    """Both are encoded before they are joined (RFC 6749, 2.3.1)."""
    client = {**CLIENT, "secret": secret, "authentication": "client_secret_basic"}
    policy = {"oauth2": {"authority": authority.url, "grant": "client_credentials", "client": client}}
    await stage.run(guarded(f"{authority.url}/guarded", policy), {})
    scheme, _, pair = authority.heads[0].one("Authorization").partition(" ")
    assert (scheme, b64decode(pair).decode()) == ("Basic", f"me:{sent}")
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
    assert (end.error["type"].rpartition("/")[2], end.error["status"]) == ("authorization", 403)
    assert len(store.seen) == before
    declared = await stage.run(guarded(f"{store.url}/bearer/abc", policy, {"secrets": ["API"]}), {})
    assert declared.output == {"authenticated": True}


@pytest.mark.parametrize("text", [None, ""], ids=["missing", "empty"])
async def test_a_secret_that_is_not_set_names_its_variable(
    stage: Stage, store: WebServer, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    if text is not None:
        monkeypatch.setenv("WORKFLOW_SECRET_NOT_THERE", text)
    use = {"secrets": ["not-there"]}
    policy = {"bearer": {"token": '${ $secrets["not-there"] }'}}
    end = await stage.run(guarded(f"{store.url}/bearer/abc", policy, use), {})
    assert (end.error["type"].rpartition("/")[2], end.error["status"]) == ("authorization", 403)
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


async def test_failures_of_the_job_hide_secrets(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job of a call says to everybody why it failed; URLs and JSON write a secret in their own way."""
    monkeypatch.setenv("WORKFLOW_SECRET_API", 'top secret/"text"+|&=~')
    use = {"secrets": ["API"]}
    failures: list[str] = []
    publish = Waiting.publish

    def look(self: Waiting, result: JobResult, *more: Any) -> None:
        failures.append((result.output or b"").decode("utf-8", "replace"))
        publish(self, result, *more)

    monkeypatch.setattr(Waiting, "publish", look)
    for uri in ('${ "http://127.0.0.1:1/" + $secrets.API }', '${ "http://127.0.0.1:1/" + ($secrets.API | @uri) }'):
        document = guarded(uri, None, use)
        document["do"][0]["ask"]["with"]["endpoint"] = uri
        end = await stage.run(document, {})
        assert "http://127.0.0.1:1/***" in end.text
    assert any("http://127.0.0.1:1/***" in each for each in failures)
    for text in failures:
        assert "secret" not in text.replace("$secrets", "")


async def test_what_an_error_quotes_of_a_server_hides_urls_and_numbers(
    stage: Stage, store: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def echo(seen: Any, reply: Any) -> None:
        await reply.answer(418, seen.target.encode())

    store.routes["/fail"] = echo
    monkeypatch.setenv("WORKFLOW_SECRET_API", '{"key": "k/e y+|1", "pin": 987654}')
    uri = f'${{ "{store.url}/fail?a=" + $secrets.API.key + "&b=" + ($secrets.API.pin | tostring) }}'
    document = guarded(uri, {"bearer": {"token": "t0ken"}}, {"secrets": ["API"]})
    assert (await stage.run(document, {})).error["detail"] == "/fail?a=***&b=***"


@pytest.mark.parametrize("status", [302, 307])
async def test_secrets_do_not_follow_a_redirect_to_another_host(
    stage: Stage, store: WebServer, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setenv("WORKFLOW_SECRET_API", "top-secret-text")
    async with open_web({"/there": answering(200, b"{}")}) as other:
        store.routes["/away"] = redirect(f"{other.url}/there", status)
        store.routes["/home"] = redirect("/echo", status)
        headers = {"X-Key": "${ $secrets.API }", "X-Open": "open"}
        document = guarded(
            f"{store.url}/away", {"bearer": {"token": "t0ken"}}, {"secrets": ["API"]}, redirect=True, headers=headers
        )
        assert (await stage.run(document, {})).status == "Completed"
        assert (other.seen[0].all("X-Key"), other.seen[0].all("Authorization")) == ([], [])
        assert other.seen[0].all("X-Open") == ["open"]
        given = document["do"][0]["ask"]["with"]
        given["endpoint"]["uri"] = f"{store.url}/home"
        assert (await stage.run(document, {})).output["headers"]["x-key"] == ["top-secret-text"]
        given |= {"method": "post", "endpoint": f"{store.url}/away", "body": {"key": "${ $secrets.API }"}}
        end = await stage.run(document, {})
        if status == 307:
            assert "the body must not go" in end.text
            assert len(other.seen) == 1
        else:
            assert (other.seen[1].method, other.seen[1].body) == ("GET", b"")
