"""``call: http``: requests, answers, errors, redirects; with it the CTK's features ``call`` and ``try``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.support.patience import PATIENCE_SEC
from tests.support.pet_store import open_pet_store
from tests.support.web import WebServer, answering, redirect, text
from tests.workflow.stage import Stage, open_stage

COMMUNICATION = "https://serverlessworkflow.io/spec/1.0.0/errors/communication"


@pytest.fixture(scope="module")
async def store() -> AsyncIterator[WebServer]:
    async with open_pet_store() as web:
        yield web


def call(uri: str, **members: Any) -> dict[str, Any]:
    """Return a document with one call."""
    task = {key: members.pop(key) for key in ("output_as", "use") if key in members}
    http: dict[str, Any] = {"call": "http", "with": {"method": "get", "endpoint": uri, **members}}
    if "output_as" in task:
        http["output"] = {"as": task["output_as"]}
    document: dict[str, Any] = {"do": [{"ask": http}]}
    return {**document, "use": task["use"]} if "use" in task else document


async def test_ctk_content_output(stage: Stage, store: WebServer) -> None:
    uri = f"{store.url}/v2/pet/findByStatus?status={{status}}"
    end = await stage.run(call(uri, output_as=".[0]"), {"status": "available"})
    assert end.output == {"id": 1, "name": "Rex", "status": "available"}


async def test_ctk_response_output(stage: Stage, store: WebServer) -> None:
    end = await stage.run(call(f"{store.url}/v2/pet/{{petId}}", output="response"), {"petId": 1})
    assert end.output["request"] == {"method": "GET", "uri": f"{store.url}/v2/pet/1", "headers": {}}
    assert end.output["statusCode"] == 200
    assert end.output["headers"]["content-type"] == "application/json"
    assert end.output["content"] == end.output["body"] == {"id": 1, "name": "Rex", "status": "available"}


async def test_ctk_basic_authentication(stage: Stage, store: WebServer) -> None:
    document = call(f"{store.url}/basic-auth/{{username}}/{{password}}")
    document["do"][0]["ask"]["with"]["endpoint"] = {
        "uri": document["do"][0]["ask"]["with"]["endpoint"],
        "authentication": {"basic": {"username": "${ .username }", "password": "${ .password }"}},
    }
    end = await stage.run(document, {"username": "serverless-workflow", "password": "conformance-test"})
    assert end.output == {"authenticated": True}


TRY = """
do:
  - tryGetPet:
      try:
        - getPet: {call: http, with: {method: get, endpoint: {uri: "%s/v2/pet/getPetByName/{petName}"}}}
      catch:
        errors: {with: {type: https://serverlessworkflow.io/dsl/errors/types/communication, status: %d}}
        as: err
        do: [{setError: {set: {error: "${ $err }"}}}]
"""


async def test_ctk_try_catches_the_status_of_an_answer(stage: Stage, store: WebServer) -> None:
    end = await stage.run(TRY % (store.url, 404), {"petName": "Milou"})
    error = end.output["error"]
    assert error["type"] == COMMUNICATION
    assert error["status"] == 404
    assert error["title"]
    assert error["instance"] == "/do/0/tryGetPet/try/0/getPet"


async def test_ctk_try_lets_other_statuses_pass(stage: Stage, store: WebServer) -> None:
    end = await stage.run(TRY % (store.url, 503), {"petName": "Milou"})
    assert end.status == "Faulted"
    assert end.error["status"] == 404


async def test_c93_a_json_answer_is_a_value(stage: Stage, store: WebServer) -> None:
    store.routes["/seven"] = text('{"id":7}', "application/json")
    end = await stage.run(call("${ .url }", output_as="${ .id }"), {"url": f"{store.url}/seven"})
    assert end.output == 7


async def test_c94_an_error_status_is_an_error(stage: Stage, store: WebServer) -> None:
    document = call("${ .url }", output="response", output_as="${ .statusCode }")
    end = await stage.run(document, {"url": f"{store.url}/v2/pet/99"})
    assert (end.error["type"], end.error["status"]) == (COMMUNICATION, 404)
    assert end.error["instance"] == "/do/0/ask"
    assert "Pet not found" in end.error["detail"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"x": "a b/ä"}, "/echo/a%20b%2F%C3%A4"),
        ({"x": 5}, "/echo/5"),
        ({"x": True}, "/echo/true"),
        ({"x": None}, "/echo/"),
        ({}, "/echo/"),
        ("no object", "/echo/"),
    ],
)
async def test_uri_templates_take_top_level_members(stage: Stage, store: WebServer, given: Any, expected: str) -> None:
    end = await stage.run(call(f"{store.url}/echo/{{x}}", output_as=".target"), given if given != "no object" else [1])
    assert end.output == expected


async def test_a_uri_template_takes_no_object(stage: Stage, store: WebServer) -> None:
    end = await stage.run(call(f"{store.url}/echo/{{x}}"), {"x": {"y": 1}})
    assert end.error["status"] == 400
    assert end.error["type"].endswith("/expression")
    assert end.error["instance"] == "/do/0/ask/with/endpoint"


@pytest.mark.parametrize("uri", ["/relative", "ftp://x.example/", "http://x.example/#part", "http://"])
async def test_an_endpoint_is_an_absolute_url_without_fragment(stage: Stage, uri: str) -> None:
    end = await stage.run(call(f'${{ "{uri}" }}'), {})
    assert (end.error["status"], end.error["instance"]) == (400, "/do/0/ask/with/endpoint")


async def test_headers_and_query(stage: Stage, store: WebServer) -> None:
    pairs = {"X-One": 1, "X-Many": ["a", True], "X-None": None}
    document = call(f"{store.url}/echo?a=b", headers=pairs, query={"n": 2.5, "l": ["x y", "z"], "none": None})
    said = (await stage.run(document, {})).output
    assert said["target"] == "/echo?a=b&n=2.5&l=x+y&l=z"
    assert (said["headers"]["x-one"], said["headers"]["x-many"]) == (["1"], ["a", "true"])
    assert "x-none" not in said["headers"]


@pytest.mark.parametrize("name", ["headers", "query"])
async def test_headers_and_query_take_no_objects(stage: Stage, store: WebServer, name: str) -> None:
    end = await stage.run(call(f"{store.url}/echo", **{name: {"x": {"y": 1}}}), {})
    assert (end.error["status"], end.error["instance"]) == (400, f"/do/0/ask/with/{name}")


@pytest.mark.parametrize(
    ("body", "headers", "sent", "kind"),
    [
        ({"a": [1, None]}, {}, '{"a":[1,null]}', "application/json"),
        ("plain", {}, "plain", None),
        ({"a": 1}, {"content-type": "application/vnd.x+json"}, '{"a":1}', "application/vnd.x+json"),
        ("${ .n }", {}, "7", "application/json"),
    ],
)
async def test_bodies(
    stage: Stage, store: WebServer, body: Any, headers: dict[str, str], sent: str, kind: str | None
) -> None:
    said = (await stage.run(call(f"{store.url}/echo", method="post", body=body, headers=headers), {"n": 7})).output
    assert said["body"] == sent
    assert said["headers"].get("content-type") == (None if kind is None else [kind])


async def test_raw_is_the_body_in_base64(stage: Stage, store: WebServer) -> None:
    store.routes["/latin"] = answering(200, "ä".encode("latin-1"), [("Content-Type", "text/plain; charset=latin-1")])
    assert (await stage.run(call(f"{store.url}/latin", output="raw"), {})).output == "5A=="
    assert (await stage.run(call(f"{store.url}/latin"), {})).output == "ä"


@pytest.mark.parametrize(
    ("body", "kind", "expected"),
    [
        (b"{oops", "application/json", "{oops"),
        (b'{"a":NaN}', "application/json", '{"a":NaN}'),
        (b"[1]", "application/problem+json; charset=utf-8", [1]),
        (b"\x00\xff", "application/octet-stream", "AP8="),
        (b"", "text/plain", ""),
        (b"12345678901234567890", "application/json", 12345678901234567890),
        (b'"\\ud800"', "application/json", "\ud800"),
        (b"[1]", "application/json; charset=utf-16", "WzFd"),
    ],
)
async def test_content(stage: Stage, store: WebServer, body: bytes, kind: str, expected: Any) -> None:
    store.routes["/content"] = answering(200, body, [("Content-Type", kind)])
    assert (await stage.run(call(f"{store.url}/content"), {})).output == expected


async def test_repeated_headers_of_an_answer_are_arrays(stage: Stage, store: WebServer) -> None:
    store.routes["/twice"] = answering(200, b"", [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-One", "1")])
    headers = (await stage.run(call(f"{store.url}/twice", output="response", output_as=".headers"), {})).output
    assert (headers["set-cookie"], headers["x-one"]) == (["a=1", "b=2"], "1")


async def test_a_redirect_is_an_error_unless_it_may_be_followed(stage: Stage, store: WebServer) -> None:
    store.routes["/old"] = redirect("/v2/pet/1", 301)
    end = await stage.run(call(f"{store.url}/old"), {})
    assert (end.error["type"], end.error["status"]) == (COMMUNICATION, 301)
    assert "/v2/pet/1" in end.error["detail"]
    assert (await stage.run(call(f"{store.url}/old", redirect=True), {})).output["name"] == "Rex"


async def test_a_3xx_that_leads_nowhere_is_a_success_where_redirects_are(stage: Stage, store: WebServer) -> None:
    store.routes["/same"] = answering(304)
    end = await stage.run(call(f"{store.url}/same", redirect=True, output="response", output_as=".statusCode"), {})
    assert end.output == 304


async def test_no_answer_is_an_error_that_may_pass(stage: Stage) -> None:
    end = await stage.run(call("http://127.0.0.1:1/"), {})
    assert (end.error["type"], end.error["status"]) == (COMMUNICATION, 503)


async def test_a_retry_sees_the_status(stage: Stage, store: WebServer) -> None:
    answers = [503, 503, 200]

    async def moody(_seen: Any, reply: Any) -> None:
        await reply.answer(answers.pop(0), b"ok")

    store.routes["/moody"] = moody
    tried = {
        "try": [{"ask": call(f"{store.url}/moody")["do"][0]["ask"]}],
        "catch": {
            "errors": {"with": {"status": 503}},
            "retry": {"delay": {"milliseconds": 1}, "limit": {"attempt": {"count": 3}}},
        },
    }
    assert (await stage.run({"do": [{"t": tried}]}, {})).output == "ok"
    assert answers == []


async def test_a_time_limit_ends_the_request(stage: Stage, store: WebServer) -> None:
    async def silent(_seen: Any, reply: Any) -> None:
        await reply.gone()

    store.routes["/silent"] = silent
    document = call(f"{store.url}/silent")
    document["do"][0]["ask"]["timeout"] = {"after": {"milliseconds": 200}}
    end = await stage.run(document, {})
    assert end.error["status"] == 408


async def test_each_call_is_a_job(stage: Stage, store: WebServer) -> None:
    seen: list[tuple[int, dict[str, str]]] = []

    async def look(_seen: Any, reply: Any) -> None:
        seen.extend((each.job.id, dict(each.job.metadata)) for each in stage.house.daemon.engine.live.all())
        await reply.answer()

    store.routes["/look"] = look
    end = await stage.run(call(f"{store.url}/look"), {})
    assert [metadata["jobworkerp-parent-job-id"] for _, metadata in seen if metadata] == [str(end.job_id)]


@pytest.mark.parametrize(
    ("template", "path"),
    [
        ("{x,y}", "1%202,3"),
        ("{nothing,y}", "3"),
        ("{nothing}", ""),
        ("{p}", "a%2Fb%3F%23%7Bx%7D"),
        ("{pet-id}", "7"),
        ("{ä}", "%C3%A4"),
        ("{t}", "true"),
    ],
)
async def test_uri_templates(stage: Stage, store: WebServer, template: str, path: str) -> None:
    given = {"x": "1 2", "y": 3, "p": "a/b?#{x}", "pet-id": 7, "ä": "ä", "t": True, "nothing": None}
    assert (await stage.run(call(f"{store.url}/echo/{template}"), given)).output["target"] == f"/echo/{path}"


@pytest.mark.parametrize("template", ["{?x}", "{+x}", "{/x}", "{x:1}", "{x*}", "{}", "{x,}", "{#x}"])
async def test_templates_of_other_kinds_are_refused(stage: Stage, store: WebServer, template: str) -> None:
    end = await stage.run(call(f"{store.url}/echo/{template}"), {"x": "1"})
    assert (end.error["status"], end.error["instance"]) == (400, "/do/0/ask/with/endpoint")
    assert template in end.error["detail"]


@pytest.mark.parametrize("value", [".", ".."])
async def test_a_value_does_not_climb_in_the_path(stage: Stage, store: WebServer, value: str) -> None:
    before = len(store.seen)
    end = await stage.run(call(f"{store.url}/echo/{{x}}/more"), {"x": value})
    assert (end.error["status"], len(store.seen)) == (400, before)


@pytest.mark.parametrize(
    "members",
    [
        {"headers": {"X-A": "a\r\nX-Evil: 1"}},
        {"headers": {"X-A\r\nX-Evil": "1"}},
        {"method": '${ "GET / HTTP/1.1\r\n" }'},
    ],
)
async def test_nothing_can_be_smuggled_into_a_request(stage: Stage, store: WebServer, members: dict[str, Any]) -> None:
    before = len(store.seen)
    end = await stage.run(call(f"{store.url}/echo", **members), {})
    assert (end.status, len(store.seen)) == ("Faulted", before)


async def test_a_server_that_says_less_than_it_promised(stage: Stage, store: WebServer) -> None:
    async def half(_seen: Any, reply: Any) -> None:
        await reply.begin(200, [("Content-Length", "1000"), ("Content-Type", "application/json")])
        await reply.piece(b'{"a":')
        reply.cut()

    store.routes["/half"] = half
    end = await stage.run(call(f"{store.url}/half"), {})
    assert (end.error["type"], end.error["status"]) == (COMMUNICATION, 503)


async def test_an_answer_that_is_too_large(tmp_path: Path, store: WebServer) -> None:
    async with open_stage(tmp_path, HTTP_RESPONSE_MAX_BYTES="1024") as stage:
        store.routes["/large"] = answering(200, b"x" * 1025)
        assert "HTTP_RESPONSE_MAX_BYTES" in (await stage.run(call(f"{store.url}/large"), {})).text


async def test_a_cancelled_workflow_ends_its_request(stage: Stage, store: WebServer) -> None:
    gone = anyio.Event()
    there = anyio.Event()

    async def silent(_seen: Any, reply: Any) -> None:
        there.set()
        await reply.gone()
        gone.set()

    store.routes["/silent"] = silent
    job = await stage.start(call(f"{store.url}/silent"), {})
    with anyio.fail_after(PATIENCE_SEC):
        await there.wait()
        await stage.house.delete(job)
        await gone.wait()
    assert (await stage.result(job)).job_status == "CANCELLED"


@pytest.mark.parametrize("body", ["[1e400]", "[-1e400]", f"[{'9' * 5000}]", "[" * 200_000 + "]" * 200_000])
async def test_json_that_cannot_be_held_is_an_error(stage: Stage, store: WebServer, body: str) -> None:
    store.routes["/unheld"] = text(body, "application/json")
    end = await stage.run(call(f"{store.url}/unheld"), {})
    assert (end.error["type"], end.error["title"]) == (COMMUNICATION, "An answer cannot be read")
    assert "output: raw" in end.error["detail"]
    raw = await stage.run(call(f"{store.url}/unheld", output="raw"), {})
    assert len(raw.output) >= len(body)


async def test_what_calls_itself_json_and_is_none_is_text(stage: Stage, store: WebServer) -> None:
    for body in ("[NaN]", "{", "plain"):
        store.routes["/no-json"] = text(body, "application/json")
        assert (await stage.run(call(f"{store.url}/no-json"), {})).output == body


async def test_a_request_has_the_agent_of_the_settings_or_its_own(tmp_path: Path, store: WebServer) -> None:
    store.routes["/agent"] = answering(200)
    async with open_stage(tmp_path, WORKFLOW_HTTP_USER_AGENT="flows/2.1") as stage:
        await stage.run(call(f"{store.url}/agent"), {})
        await stage.run(call(f"{store.url}/agent", headers={"user-agent": "mine"}), {})
    assert [each.all("user-agent") for each in store.seen[-2:]] == [["flows/2.1"], ["mine"]]


async def test_a_request_without_a_limit_has_that_of_the_settings(tmp_path: Path, store: WebServer) -> None:
    async def silent(_seen: Any, reply: Any) -> None:
        await reply.gone()

    store.routes["/silent"] = silent
    document = call(f"{store.url}/silent")
    async with open_stage(tmp_path, WORKFLOW_HTTP_TIMEOUT_SEC="1") as stage:
        end = await stage.run(document, {})
        assert (end.error["status"], "within 1000 ms" in end.error["detail"]) == (408, True)
        document["do"][0]["ask"]["timeout"] = {"after": {"milliseconds": 20}}
        assert "within 20 ms" in (await stage.run(document, {})).error["detail"]
