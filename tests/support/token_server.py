"""An OAuth 2 and OpenID Connect authority, as far as clients without a person need one."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from tests.support.web import Reply, WebServer, open_web
from tests.support.web_values import Seen

_JSON = ("Content-Type", "application/json")


@dataclass
class Authority:
    """What it gives, and what it was asked."""

    web: WebServer
    asked: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    heads: list[Seen] = field(default_factory=list[Seen])
    given: list[str] = field(default_factory=list[str])
    expires_in: Any = 3600
    issuer: str = "https://issuer.example"
    refuse: tuple[int, dict[str, Any]] | None = None
    raw: bytes | None = None
    """What it answers instead of a token."""
    refresh_token: str | None = None
    """The only one it takes from now on, where it takes each once."""
    hold: asyncio.Event | None = None
    """What it waits for before it answers."""
    silent: bool = False
    """It does not answer."""

    @property
    def url(self) -> str:
        return self.web.url

    async def token(self, seen: Seen, reply: Reply) -> None:
        """Give a token, a JWT that nobody signed."""
        self.heads.append(seen)
        is_json = "json" in "".join(seen.all("Content-Type"))
        body = json.loads(seen.body) if is_json else dict(parse_qsl(seen.body.decode()))
        self.asked.append(body)
        if self.hold is not None:
            await self.hold.wait()
        if self.silent:
            await reply.gone()
            return
        if self.raw is not None:
            await reply.answer(200, self.raw, [_JSON])
            return
        if self.refresh_token is not None and body.get("refresh_token") != self.refresh_token:
            await reply.answer(400, b'{"error":"invalid_grant"}', [_JSON])
            return
        if self.refuse is not None:
            status, error = self.refuse
            await reply.answer(status, json.dumps(error).encode(), [_JSON])
            return
        claims = json.dumps({"iss": self.issuer, "number": len(self.asked)}).encode()
        self.given.append(f"e30.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.sig")
        answer = {"access_token": self.given[-1], "token_type": "Bearer", "expires_in": self.expires_in}
        if self.refresh_token is not None:
            self.refresh_token += "+"
            answer["refresh_token"] = self.refresh_token
        await reply.answer(200, json.dumps(answer).encode(), [_JSON])

    async def describe(self, _seen: Seen, reply: Reply) -> None:
        """Say where the token endpoint is."""
        await reply.answer(200, json.dumps({"token_endpoint": f"{self.url}/realm/tokens"}).encode(), [_JSON])

    async def guarded(self, seen: Seen, reply: Reply) -> None:
        """Answer those who carry the latest token."""
        carried = "".join(seen.all("Authorization"))
        known = bool(self.given) and carried == f"Bearer {self.given[-1]}"
        await reply.answer(200 if known else 401, json.dumps({"known": known}).encode(), [_JSON])


@asynccontextmanager
async def open_authority() -> AsyncIterator[Authority]:
    """Start one on a free port."""
    async with open_web() as web:
        authority = Authority(web)
        web.routes |= {
            "/oauth2/token": authority.token,
            "/realm/tokens": authority.token,
            "/realm/.well-known/openid-configuration": authority.describe,
            "/guarded": authority.guarded,
        }
        yield authority
