"""A stand-in for the public servers that the conformance kit calls: pets, and pages behind passwords."""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, unquote

from tests.support.web import Reply, Route, WebServer, open_web
from tests.support.web_values import Seen

JSON_TYPE = ("Content-Type", "application/json")
PETS = [
    {"id": 1, "name": "Rex", "status": "available"},
    {"id": 2, "name": "Tom", "status": "sold"},
    {"id": 3, "name": "Ada", "status": "available"},
]
_NONCE = "dcd98b7102dd2f0e8b11d0f600bfb0c093"
_PART = re.compile(r'(\w+)=(?:"([^"]*)"|([^\s,]+))')


@asynccontextmanager
async def open_pet_store() -> AsyncIterator[WebServer]:
    """Start it on a free port."""
    async with open_web() as web:
        web.routes = _Routes(web)
        yield web


class _Routes(dict[str, Route]):
    """Routes by what a path begins with; a test may add its own, which come first."""

    def __init__(self, web: WebServer) -> None:
        super().__init__()
        self._web = web

    def get(self, key: str, default: Any = None) -> Any:
        if key in self:
            return self[key]
        for start, route in (
            ("/v2/swagger.json", self._swagger),
            ("/v3/openapi.json", self._openapi),
            ("/v2/pet", _pet),
            ("/v3/pet", _pet),
            ("/basic-auth/", _basic),
            ("/digest-auth/", _digest),
            ("/bearer/", _bearer),
            ("/echo", _echo),
        ):
            if key.startswith(start):
                return route
        return default

    async def _swagger(self, _seen: Seen, reply: Reply) -> None:
        host = self._web.url.partition("://")[2]
        document: dict[str, Any] = {
            "swagger": "2.0",
            "host": host,
            "basePath": "/v2",
            "schemes": ["http"],
            "paths": {
                "/pet/findByStatus": {
                    "get": {
                        "operationId": "findPetsByStatus",
                        "parameters": [
                            {
                                "name": "status",
                                "in": "query",
                                "required": True,
                                "type": "array",
                                "collectionFormat": "multi",
                            }
                        ],
                    }
                },
                "/pet/{petId}": {
                    "parameters": [{"$ref": "#/parameters/petId"}],
                    "get": {"operationId": "getPetById"},
                    "post": {
                        "operationId": "updatePetWithForm",
                        "consumes": ["application/x-www-form-urlencoded"],
                        "parameters": [{"name": "name", "in": "formData", "type": "string"}],
                    },
                },
                "/pet": {
                    "post": {
                        "operationId": "addPet",
                        "parameters": [{"name": "body", "in": "body", "required": True, "schema": {"type": "object"}}],
                    }
                },
            },
            "parameters": {"petId": {"name": "petId", "in": "path", "required": True, "type": "integer"}},
        }
        await reply.answer(200, json.dumps(document).encode(), [JSON_TYPE])

    async def _openapi(self, _seen: Seen, reply: Reply) -> None:
        document = """
openapi: 3.0.3
servers: [{url: "/{version}", variables: {version: {default: v3}}}]
paths:
  /echo/{kind}:
    post:
      operationId: echo
      parameters:
        - {name: kind, in: path, required: true, schema: {type: string}}
        - {name: tags, in: query, explode: false, schema: {type: array}}
        - {name: filter, in: query, style: deepObject, schema: {type: object}}
        - {name: page, in: query, schema: {type: integer, default: 1}}
        - {name: X-Trace, in: header, schema: {type: string}}
        - {name: session, in: cookie, schema: {type: string}}
      requestBody: {required: true, content: {application/json: {}}}
  /pet/{petId}:
    get:
      operationId: getPet
      parameters: [{name: petId, in: path, required: true, schema: {type: integer}}]
"""
        self.setdefault("/v3/echo/a%20b", _echo)
        await reply.answer(200, document.encode(), [("Content-Type", "application/yaml")])


async def _pet(seen: Seen, reply: Reply) -> None:
    path, _, query = seen.target.partition("?")
    last = unquote(path.rsplit("/", 1)[1])
    if last == "findByStatus":
        wanted = parse_qs(query).get("status", [])
        found: Any = [pet for pet in PETS if pet["status"] in wanted]
    elif seen.method == "POST":
        await _echo(seen, reply)
        return
    else:
        found = next((pet for pet in PETS if str(pet["id"]) == last), None)
    if found is None:
        await reply.answer(404, b'{"message":"Pet not found"}', [JSON_TYPE])
        return
    await reply.answer(200, json.dumps(found).encode(), [JSON_TYPE])


async def _echo(seen: Seen, reply: Reply) -> None:
    headers: dict[str, list[str]] = {}
    for name, value in seen.headers:
        headers.setdefault(name.lower(), []).append(value)
    said = {"method": seen.method, "target": seen.target, "headers": headers, "body": seen.body.decode()}
    await reply.answer(200, json.dumps(said).encode(), [JSON_TYPE])


async def _basic(seen: Seen, reply: Reply) -> None:
    _, _, user, password = (unquote(part) for part in seen.target.split("/"))
    scheme, _, given = "".join(seen.all("Authorization")).partition(" ")
    if scheme == "Basic" and b64decode(given).decode() == f"{user}:{password}":
        await reply.answer(200, b'{"authenticated":true}', [JSON_TYPE])
    else:
        await reply.answer(401, b"", [("WWW-Authenticate", "Basic realm=pets")])


async def _bearer(seen: Seen, reply: Reply) -> None:
    if seen.all("Authorization") == ["Bearer " + seen.target.rsplit("/", 1)[1]]:
        await reply.answer(200, b'{"authenticated":true}', [JSON_TYPE])
    else:
        await reply.answer(401)


async def _digest(seen: Seen, reply: Reply) -> None:
    _, _, user, password = seen.target.partition("?")[0].split("/")
    given = {name: quoted or bare for name, quoted, bare in _PART.findall("".join(seen.all("Authorization")))}
    if "response" in given and given["response"] == _digest_response(seen, user, password, given):
        await reply.answer(200, json.dumps({"user": user, "body": seen.body.decode()}).encode(), [JSON_TYPE])
        return
    challenge = f'Digest realm="pets", qop="auth", nonce="{_NONCE}", algorithm=SHA-256, opaque="5ccc"'
    await reply.answer(401, b"", [("WWW-Authenticate", challenge)])


def _digest_response(seen: Seen, user: str, password: str, given: dict[str, str]) -> str | None:
    if given.get("nonce") != _NONCE or given.get("uri") != seen.target:
        return None
    first = _hash(f"{user}:pets:{password}")
    second = _hash(f"{seen.method}:{seen.target}")
    return _hash(f"{first}:{_NONCE}:{given['nc']}:{given['cnonce']}:auth:{second}")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
