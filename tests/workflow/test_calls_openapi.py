"""``call: openapi``: the CTK's feature, OpenAPI 3 and Swagger 2, and what a document or a call may lack."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.pet_store import open_pet_store
from tests.support.web import WebServer, open_web, redirect, text
from tests.workflow.stage import Stage, open_stage


@pytest.fixture(scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """A daemon that may read documents from this machine."""
    async with open_stage(tmp_path_factory.mktemp("stage"), WORKFLOW_ALLOWED_HOSTS="127.0.0.1") as opened:
        yield opened


@pytest.fixture(scope="module")
async def store() -> AsyncIterator[WebServer]:
    async with open_pet_store() as web:
        yield web


def call(document: Any, operation: str, parameters: Any = None, **members: Any) -> dict[str, Any]:
    """Return a document with one call."""
    given: dict[str, Any] = {"document": {"endpoint": document}, "operationId": operation, **members}
    if parameters is not None:
        given["parameters"] = parameters
    return {"do": [{"ask": {"call": "openapi", "with": given}}]}


async def test_ctk_content_output(stage: Stage, store: WebServer) -> None:
    document = call(f"{store.url}/v2/swagger.json", "findPetsByStatus", {"status": "${ .status }"})
    document["do"][0]["ask"]["output"] = {"as": ". | length"}
    assert (await stage.run(document, {"status": "available"})).output == 2


async def test_ctk_response_output(stage: Stage, store: WebServer) -> None:
    document = call(f"{store.url}/v2/swagger.json", "getPetById", {"petId": "${ .petId }"}, output="response")
    end = await stage.run(document, {"petId": 1})
    assert end.output["request"]["uri"] == f"{store.url}/v2/pet/1"
    assert end.output["statusCode"] == 200
    assert end.output["content"] == {"id": 1, "name": "Rex", "status": "available"}


async def test_swagger_lists_forms_and_bodies(stage: Stage, store: WebServer) -> None:
    swagger = f"{store.url}/v2/swagger.json"
    several = await stage.run(call(swagger, "findPetsByStatus", {"status": ["available", "sold"]}), {})
    assert len(several.output) == 3
    form = await stage.run(call(swagger, "updatePetWithForm", {"petId": 2, "name": "Tom & Co"}), {})
    assert form.output["body"] == "name=Tom+%26+Co"
    assert form.output["headers"]["content-type"] == ["application/x-www-form-urlencoded"]
    added = await stage.run(call(swagger, "addPet", {"body": {"name": "Eve"}}), {})
    assert added.output["body"] == '{"name":"Eve"}'


async def test_openapi_3_puts_each_parameter_where_it_belongs(stage: Stage, store: WebServer) -> None:
    parameters = {
        "kind": "a b",
        "tags": ["x", "y"],
        "filter": {"age": 3},
        "X-Trace": 17,
        "session": "s1",
        "body": {"n": 1},
    }
    said = (await stage.run(call(f"{store.url}/v3/openapi.json", "echo", parameters), {})).output
    assert said["method"] == "POST"
    assert said["target"] == "/v3/echo/a%20b?tags=x%2Cy&filter%5Bage%5D=3&page=1"
    assert (said["headers"]["x-trace"], said["headers"]["cookie"]) == (["17"], ["session=s1"])
    assert said["body"] == '{"n":1}'


async def test_parameters_that_nobody_declares_make_the_body(stage: Stage, store: WebServer) -> None:
    parameters = {"kind": "a b", "name": "Rex", "age": 3}
    said = (await stage.run(call(f"{store.url}/v3/openapi.json", "echo", parameters), {})).output
    assert said["body"] == '{"name":"Rex","age":3}'


async def test_credentials(stage: Stage, store: WebServer) -> None:
    parameters = {"kind": "a b", "n": 1}
    document = call(f"{store.url}/v3/openapi.json", "echo", parameters, authentication={"bearer": {"token": "t0ken"}})
    assert (await stage.run(document, {})).output["headers"]["authorization"] == ["Bearer t0ken"]


@pytest.mark.parametrize(
    ("operation", "parameters", "word"),
    [
        ("noSuch", {}, "findPetsByStatus"),
        ("getPetById", {}, "petId"),
        ("getPetById", {"petId": 1, "colour": "red"}, "colour"),
        ("addPet", {}, "body"),
    ],
)
async def test_mistakes_name_what_is_wrong(
    stage: Stage, store: WebServer, operation: str, parameters: Any, word: str
) -> None:
    end = await stage.run(call(f"{store.url}/v2/swagger.json", operation, parameters), {})
    assert end.error["status"] == 400
    assert word in end.error["detail"]


@pytest.mark.parametrize("content", ["no: openapi", "{", "- 1", "openapi: 3.0.0\npaths: {/a: {get: {$ref: '#/x'}}}"])
async def test_a_document_that_is_none(stage: Stage, store: WebServer, content: str) -> None:
    store.routes["/broken"] = text(content)
    end = await stage.run(call(f"{store.url}/broken", "a"), {})
    assert (end.error["status"], end.error["instance"]) == (400, "/do/0/ask/with/document")


async def test_a_document_behind_a_password(stage: Stage, store: WebServer) -> None:
    async def locked(seen: Any, reply: Any) -> None:
        known = seen.all("Authorization") == ["Bearer doc-token"]
        body = b"openapi: 3.0.0\nservers: [{url: /v3}]\npaths: {/pet/1: {get: {operationId: one}}}"
        await reply.answer(200 if known else 401, body if known else b"")

    store.routes["/locked"] = locked
    endpoint = {"uri": f"{store.url}/locked", "authentication": {"bearer": {"token": "doc-token"}}}
    assert (await stage.run(call(endpoint, "one"), {})).output["name"] == "Rex"


async def test_a_document_behind_digest(stage: Stage, store: WebServer, tmp_path: Path) -> None:
    policy = {"digest": {"username": "ann", "password": "pw"}}
    endpoint = {"uri": f"{store.url}/digest-auth/ann/pw", "authentication": policy}
    end = await stage.run(call(endpoint, "one"), {})
    assert "neither 'openapi' nor 'swagger'" in end.error["detail"]


async def test_documents_obey_the_rules_of_sources(tmp_path_factory: pytest.TempPathFactory, store: WebServer) -> None:
    async with open_stage(tmp_path_factory.mktemp("closed")) as closed:
        end = await closed.run(call(f"{store.url}/v2/swagger.json", "getPetById", {"petId": 1}), {})
        assert end.error["status"] == 500
        assert "WORKFLOW_ALLOWED_HOSTS" in end.text
        outside = await closed.run(call("/etc/hostname", "x"), {})
        assert "WORKFLOW_ALLOWED_ROOTS" in outside.text


async def test_a_document_leads_to_no_host_that_may_not_be_read(
    stage: Stage, tmp_path_factory: pytest.TempPathFactory
) -> None:
    async with open_web() as web, open_web(host="127.0.0.2") as inside:
        inside.routes["/secret"] = text("{}", "application/json")
        place = f"http://127.0.0.2:{inside.port}"
        body = f"openapi: 3.0.0\nservers: [{{url: '{place}'}}]\npaths: {{/secret: {{get: {{operationId: one}}}}}}"
        web.routes["/api"] = text(body, "application/yaml")
        error = (await stage.run(call(f"{web.url}/api", "one"), {})).error
        assert (error["status"], error["instance"]) == (400, "/do/0/ask/with/document")
        assert "WORKFLOW_ALLOWED_HOSTS" in error["detail"]
        assert inside.seen == []
        folder = tmp_path_factory.mktemp("allowed")
        (folder / "api.yaml").write_text(body)
        both: dict[str, Any] = {"WORKFLOW_ALLOWED_HOSTS": "127.0.0.1,127.0.0.2", "WORKFLOW_ALLOWED_ROOTS": str(folder)}
        async with open_stage(folder, **both) as allowing:
            assert (await allowing.run(call(f"{web.url}/api", "one"), {})).output == {}
        async with open_stage(tmp_path_factory.mktemp("s"), WORKFLOW_ALLOWED_ROOTS=str(folder)) as trusting:
            assert (await trusting.run(call(f"{folder}/api.yaml", "one"), {})).output == {}


async def test_an_operation_that_is_not_there_is_a_mistake_of_its_id(stage: Stage, store: WebServer) -> None:
    error = (await stage.run(call(f"{store.url}/v2/swagger.json", "findPats"), {})).error
    assert (error["status"], error["instance"]) == (400, "/do/0/ask/with/operationId")
    assert "findPetsByStatus" in error["detail"]


async def test_documents_and_requests_tell_the_agent_of_the_settings(tmp_path: Path, store: WebServer) -> None:
    agent = "pets/2.1 (laptop)"
    async with (
        open_web() as web,
        open_stage(tmp_path, WORKFLOW_ALLOWED_HOSTS="127.0.0.1", WORKFLOW_HTTP_USER_AGENT=agent) as stage,
    ):
        web.routes["/doc"] = redirect(f"{store.url}/v2/swagger.json")
        before = len(store.seen)
        end = await stage.run(call(f"{web.url}/doc", "getPetById", {"petId": 1}, output="response"), {})
        assert end.output["request"]["headers"] == {}, "that is what the task asked for"
        seen = [*web.seen, *store.seen[before:]]
        assert [each.one("user-agent") for each in seen] == [agent] * 3
