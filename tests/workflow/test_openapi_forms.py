"""How parameters, servers and references of OpenAPI documents are read: no server is asked."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from jobworkerp_standalone.workflow.calls.http_order import HttpOrder
from jobworkerp_standalone.workflow.calls.openapi_document import BadOpenApi, Operation
from jobworkerp_standalone.workflow.calls.openapi_request import order_of

SOURCE = "https://api.example/docs/v1/openapi.json"
LIST, OBJECT = ["blue", "black", "b/w"], {"R": 100, "G/": 200}


def document(operation: Any = None, path: str = "/a", **members: Any) -> dict[str, Any]:
    """Return a document with one operation, ``o``."""
    return {"openapi": "3.1.0", "paths": {path: {"get": {"operationId": "o", **(operation or {})}}}, **members}


def order(document: Any, source: str = SOURCE, **given: Any) -> HttpOrder:
    """Return the request for ``o``."""
    return order_of(Operation.find(json.dumps(document), source, "o"), given, follow=False, as_bytes=False)


def with_parameter(place: str, name: str = "c", **more: Any) -> dict[str, Any]:
    path = "/a/{c}/z" if place == "path" else "/a"
    return document({"parameters": [{"name": name, "in": place, "schema": {}, **more}]}, path)


@pytest.mark.parametrize(
    ("style", "explode", "of_list", "of_object"),
    [
        ("simple", False, "blue,black,b%2Fw", "R,100,G%2F,200"),
        ("simple", True, "blue,black,b%2Fw", "R=100,G%2F=200"),
        ("label", False, ".blue,black,b%2Fw", ".R,100,G%2F,200"),
        ("label", True, ".blue.black.b%2Fw", ".R=100.G%2F=200"),
        ("matrix", False, ";c=blue,black,b%2Fw", ";c=R,100,G%2F,200"),
        ("matrix", True, ";c=blue;c=black;c=b%2Fw", ";R=100;G%2F=200"),
    ],
)
def test_path(style: str, explode: bool, of_list: str, of_object: str) -> None:
    given = with_parameter("path", style=style, explode=explode)
    assert order(given, c=LIST).url == f"https://api.example/a/{of_list}/z"
    assert order(given, c=OBJECT).url == f"https://api.example/a/{of_object}/z"
    assert order(given, c="b/w ä").url.endswith("b%2Fw%20%C3%A4/z")


@pytest.mark.parametrize("value", ["", ".", "..", []])
def test_a_value_does_not_make_another_path(value: Any) -> None:
    with pytest.raises(BadOpenApi, match="path that of something else"):
        order(with_parameter("path"), c=value)


@pytest.mark.parametrize(
    ("more", "value", "pairs"),
    [
        ({}, LIST, [("c", "blue"), ("c", "black"), ("c", "b/w")]),
        ({"explode": False}, LIST, [("c", "blue,black,b/w")]),
        ({"style": "spaceDelimited", "explode": False}, LIST, [("c", "blue black b/w")]),
        ({"style": "pipeDelimited", "explode": False}, LIST, [("c", "blue|black|b/w")]),
        ({}, OBJECT, [("R", "100"), ("G/", "200")]),
        ({"explode": False}, OBJECT, [("c", "R,100,G/,200")]),
        ({"style": "deepObject"}, OBJECT, [("c[R]", "100"), ("c[G/]", "200")]),
        ({}, [], []),
        ({}, False, [("c", "false")]),
        ({}, 0, [("c", "0")]),
        ({}, "", [("c", "")]),
        ({"schema": {"default": 7}}, None, [("c", "7")]),
    ],
)
def test_query(more: dict[str, Any], value: Any, pairs: list[tuple[str, str]]) -> None:
    assert list(order(with_parameter("query", **more), c=value).query) == pairs


def test_parameters_with_content_are_json() -> None:
    parameter = {"name": "c", "in": "query", "content": {"application/json": {}}}
    assert order(document({"parameters": [parameter]}), c={"a": [1]}).query == (("c", '{"a":[1]}'),)


def test_headers_and_cookies() -> None:
    parameters = [
        {"name": "X-List", "in": "header", "schema": {}},
        {"name": "X-Object", "in": "header", "explode": True, "schema": {}},
        {"name": "one", "in": "cookie", "schema": {}},
        {"name": "two", "in": "cookie", "schema": {}},
    ]
    given: dict[str, Any] = {"X-List": [1, 2], "X-Object": {"a": 1}, "one": "a;b", "two": 2}
    assert order(document({"parameters": parameters}), **given).headers == (
        ("X-List", "1,2"),
        ("X-Object", "a=1"),
        ("Cookie", "one=a%3Bb; two=2"),
    )


def test_headers_that_openapi_has_other_members_for() -> None:
    parameters = [
        {"name": name, "in": "header", "required": True} for name in ("Accept", "content-type", "Authorization")
    ]
    body = {"content": {"application/json": {}}}
    made = order(document({"parameters": parameters, "requestBody": body}), body={"a": 1})
    assert made.headers == (("Content-Type", "application/json"),)


def test_a_content_type_of_swagger_is_sent_once() -> None:
    parameters = [{"name": "Content-Type", "in": "header", "type": "string"}, {"name": "x", "in": "body"}]
    swagger = {
        "swagger": "2.0",
        "paths": {"/a": {"post": {"operationId": "o", "consumes": ["application/json"], "parameters": parameters}}},
    }
    values: dict[str, Any] = {"Content-Type": "application/vnd.x+json", "x": {"a": 1}}
    made = order(swagger, **values)
    assert (made.headers, made.body) == ((("Content-Type", "application/vnd.x+json"),), '{"a":1}')


@pytest.mark.parametrize("place", ["query", "header", "cookie"])
@pytest.mark.parametrize("everywhere", [True, False])
def test_api_keys_are_parameters(place: str, everywhere: bool) -> None:
    components = {"securitySchemes": {"mine": {"type": "apiKey", "name": "key", "in": place}, "b": {"type": "http"}}}
    security = [{"mine": []}, {"b": []}]
    if everywhere:
        made = order(document(components=components, security=security), key="k1")
    else:
        made = order(document({"security": security}, components=components), key="k1")
    assert made.query == ((("key", "k1"),) if place == "query" else ())
    assert made.headers == {"header": (("key", "k1"),), "cookie": (("Cookie", "key=k1"),)}.get(place, ())
    with pytest.raises(BadOpenApi, match="no parameter 'key'"):
        order(document({"security": []}, components=components, security=security), key="k1")


def test_api_keys_of_swagger_are_parameters() -> None:
    swagger = {
        "swagger": "2.0",
        "securityDefinitions": {"mine": {"type": "apiKey", "name": "api_key", "in": "header"}},
        "paths": {"/a": {"get": {"operationId": "o", "security": [{"mine": []}]}}},
    }
    assert order(swagger, api_key="k1").headers == (("api_key", "k1"),)


@pytest.mark.parametrize(
    ("servers", "url"),
    [
        (None, "https://api.example/a"),
        ([], "https://api.example/a"),
        ([{"url": "/v2/"}], "https://api.example/v2/a"),
        ([{"url": "v2"}], "https://api.example/docs/v1/v2/a"),
        ([{"url": "../v2"}], "https://api.example/docs/v2/a"),
        ([{"url": "//other.example"}], "https://other.example/a"),
        ([{"url": "http://x.example:81/b"}, {"url": "http://y.example"}], "http://x.example:81/b/a"),
        (
            [
                {
                    "url": "https://{who}.example:{port}/{v}",
                    "variables": {"who": {"default": "me"}, "port": {"default": 1}},
                }
            ],
            "https://me.example:1/a",
        ),
        ("wrong", "https://api.example/a"),
    ],
)
def test_servers(servers: Any, url: str) -> None:
    more = {} if servers is None else {"servers": servers}
    assert order(document(**more)).url == url
    if servers:
        assert order(document(more, servers=[{"url": "https://general.example"}])).url == (
            url if servers != "wrong" else "https://general.example/a"
        )


@pytest.mark.parametrize("url", ["/v1", "ftp://x.example", "file:///etc", "javascript:1"])
def test_servers_that_cannot_be_asked(url: str) -> None:
    with pytest.raises(BadOpenApi, match="http"):
        order(document(servers=[{"url": url}]), source="/files/openapi.yaml")


@pytest.mark.parametrize(
    ("members", "url"),
    [
        ({"host": "h.example", "basePath": "/b", "schemes": ["wss", "https"]}, "https://h.example/b/a"),
        ({"host": "h.example:8", "schemes": ["http"]}, "http://h.example:8/a"),
        ({"basePath": "/b/"}, "https://api.example/b/a"),
        ({"host": "h.example"}, "https://h.example/a"),
    ],
)
def test_servers_of_swagger(members: dict[str, Any], url: str) -> None:
    assert order({"swagger": "2.0", **members, "paths": {"/a": {"get": {"operationId": "o"}}}}).url == url


def test_a_body_may_be_needed() -> None:
    content = {"application/json": {"schema": {"type": "object"}}}
    needed = document({"requestBody": {"required": True, "content": content}})
    with pytest.raises(BadOpenApi, match="needs a body: give it as the parameter 'body'"):
        order(needed)
    assert order(needed, body={"a": 1}).body == '{"a":1}'
    assert order(document({"requestBody": {"content": content}})).body is None


def test_references() -> None:
    given = {
        "openapi": "3.1.0",
        "paths": {"/pets/{id}": {"$ref": "#/components/pathItems/a%20b"}},
        "components": {
            "pathItems": {"a b": {"parameters": [{"$ref": "#/x-list/1"}], "get": {"operationId": "o"}}},
        },
        "x-list": [{}, {"$ref": "#/x~1y/c~0d"}],
        "x/y": {"c~d": {"name": "id", "in": "path"}},
    }
    assert order(given, id=1).url == "https://api.example/pets/1"


@pytest.mark.parametrize(
    ("reference", "word"),
    [
        ("other.yaml#/a", "within the document"),
        ("https://x.example/p.json", "within the document"),
        ("#/nothing", "does not have"),
        ("#/x-list/7", "does not have"),
        ("#/paths/~1a/get/parameters/0", "never end"),
    ],
)
def test_references_that_lead_nowhere(reference: str, word: str) -> None:
    with pytest.raises(BadOpenApi, match=word):
        order({**document({"parameters": [{"$ref": reference}]}), "x-list": []})


def test_a_path_without_a_slash_joins_no_host() -> None:
    with pytest.raises(BadOpenApi, match="no operation 'o'"):
        order(document(path=".evil.example", servers=[{"url": "https://good.example"}]))


def test_yaml_with_everything_in_it() -> None:
    text = """
    openapi: 3.1.0
    paths:
      /pets:
        post:
          operationId: o
          requestBody:
            required: true
            content: {application/x-www-form-urlencoded: {schema: {type: [object, "null"]}}}
    """
    made = order_of(Operation.find(text, SOURCE, "o"), {"a": [1, 2], "b": "c d"}, follow=False, as_bytes=False)
    assert (made.method, made.body) == ("POST", "a=1&a=2&b=c+d")


@pytest.mark.parametrize(
    ("content", "body", "word"),
    [({"multipart/form-data": {}}, {"a": 1}, "call: http"), ({"image/png": {}}, "x", "call: http")],
)
def test_bodies_that_cannot_be_sent(content: Any, body: Any, word: str) -> None:
    with pytest.raises(BadOpenApi, match=word):
        order(document({"requestBody": {"content": content}}), body=body)


_LEAVES = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["o", "query", "#/a", "http://["])
)
_KEYS = st.sampled_from(
    [
        "servers",
        "url",
        "parameters",
        "name",
        "in",
        "schema",
        "get",
        "operationId",
        "requestBody",
        "content",
        "$ref",
        "security",
        "variables",
        "default",
        "consumes",
        "host",
        "basePath",
        "schemes",
        "components",
        "/a",
        "style",
        "x",
    ]
)
_ANY = st.recursive(
    _LEAVES, lambda each: st.lists(each, max_size=3) | st.dictionaries(_KEYS, each, max_size=4), max_leaves=12
)


@settings(max_examples=400, deadline=None)
@given(
    st.dictionaries(_KEYS, _ANY, max_size=4),
    st.dictionaries(_KEYS, _ANY, max_size=4),
    st.sampled_from(["openapi", "swagger"]),
)
def test_no_document_breaks_the_reader(general: dict[str, Any], operation: dict[str, Any], kind: str) -> None:
    text = yaml.safe_dump({**general, kind: "3", "paths": {"/a": {"get": {**operation, "operationId": "o"}}}})
    with suppress(BadOpenApi):
        operation_found = Operation.find(text, SOURCE, "o")
        with suppress(ValueError):  # what a parameter cannot be
            order_of(operation_found, {"x": 1, "name": [2]}, follow=False, as_bytes=False)


def test_a_server_that_is_no_url() -> None:
    with pytest.raises(BadOpenApi, match="no URL"):
        order(document(servers=[{"url": "http://[x/"}]))
