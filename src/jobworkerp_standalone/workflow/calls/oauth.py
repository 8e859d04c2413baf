"""What an OAuth 2 or OpenID Connect authority is asked, and for whom."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import quote

from jobworkerp_standalone.workflow.calls.uris import uri_of
from jobworkerp_standalone.workflow.errors import Standard, WorkflowError
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.model.auth import OAuth, OAuthClient, OAuthEndpoints

if TYPE_CHECKING:
    from jobworkerp_standalone.workflow.calls.asking import Asking

_ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_DISCOVERY: Final = "/.well-known/openid-configuration"
_ASSERTION_SEC: Final = 60
JSON_ENCODING: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Client:
    """Who asks."""

    id: str = ""
    secret: str = field(default="", repr=False)
    assertion: str = field(default="", repr=False)
    method: str = "client_secret_post"


@dataclass(frozen=True, slots=True)
class Grant:
    """One request for a token. Equal ones get the same token while it is valid."""

    authority: str
    discovered: bool
    """The authority says itself where its token endpoint is (OpenID Connect)."""
    token_path: str
    client: Client
    fields: tuple[tuple[str, str], ...] = field(repr=False)
    """Of the request, beside the client's own."""
    as_json: bool = False
    issuers: tuple[str, ...] = ()

    @property
    def discovery_url(self) -> str:
        """Return where the authority describes itself."""
        return self.authority if self.authority.endswith(_DISCOVERY) else self.authority.rstrip("/") + _DISCOVERY

    @property
    def token_url(self) -> str:
        """Return where tokens are given, without discovery."""
        return f"{self.authority.rstrip('/')}/{self.token_path.lstrip('/')}"

    def request(self, url: str) -> tuple[dict[str, str], dict[str, str]]:
        """Return the headers and the fields of a request to the token endpoint at ``url``."""
        client, headers, fields = self.client, dict[str, str](), dict(self.fields)
        match client.method:
            case "client_secret_basic":
                pair = f"{quote(client.id, safe='')}:{quote(client.secret, safe='')}"
                headers["Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
            case "client_secret_jwt" | "private_key_jwt":
                assertion = client.assertion or _signed(client, url)
                fields |= {"client_assertion_type": _ASSERTION_TYPE, "client_assertion": assertion}
                if client.id:
                    fields["client_id"] = client.id
            case "none":
                if client.id:
                    fields["client_id"] = client.id
            case _:
                fields |= {
                    key: value for key, value in (("client_id", client.id), ("client_secret", client.secret)) if value
                }
        return headers, fields


async def grant_of(policy: OAuth, asking: Asking, name: str) -> Grant:
    """Return what is asked under a policy.

    Raises:
        WorkflowError: a part of it fails, is missing or cannot be used.
    """
    if policy.secret is not None:
        return _grant(await _of_secret(policy, asking))
    parts: dict[str, JSON] = {"kind": policy.kind, "grant": policy.grant, "encoding": policy.encoding}
    if policy.authority is not None:
        parts["authority"] = (await uri_of(asking, policy.authority, f"{name}/authority")).value
    for key, template in (("username", policy.username), ("password", policy.password)):
        if template is not None:
            parts[key] = text = await asking.plain(template, f"{name}/{key}")
            if key == "password":
                asking.revealed.add(text)
    parts["issuers"] = [
        (await uri_of(asking, each, f"{name}/issuers/{number}")).value for number, each in enumerate(policy.issuers)
    ]
    for key, templates in (("scopes", policy.scopes), ("audiences", policy.audiences)):
        parts[key] = cast("JSON", await asking.texts(templates, f"{name}/{key}"))
    parts["client"] = await _client(policy.client or OAuthClient(), asking, f"{name}/client")
    for key, token in (("subject", policy.subject), ("actor", policy.actor)):
        if token is not None:
            text = await asking.plain(token.token, f"{name}/{key}/token")
            asking.revealed.add(text)
            parts[key] = {"token": text, "type": await asking.plain(token.type, f"{name}/{key}/type")}
    parts["endpoints"] = {"token": policy.endpoints.token}
    return _grant(parts)


async def _client(client: OAuthClient, asking: Asking, name: str) -> dict[str, JSON]:
    found: dict[str, JSON] = {"authentication": client.authentication}
    for key, template in (("id", client.id), ("secret", client.secret), ("assertion", client.assertion)):
        if template is not None:
            found[key] = text = await asking.plain(template, f"{name}/{key}")
            if key != "id":
                asking.revealed.add(text)
    return found


async def _of_secret(policy: OAuth, asking: Asking) -> Mapping[str, JSON]:
    assert policy.secret is not None, "asked only where there is one"
    value = await asking.revealed.value(policy.secret)
    if not isinstance(value, dict) or not isinstance(value.get("authority"), str):
        raise Standard.CONFIGURATION.error(
            "A secret cannot be used",
            f"{policy.secret!r} must be a JSON object with the members of an {policy.kind} policy, authority first",
        )
    request = value.get("request")
    encoding = request.get("encoding") if isinstance(request, dict) else None
    return {"grant": "client_credentials", **value, "kind": policy.kind, "encoding": encoding}


def _grant(parts: Mapping[str, JSON]) -> Grant:
    client = _object(parts, "client")
    endpoints = _object(parts, "endpoints")
    return Grant(
        authority=str(parts["authority"]),
        discovered=parts["kind"] == "oidc",
        token_path=str(endpoints.get("token") or OAuthEndpoints().token),
        client=Client(
            str(client.get("id") or ""),
            str(client.get("secret") or ""),
            str(client.get("assertion") or ""),
            str(client.get("authentication") or "client_secret_post"),
        ),
        fields=tuple(_fields(parts)),
        as_json=parts.get("encoding") == JSON_ENCODING,
        issuers=tuple(_texts(parts, "issuers")),
    )


def _fields(parts: Mapping[str, JSON]) -> list[tuple[str, str]]:
    grant = str(parts["grant"])
    fields = [("grant_type", grant)]
    if scopes := _texts(parts, "scopes"):
        fields.append(("scope", " ".join(scopes)))
    if audiences := _texts(parts, "audiences"):
        fields.append(("audience", " ".join(audiences)))
    match grant:
        case "client_credentials":
            pass
        case "password":
            fields += [(key, _needed(parts, key, grant)) for key in ("username", "password")]
        case "refresh_token":
            fields.append(("refresh_token", _needed(_object(parts, "subject"), "token", grant)))
        case "urn:ietf:params:oauth:grant-type:token-exchange":
            for key in ("subject", "actor"):
                if key == "subject" or parts.get(key):
                    token = _object(parts, key)
                    fields.append((f"{key}_token", _needed(token, "token", grant)))
                    fields.append((f"{key}_token_type", _needed(token, "type", grant)))
        case _:
            raise _unusable(f"the grant {grant} needs a person with a browser; use client_credentials or password")
    return fields


def _needed(parts: Mapping[str, JSON], key: str, grant: str) -> str:
    value = parts.get(key)
    if not isinstance(value, str) or not value:
        raise _unusable(f"the grant {grant} needs {key!r}")
    return value


def _object(parts: Mapping[str, JSON], key: str) -> Mapping[str, JSON]:
    value = parts.get(key)
    return value if isinstance(value, dict) else {}


def _texts(parts: Mapping[str, JSON], key: str) -> list[str]:
    value = parts.get(key)
    return [str(each) for each in value] if isinstance(value, list) else []


def _unusable(why: str) -> WorkflowError:
    return Standard.CONFIGURATION.error("An authentication policy cannot be used", why)


def _signed(client: Client, url: str) -> str:
    """Return a JWT signed with the client's secret (HS256)."""
    if client.method == "private_key_jwt" or not client.secret:
        raise _unusable(f"{client.method} needs client.assertion, a signed JWT")
    now = int(time.time())
    claims = {"iss": client.id, "sub": client.id, "aud": url, "iat": now, "exp": now + _ASSERTION_SEC}
    parts = [_encoded({"alg": "HS256", "typ": "JWT"}), _encoded({**claims, "jti": secrets.token_urlsafe(16)})]
    signature = hmac.new(client.secret.encode(), ".".join(parts).encode(), hashlib.sha256).digest()
    return ".".join([*parts, _base64(signature)])


def _encoded(value: Mapping[str, object]) -> str:
    return _base64(json.dumps(value, separators=(",", ":")).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
