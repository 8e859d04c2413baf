"""Digest access authentication: the answer to a server's challenge (RFC 7616)."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import quote
from urllib.request import parse_http_list

import httpx

_HASHES: Final = {
    "MD5": "md5",
    "SHA": "sha1",
    "SHA-256": "sha256",
    "SHA-512": "sha512",
    "SHA-512-256": "sha512_256",
}
_SESSION: Final = "-SESS"
_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - the grammar's token
_BEGINNING: Final = re.compile(rf"({_TOKEN})(?:\s+(.+))?\Z", re.DOTALL)
_MEMBER: Final = re.compile(rf"({_TOKEN})\s*=\s*(.*)\Z", re.DOTALL)
_ESCAPED: Final = re.compile(r"\\(.)")


class NoAnswer(ValueError):
    """The server asks for nothing that can be answered."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The request that a server refused."""

    method: str
    target: bytes
    """Path and query, as they are sent."""
    body: bytes = b""


class DigestUser(httpx.Auth):
    """Answers one challenge for each request, one more where the nonce of the first was stale."""

    requires_request_body = True

    def __init__(self, name: str, password: str) -> None:
        self._name = name
        self._password = password

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Send the request, and again with the answer."""
        response = yield request
        asked = Asked(request.method, request.url.raw_path, request.content)
        for stale_counts in (False, True):
            challenges = response.headers.get_list("www-authenticate")
            if response.status_code != HTTPStatus.UNAUTHORIZED or (stale_counts and not is_stale(challenges)):
                return
            try:
                request.headers["Authorization"] = answer_to(challenges, self._name, self._password, asked)
            except NoAnswer:
                return
            response = yield request


def answer_to(challenges: Iterable[str], name: str, password: str, asked: Asked) -> str:
    """Return the Authorization header that answers the first challenge that can be answered.

    Args:
        challenges: the values of WWW-Authenticate.
        name: of the user.
        password: of the user.
        asked: the request.

    Raises:
        NoAnswer: there is none.
    """
    why = "the server does not ask for digest"
    for challenge in _challenges(challenges):
        algorithm = challenge.get("algorithm", "MD5").upper()
        offered = {each.strip().lower() for each in challenge.get("qop", "").split(",")} - {""}
        if algorithm.removesuffix(_SESSION) not in _HASHES:
            why = f"its algorithm {algorithm} is not known"
        elif offered and offered.isdisjoint(("auth", "auth-int")):
            why = f"its quality of protection, {', '.join(sorted(offered))}, is not known"
        elif "nonce" not in challenge or "realm" not in challenge:
            why = "its challenge has no realm or no nonce"
        else:
            qop = "auth" if "auth" in offered else "auth-int" if offered else ""
            return _answer(challenge, algorithm, qop, name, password, asked)
    raise NoAnswer(why)


def is_stale(challenges: Iterable[str]) -> bool:
    """Whether a server refused an answer only because its nonce was too old."""
    return any(each.get("stale", "").lower() == "true" for each in _challenges(challenges))


def _answer(challenge: dict[str, str], algorithm: str, qop: str, name: str, password: str, asked: Asked) -> str:
    def hashed(*parts: str | bytes) -> str:
        joined = b":".join(part if isinstance(part, bytes) else part.encode() for part in parts)
        return hashlib.new(_HASHES[algorithm.removesuffix(_SESSION)], joined, usedforsecurity=False).hexdigest()

    realm, nonce, count, own = challenge["realm"], challenge["nonce"], "00000001", secrets.token_hex(16)
    who = hashed(name, realm, password)
    if algorithm.endswith(_SESSION):
        who = hashed(who, nonce, own)
    what = (
        hashed(asked.method, asked.target, hashed(asked.body))
        if qop == "auth-int"
        else hashed(asked.method, asked.target)
    )
    response = hashed(who, nonce, count, own, qop, what) if qop else hashed(who, nonce, what)
    hides_name = challenge.get("userhash", "").lower() == "true"
    members = [
        _user(hashed(name, realm) if hides_name else name),
        f"realm={_quoted(realm)}",
        f"nonce={_quoted(nonce)}",
        f"uri={_quoted(asked.target.decode('ascii'))}",
        f'response="{response}"',
    ]
    if "algorithm" in challenge:
        members.append(f"algorithm={challenge['algorithm']}")
    if "opaque" in challenge:
        members.append(f"opaque={_quoted(challenge['opaque'])}")
    if qop:
        members += [f"qop={qop}", f"nc={count}", f'cnonce="{own}"']
    if hides_name:
        members.append("userhash=true")
    return f"Digest {', '.join(members)}"


def _user(name: str) -> str:
    return f"username={_quoted(name)}" if name.isascii() else f"username*=UTF-8''{quote(name, safe='')}"


def _quoted(text: str) -> str:
    escaped = re.sub(r'(["\\])', r"\\\1", text)
    return f'"{escaped}"'


def _unquoted(text: str) -> str:
    is_quoted = len(text) > 1 and text[0] == text[-1] == '"'
    return _ESCAPED.sub(r"\1", text[1:-1]) if is_quoted else text


def _challenges(values: Iterable[str]) -> Iterator[dict[str, str]]:
    """Yield the members of each challenge for digest; one header may have several challenges."""
    for value in values:
        found: dict[str, str] | None = None
        for part in parse_http_list(value):
            member = _MEMBER.match(part)
            if member is None and (beginning := _BEGINNING.match(part)):
                if found is not None:
                    yield found
                found = {} if beginning[1].lower() == "digest" else None
                member = _MEMBER.match(beginning[2] or "")
            if found is not None and member is not None:
                found[member[1].lower()] = _unquoted(member[2].strip())
        if found is not None:
            yield found
