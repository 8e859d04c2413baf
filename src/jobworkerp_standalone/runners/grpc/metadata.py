"""Metadata as clients write it (a map of texts, ``-bin`` values in base64) and as a call carries it."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

Value: TypeAlias = str | bytes
Pairs: TypeAlias = Mapping[str, Value]

_KEY: Final = re.compile(r"[0-9a-z_.\-]+")
_VALUE: Final = re.compile(r"[ !-~]+")
_RESERVED: Final = frozenset({"te", "content-type", "user-agent"})
_BINARY: Final = "-bin"


class BadMetadata(ValueError):
    """A key or a value cannot be sent; the message says which and why."""


def to_send(texts: Mapping[str, str]) -> dict[str, Value]:
    """Return what the call carries.

    Raises:
        BadMetadata: a key is not one, is reserved, or has a value that does not fit.
    """
    return {key.lower(): _value(key.lower(), text) for key, text in texts.items()}


def received(pairs: Iterable[tuple[str, Value]]) -> dict[str, str]:
    """Return what came as texts; several values of a key are joined by commas, as gRPC allows."""
    joined: dict[str, str] = {}
    for key, value in pairs:
        text = b64encode(value).decode() if isinstance(value, bytes) else value
        joined[key] = f"{joined[key]},{text}" if key in joined else text
    return joined


def _value(key: str, text: str) -> Value:
    if not _KEY.fullmatch(key):
        raise BadMetadata(f"metadata key {key!r} is not one: use lower-case letters, digits, '_', '-' and '.'")
    if key in _RESERVED or key.startswith("grpc-"):
        raise BadMetadata(f"metadata key {key!r} belongs to the protocol; leave it out")
    if key.endswith(_BINARY):
        return _binary(key, text)
    if not _VALUE.fullmatch(text):
        raise BadMetadata(
            f"the value of metadata key {key!r} is empty or not printable ASCII; use a key in -bin, with base64"
        )
    return text


def _binary(key: str, text: str) -> bytes:
    try:
        return b64decode(text + "=" * (-len(text) % 4), validate=True)
    except Base64Error as error:
        raise BadMetadata(f"the value of metadata key {key!r} is not base64 ({error}); keys in -bin need it") from error
