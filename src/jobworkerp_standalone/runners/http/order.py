"""What one job asks for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, Self
from urllib.parse import urlencode

from jobworkerp_standalone.jobs.errors import BadInput
from jobworkerp_standalone.net.identity import Identity
from jobworkerp_standalone.runners.messages import args_of
from jobworkerp_standalone.schema.messages import message_class

Headers = list[tuple[bytes, bytes]]
MOST_REDIRECTS: Final = 10
_ARGS: Final = message_class("jobworkerp.runner.HttpRequestArgs")
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_NOT_IN_A_VALUE: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_BLANKS: Final = " \t"
_LENGTH: Final = "content-length"
_PRIVATE_HEADERS: Final = frozenset({b"authorization", b"cookie", b"proxy-authorization", b"host"})


class _KeyValue(Protocol):
    key: str
    value: str
    private: bool


class _ClientCertificate(Protocol):
    certificate: str
    key: str
    password: str


class _Args(Protocol):
    """``jobworkerp.runner.HttpRequestArgs``."""

    headers: Sequence[_KeyValue]
    method: str
    path: str
    body: str
    queries: Sequence[_KeyValue]
    treat_error_status_as_error: bool
    body_bytes: bytes
    max_redirects: int
    answer_as_bytes: bool
    private_body: bool
    client_certificate: _ClientCertificate

    def HasField(self, name: str) -> bool: ...  # noqa: N802 - protobuf's name


@dataclass(frozen=True, slots=True)
class Order:
    """The args of a job, checked."""

    method: str
    path: str
    query: str
    """Form-encoded."""
    headers: Headers
    body: bytes | None
    strict: bool
    """4xx and 5xx are failures."""
    redirects: int
    """How many are followed."""
    as_bytes: bool
    """The body of the answer is not decoded."""
    private_headers: frozenset[bytes] = _PRIVATE_HEADERS
    """Names in lower case; they go to no other host."""
    private_body: bool = False
    """It goes to no other host."""
    identity: Identity | None = None
    """It is shown to no other host."""

    @classmethod
    def read(cls, data: bytes) -> Self:
        """Decode the args of a job.

        Raises:
            BadInput: they are no args, or hold what cannot be sent.
        """
        args: _Args = args_of(_ARGS, data)
        if not _TOKEN.fullmatch(args.method):
            raise BadInput(
                f"method {args.method!r} is not an HTTP method: use GET, POST or another one, without spaces"
            )
        body = _body(args)
        return cls(
            args.method,
            args.path,
            urlencode([(each.key, each.value) for each in args.queries]) if args.queries else "",
            _headers(args.headers, len(body or b"")),
            body,
            args.treat_error_status_as_error,
            min(args.max_redirects, MOST_REDIRECTS) if args.HasField("max_redirects") else MOST_REDIRECTS,
            args.answer_as_bytes,
            _PRIVATE_HEADERS | {each.key.lower().encode() for each in args.headers if each.private},
            args.private_body,
            _identity(args.client_certificate) if args.HasField("client_certificate") else None,
        )


def _identity(given: _ClientCertificate) -> Identity:
    return Identity(given.certificate, given.key, given.password)


def _headers(given: Iterable[_KeyValue], body_size: int) -> Headers:
    found: Headers = []
    for number, each in enumerate(given):
        if not _TOKEN.fullmatch(each.key):
            raise BadInput(f"headers[{number}].key {each.key!r} is not a header name: use letters, digits and hyphens")
        if _NOT_IN_A_VALUE.search(each.value):
            raise BadInput(f"headers[{number}].value, of {each.key}, has a line break or control character: remove it")
        if each.key.lower() == _LENGTH and each.value.strip(_BLANKS) != str(body_size):
            raise BadInput(
                f"headers[{number}].value {each.value!r} is not the Content-Length of the body, {body_size}: "
                "leave the header out, it is added"
            )
        found.append((each.key.encode(), each.value.strip(_BLANKS).encode()))
    return found


def _body(args: _Args) -> bytes | None:
    if args.body_bytes and args.HasField("body"):
        raise BadInput("body and body_bytes are both set: give the body once, as text or as bytes")
    if args.body_bytes:
        return args.body_bytes
    return args.body.encode() if args.HasField("body") else None
