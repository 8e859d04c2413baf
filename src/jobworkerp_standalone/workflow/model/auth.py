"""How a request shows who asks. References to ``use.authentications`` are resolved.

Each policy has either its own members, or ``secret``: the name of a declared secret whose JSON value holds them.
``name`` is its name in ``use.authentications``, if it was declared there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jobworkerp_standalone.workflow.expressions.template import Template


@dataclass(frozen=True, slots=True, kw_only=True)
class Basic:
    """User name and password in the clear."""

    username: Template | None = None
    password: Template | None = None
    secret: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """User name and password, the latter never sent (RFC 7616)."""

    username: Template | None = None
    password: Template | None = None
    secret: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bearer:
    """A token."""

    token: Template | None = None
    secret: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A client certificate, shown over TLS: PEM texts, or paths of files with them."""

    certificate: Template | None = None
    key: Template | None = None
    """None: it stands behind the certificate."""
    password: Template | None = None
    """Opens the key; a text in any case."""
    secret: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuthClient:
    """Who asks the authority for a token."""

    id: Template | None = None
    secret: Template | None = None
    assertion: Template | None = None
    """A signed JWT that stands for the secret."""
    authentication: str = "client_secret_post"
    """``client_secret_basic``, ``client_secret_post``, ``client_secret_jwt``, ``private_key_jwt`` or ``none``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuthToken:
    """A token of somebody on whose behalf the request is made."""

    token: Template
    type: Template


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuthEndpoints:
    """Paths below the authority; OpenID Connect finds its own."""

    token: str = "/oauth2/token"  # noqa: S105 - a path
    revocation: str = "/oauth2/revoke"
    introspection: str = "/oauth2/introspect"


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuth:
    """A token from an OAuth 2 or OpenID Connect authority."""

    kind: Literal["oauth2", "oidc"]
    authority: Template | None = None
    grant: str = "client_credentials"
    client: OAuthClient | None = None
    encoding: str = "application/x-www-form-urlencoded"
    """Of the request for a token; the other is ``application/json``."""
    issuers: tuple[Template, ...] = ()
    scopes: tuple[Template, ...] = ()
    audiences: tuple[Template, ...] = ()
    username: Template | None = None
    password: Template | None = None
    subject: OAuthToken | None = None
    actor: OAuthToken | None = None
    endpoints: OAuthEndpoints = OAuthEndpoints()
    secret: str | None = None
    name: str | None = None


Authentication = Basic | Digest | Bearer | Certificate | OAuth
