"""One HTTP request of a task, as it is and as others may see it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlencode

from jobworkerp_standalone.net.identity import Identity
from jobworkerp_standalone.schema.messages import message_class
from jobworkerp_standalone.workflow.calls.identity import fields_of, masked
from jobworkerp_standalone.workflow.calls.secrets import MASK
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.json_writer import json_text

Pairs = tuple[tuple[str, str], ...]
_ARGS: Final[Any] = message_class("jobworkerp.runner.HttpRequestArgs")
_AUTHORIZATION: Final = "authorization"


@dataclass(frozen=True, slots=True)
class HttpOrder:
    """A request."""

    method: str
    url: str
    headers: Pairs = ()
    query: Pairs = ()
    body: str | None = None
    follow: bool = False
    as_bytes: bool = False
    identity: Identity | None = None
    private_headers: frozenset[str] = frozenset()
    """Names in lower case of those that hold something secret."""
    private_body: bool = False

    def authorized(self, header: str) -> HttpOrder:
        """Return the request with this ``Authorization``, in place of another."""
        others = tuple(pair for pair in self.headers if pair[0].lower() != _AUTHORIZATION)
        return replace(self, headers=(*others, ("Authorization", header)))

    def asked_by(self, user_agent: str) -> HttpOrder:
        """Return the request with this ``User-Agent``, unless it is empty or the request has its own."""
        if not user_agent or any(name.lower() == "user-agent" for name, _ in self.headers):
            return self
        return replace(self, headers=(*self.headers, ("User-Agent", user_agent)))

    def masked(self) -> HttpOrder:
        """Return the request without its credentials."""
        headers = tuple((name, MASK if name.lower() == _AUTHORIZATION else value) for name, value in self.headers)
        return replace(self, headers=headers, identity=masked(self.identity))

    @property
    def encoded_query(self) -> str:
        """Return the query beside that of the URL."""
        return urlencode(self.query)

    def args(self) -> bytes:
        """Return the args of its job."""
        args = _ARGS(
            method=self.method,
            path=self.url,
            headers=[
                {"key": key, "value": value, "private": key.lower() in self.private_headers}
                for key, value in self.headers
            ],
            queries=[{"key": key, "value": value} for key, value in self.query],
            answer_as_bytes=self.as_bytes,
            private_body=self.private_body,
            client_certificate=fields_of(self.identity),
        )
        if self.body is not None:
            args.body = self.body
        if not self.follow:
            args.max_redirects = 0
        return args.SerializeToString()

    def as_json(self) -> JSON:
        """Return the request as it stands in the response object."""
        joint = "&" if "?" in self.url else "?"
        return {
            "method": self.method,
            "uri": f"{self.url}{joint}{self.encoded_query}" if self.query else self.url,
            "headers": joined(self.headers),
        }


def pairs_of(members: Mapping[str, JSON], what: str) -> Pairs:
    """Return headers or a query: scalars become text, arrays repeat their name, null is left out.

    Raises:
        ValueError: a value is an object, or an array of other things than scalars.
    """
    found: list[tuple[str, str]] = []
    for key, value in members.items():
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, (dict, list)):
                raise ValueError(f"{key} of the {what} is {json_text(each)[:100]}: give text, a number or a boolean")
            if each is not None:
                found.append((key, each if isinstance(each, str) else json_text(each)))
    return tuple(found)


def joined(pairs: Iterable[tuple[str, str]]) -> JSON:
    """Return headers as an object; those that occur more than once are arrays."""
    found: dict[str, JSON] = {}
    for key, value in pairs:
        before = found.get(key)
        if before is None:
            found[key] = value
        elif isinstance(before, list):
            before.append(value)
        else:
            found[key] = [before, value]
    return found


def body_of(value: JSON, headers: Pairs) -> tuple[str | None, Pairs]:
    """Return a body, and the headers with its type: a text is sent as it is, everything else as JSON."""
    if value is None or isinstance(value, str):
        return value, headers
    if any(name.lower() == "content-type" for name, _ in headers):
        return json_text(value), headers
    return json_text(value), (*headers, ("Content-Type", "application/json"))
