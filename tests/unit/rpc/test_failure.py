from __future__ import annotations

from base64 import b64decode

import pytest
from grpclib.metadata import decode_grpc_message

from jobworkerp_standalone.rpc.stream import failure_headers


def size(headers: list[tuple[str, str]]) -> int:
    return sum(len(key) + len(value) + 32 for key, value in [*headers, ("grpc-status", "16")])


@pytest.mark.parametrize("message", ["", "plain", "line\nbreak 100%", "\u2192 \U0001f600"])
def test_text_survives(message: str) -> None:
    ((key, text),) = failure_headers(message, {})
    assert key == "grpc-message"
    assert text.isascii()
    assert decode_grpc_message(text) == message


@pytest.mark.parametrize("message", ["x" * 1_000_000, "\u2192" * 100_000, "\n" * 20_000])
@pytest.mark.parametrize("trailer", [0, 10, 4200, 100_000])
def test_all_of_it_stays_below_8_kib(message: str, trailer: int) -> None:
    headers = failure_headers(message, {"x-job-id-bin": b"\x08\x01", "x-job-result-bin": bytes(trailer)})
    assert size(headers) < 8192
    kept = dict(headers)
    assert b64decode(kept["x-job-id-bin"] + "==") == b"\x08\x01"
    assert ("x-job-result-bin" in kept) == (trailer < 100_000)
    assert decode_grpc_message(kept["grpc-message"]).startswith(message[0] * 50)
    assert kept["grpc-message"].endswith("...")
