"""Request metadata: what travels with a job, and what is only for the transport or a secret."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from grpclib.metadata import decode_metadata

from jobworkerp_standalone.engine.chain import OWN_PREFIX
from jobworkerp_standalone.jobs.errors import InvalidRequest
from jobworkerp_standalone.jobs.model import NO_METADATA

AUTH_HEADER: Final = "jobworkerp-auth"
_TRANSPORT: Final = frozenset(
    ("accept-encoding", "connection", "content-length", "content-type", "host", "te", "trailer", "user-agent")
)
_SECRET: Final = frozenset(("authorization", "cookie", "proxy-authorization"))
_DROPPED: Final = _TRANSPORT | _SECRET
_VISIBLE: Final = re.compile(r"[\x20-\x7e\t]*")


def request_metadata(headers: list[tuple[str, str]]) -> Any:
    """Return what the client sent beside the transport's own headers; values of ``-bin`` keys as bytes.

    Raises:
        InvalidRequest: a ``-bin`` value is not base64.
    """
    try:
        return decode_metadata(headers)
    except ValueError as error:
        raise InvalidRequest(f"a metadata key that ends in -bin carries a value that is not base64: {error}") from error


def job_metadata(metadata: Mapping[str, str | bytes] | None) -> Mapping[str, str]:
    """Return what goes with a job: nothing of the transport, no credentials, nothing of ``jobworkerp-*``.

    Bytes become base64 text; of a repeated key the last value counts; a value that is not visible ASCII is left out.
    """
    if not metadata:
        return NO_METADATA
    kept: dict[str, str] = {}
    for key, value in metadata.items():
        if key in _DROPPED or key.startswith((OWN_PREFIX, "grpc-", ":")):
            continue
        text = b64encode(value).decode("ascii") if isinstance(value, bytes) else value
        if _VISIBLE.fullmatch(text):
            kept[key] = text
    return MappingProxyType(kept) if kept else NO_METADATA
