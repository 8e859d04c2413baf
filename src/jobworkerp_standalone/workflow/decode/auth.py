"""Authentication policies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

from jobworkerp_standalone.workflow.decode.cursor import At, Fields
from jobworkerp_standalone.workflow.decode.names import Names, resolve, unknown_name
from jobworkerp_standalone.workflow.expressions.template import Template
from jobworkerp_standalone.workflow.model.auth import (
    Authentication,
    Basic,
    Bearer,
    Certificate,
    Digest,
    OAuth,
    OAuthClient,
    OAuthEndpoints,
    OAuthToken,
)

_SCHEMES: Final = ("basic", "bearer", "certificate", "digest", "oauth2", "oidc")
_USER: Final = ("username", "password")
_GRANTS: Final = {
    name: name
    for name in (
        "authorization_code",
        "client_credentials",
        "password",
        "refresh_token",
        "urn:ietf:params:oauth:grant-type:token-exchange",
    )
}
_CLIENT_AUTH: Final = {
    name: name for name in ("client_secret_post", "client_secret_basic", "client_secret_jwt", "private_key_jwt", "none")
}
_ENCODINGS: Final = {name: name for name in ("application/x-www-form-urlencoded", "application/json")}
_NEEDS_A_PERSON: Final = (
    "the grant authorization_code needs a person with a browser, and the language has no member for the code"
)
_OAUTH: Final = (
    "authority",
    "grant",
    "client",
    "request",
    "issuers",
    "scopes",
    "audiences",
    "username",
    "password",
    "subject",
    "actor",
)


def authentication(at: At, names: Names) -> Authentication | None:
    """Return a policy: written here, or named (``use: NAME``, or the bare name)."""
    if isinstance(at.value, str):
        return _named(at, names)
    if at.is_object and "use" in at.value:
        use = at.fields((), ("use",)).of("use")
        return _named(use, names) if use else None
    return policy(at, names)


def policy(at: At, names: Names) -> Authentication:
    """Return a policy that is written here."""
    found = at.fields(_SCHEMES)
    scheme = found.one_of(_SCHEMES, "an authentication policy")
    inner = found.of(scheme) if scheme else None
    if inner is None or scheme is None:
        return Basic()
    secret = _secret(inner, names)
    return _OF_SECRET[scheme](secret) if secret else _READ[scheme](inner)


def _named(at: At, names: Names) -> Authentication | None:
    return resolve(at, names.authentications, "use.authentications")


def _secret(at: At, names: Names) -> str | None:
    """Return the secret of a policy that is only ``use: SECRET``."""
    if not (at.is_object and "use" in at.value):
        return None
    use = at.fields((), ("use",)).of("use")
    name = use.string() if use else ""
    if use and name and name not in names.secrets:
        unknown_name(use, name, names.secrets, "use.secrets")
    return name or "?"


def _basic(at: At) -> Basic:
    user = at.fields((), _USER)
    return Basic(username=user.need("username", At.text_template), password=user.need("password", At.template))


def _digest(at: At) -> Digest:
    user = at.fields((), _USER)
    return Digest(username=user.need("username", At.text_template), password=user.need("password", At.template))


def _bearer(at: At) -> Bearer:
    return Bearer(token=at.fields((), ("token",)).need("token", At.text_template))


def _certificate(at: At) -> Certificate:
    found = at.fields(("key", "password"), ("certificate",))
    return Certificate(
        certificate=found.need("certificate", At.text_template),
        key=found.get("key", At.text_template),
        password=found.get("password", At.text_template),
    )


def _oauth(at: At, kind: Literal["oauth2", "oidc"]) -> OAuth:
    found = at.fields((*_OAUTH, "endpoints") if kind == "oauth2" else _OAUTH, ("authority",))
    request = found.of("request")
    encoding = request.fields(("encoding",)).get("encoding", lambda each: each.word(_ENCODINGS)) if request else None
    grant = found.word("grant", _GRANTS, "client_credentials")
    given = found.of("grant")
    known = given is None or str(given.value).strip().lower() in _GRANTS
    if known and grant == "authorization_code" and given is not None:
        given.wrong(_NEEDS_A_PERSON, "use client_credentials, or refresh_token with a token that a person got")
    if known and grant == "client_credentials" and "client" not in found and found.names:
        at.wrong("the grant client_credentials needs 'client' with an id and a secret", "add 'client'")
    return OAuth(
        kind=kind,
        authority=found.need("authority", At.text_template),
        grant=grant,
        client=found.get("client", _client),
        encoding=encoding or "application/x-www-form-urlencoded",
        issuers=_texts(found, "issuers"),
        scopes=_texts(found, "scopes"),
        audiences=_texts(found, "audiences"),
        username=found.get("username", At.text_template),
        password=found.get("password", At.template),
        subject=found.get("subject", _token),
        actor=found.get("actor", _token),
        endpoints=found.get("endpoints", _endpoints, OAuthEndpoints()),
    )


def _texts(found: Fields, key: str) -> tuple[Template, ...]:
    at = found.of(key)
    return tuple(item.text_template() for item in at.items()) if at else ()


def _client(at: At) -> OAuthClient:
    found = at.fields(("id", "secret", "assertion", "authentication"))
    return OAuthClient(
        id=found.get("id", At.text_template),
        secret=found.get("secret", At.text_template),
        assertion=found.get("assertion", At.text_template),
        authentication=found.word("authentication", _CLIENT_AUTH, "client_secret_post"),
    )


def _token(at: At) -> OAuthToken:
    found = at.fields((), ("token", "type"))
    return OAuthToken(token=found.need("token", At.text_template), type=found.need("type", At.text_template))


def _endpoints(at: At) -> OAuthEndpoints:
    found = at.fields(("token", "revocation", "introspection"))
    plain = OAuthEndpoints()
    return OAuthEndpoints(
        token=found.get("token", At.string) or plain.token,
        revocation=found.get("revocation", At.string) or plain.revocation,
        introspection=found.get("introspection", At.string) or plain.introspection,
    )


_READ: Final[dict[str, Callable[[At], Authentication]]] = {
    "basic": _basic,
    "bearer": _bearer,
    "certificate": _certificate,
    "digest": _digest,
    "oauth2": lambda at: _oauth(at, "oauth2"),
    "oidc": lambda at: _oauth(at, "oidc"),
}
_OF_SECRET: Final[dict[str, Callable[[str], Authentication]]] = {
    "basic": lambda secret: Basic(secret=secret),
    "bearer": lambda secret: Bearer(secret=secret),
    "certificate": lambda secret: Certificate(secret=secret),
    "digest": lambda secret: Digest(secret=secret),
    "oauth2": lambda secret: OAuth(kind="oauth2", secret=secret),
    "oidc": lambda secret: OAuth(kind="oidc", secret=secret),
}
"""A policy that is only the name of a secret."""
