"""Digest: every form of a challenge that servers use, against a server that computes the answer by itself."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support.web import WebServer, open_web
from tests.workflow.stage import Stage, open_stage

_PART = re.compile(r'([\w*]+)=(?:"((?:[^"\\]|\\.)*)"|([^,\s]+))')
NAME, PASSWORD = 'a "b" \\ c', "pass:word"
HASHES = {"MD5": "md5", "SHA-256": "sha256", "SHA-512": "sha512", "SHA-512-256": "sha512_256"}


@dataclass
class Guard:
    """A server that asks for digest in one way."""

    web: WebServer
    challenges: list[str] = field(default_factory=list[str])
    nonce: str = "n-1"
    qop: str | None = "auth"
    algorithm: str = "SHA-256"
    realm: str = 'the "realm", ours'
    name: str = NAME
    stale: int = 0
    """How many right answers are refused because of their age."""
    answers: list[dict[str, str]] = field(default_factory=list[dict[str, str]])

    def challenge(self, **more: str) -> str:
        realm = self.realm.replace("\\", "\\\\").replace('"', '\\"')
        parts = [f'realm="{realm}"', f'nonce="{self.nonce}"', f"algorithm={self.algorithm}", 'opaque="op=aque"']
        if self.qop is not None:
            parts.append(f'qop="{self.qop}"')
        return "Digest " + ", ".join([*parts, *(f"{key}={value}" for key, value in more.items())])

    async def act(self, seen: Any, reply: Any) -> None:
        given = {
            key: re.sub(r"\\(.)", r"\1", quoted) or bare
            for key, quoted, bare in _PART.findall("".join(seen.all("Authorization")))
        }
        if given:
            self.answers.append(given)
        if given and given["response"] == self.expected(seen, given):
            if not self.stale:
                await reply.answer(200, b"in")
                return
            self.stale -= 1
            self.nonce += "1"
            await reply.answer(401, b"", [("WWW-Authenticate", self.challenge(stale="TRUE"))])
            return
        await reply.answer(401, b"", [("WWW-Authenticate", each) for each in self.challenges or [self.challenge()]])

    def expected(self, seen: Any, given: dict[str, str]) -> str | None:
        def h(text: bytes) -> str:
            return hashlib.new(HASHES[self.algorithm.removesuffix("-sess")], text).hexdigest()

        if given["uri"] != seen.target or given["nonce"] != self.nonce:
            return None
        a1 = h(f"{self.name}:{self.realm}:{PASSWORD}".encode())
        if self.algorithm.endswith("-sess"):
            a1 = h(f"{a1}:{self.nonce}:{given['cnonce']}".encode())
        a2 = f"{seen.method}:{seen.target}"
        if given.get("qop") == "auth-int":
            a2 += f":{h(seen.body)}"
        if "qop" not in given:
            return h(f"{a1}:{self.nonce}:{h(a2.encode())}".encode())
        middle = f"{self.nonce}:{given['nc']}:{given['cnonce']}:{given['qop']}"
        return h(f"{a1}:{middle}:{h(a2.encode())}".encode())


@pytest.fixture(scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """A daemon that may read documents from this machine."""
    async with open_stage(tmp_path_factory.mktemp("stage"), WORKFLOW_ALLOWED_HOSTS="127.0.0.1") as opened:
        yield opened


@pytest.fixture
async def guard() -> AsyncIterator[Guard]:
    async with open_web() as web:
        found = Guard(web)
        web.routes["/x"] = found.act
        yield found


async def enter(stage: Stage, guard: Guard, name: str = NAME, **members: Any) -> Any:
    """Ask once; with ``kind`` for a document."""
    policy = {"digest": {"username": name, "password": PASSWORD}}
    given = {
        "method": "post",
        "endpoint": {"uri": f"{guard.web.url}/x?a=1%20b", "authentication": policy},
        "query": {"q": "ä b"},
        "body": "ä body",
        **members,
    }
    return await stage.run({"do": [{"ask": {"call": "http", "with": given}}]}, {})


FORMS = [
    (algorithm, qop)
    for algorithm in ("MD5", "MD5-sess", "SHA-256", "SHA-256-sess", "SHA-512", "SHA-512-256")
    for qop in ("auth", "auth-int", "auth-int, auth", None)
    if qop is not None or not algorithm.endswith("-sess")  # a session needs the client's nonce
]


@pytest.mark.parametrize(("algorithm", "qop"), FORMS)
async def test_algorithms_and_qualities(stage: Stage, guard: Guard, algorithm: str, qop: str | None) -> None:
    guard.algorithm, guard.qop = algorithm, qop
    end = await enter(stage, guard)
    assert end.output == "in", (end.text, guard.answers)
    assert guard.answers[0].get("qop") == (None if qop is None else "auth" if qop.endswith("auth") else "auth-int")
    assert guard.answers[0]["opaque"] == "op=aque"


async def test_the_first_challenge_that_is_known(stage: Stage, guard: Guard) -> None:
    unknown = guard.challenge().replace("SHA-256", "SHA-3")
    guard.challenges = ['Negotiate abc==, Basic realm="x, y"', unknown, f"Basic realm=q, {guard.challenge()}, NTLM"]
    assert (await enter(stage, guard)).output == "in"


@pytest.mark.parametrize(
    ("challenge", "word"),
    [
        ('Digest realm="r", nonce="n", algorithm=SHA-3', "SHA-3"),
        ('Digest realm="r", nonce="n", qop="auth-conf"', "auth-conf"),
        ('Digest realm="r"', "nonce"),
        ("Digest", "realm"),
        ("Basic realm=x", "does not ask for digest"),
        ('Digest realm="r, nonce=', "nonce"),
    ],
)
async def test_challenges_without_an_answer(stage: Stage, guard: Guard, challenge: str, word: str) -> None:
    guard.challenges = [challenge]
    end = await enter(stage, guard)
    assert (end.error["type"].rpartition("/")[2], end.error["status"]) == ("authentication", 401)
    assert word in end.error["detail"]
    assert guard.answers == []


async def test_a_stale_nonce_is_replaced_once(stage: Stage, guard: Guard) -> None:
    guard.stale = 1
    assert (await enter(stage, guard)).output == "in"
    guard.stale = 100
    assert (await enter(stage, guard)).error["status"] == 401
    assert len(guard.web.seen) == 3 + 3


async def test_a_hidden_name_and_one_that_is_not_ascii(stage: Stage, guard: Guard) -> None:
    guard.challenges = [guard.challenge(userhash="true")]
    assert (await enter(stage, guard)).output == "in"
    assert guard.answers[0]["username"] == hashlib.sha256(f"{NAME}:{guard.realm}".encode()).hexdigest()
    guard.challenges, guard.name = [], "Änn"
    assert (await enter(stage, guard, "Änn")).output == "in"
    assert guard.answers[-1]["username*"] == "UTF-8''%C3%84nn"


async def test_a_document_behind_digest(stage: Stage, guard: Guard) -> None:
    guard.qop, guard.algorithm, guard.stale = "auth-int", "SHA-256-sess", 1
    endpoint = {
        "uri": f"{guard.web.url}/x?v=1",
        "authentication": {"digest": {"username": NAME, "password": PASSWORD}},
    }
    given = {"document": {"endpoint": endpoint}, "operationId": "o"}
    end = await stage.run({"do": [{"ask": {"call": "openapi", "with": given}}]}, {})
    assert "it is no OpenAPI document" in end.error["detail"]  # it was read: its text is "in"
