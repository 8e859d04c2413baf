from __future__ import annotations

import pytest
from multidict import MultiDict

from jobworkerp_standalone.jobs.errors import InvalidRequest
from jobworkerp_standalone.jobs.model import NO_METADATA
from jobworkerp_standalone.rpc.metadata import job_metadata, request_metadata


@pytest.mark.parametrize("metadata", [None, MultiDict(), MultiDict({"jobworkerp-auth": "t", "cookie": "c"})])
def test_nothing_left_is_the_shared_empty_mapping(metadata: MultiDict[str | bytes] | None) -> None:
    assert job_metadata(metadata) is NO_METADATA


@pytest.mark.parametrize(
    "key",
    [
        "content-type",
        "te",
        "user-agent",
        "grpc-timeout",
        "grpc-accept-encoding",
        "host",
        "accept-encoding",
        ":path",
        "authorization",
        "cookie",
        "proxy-authorization",
        "jobworkerp-auth",
        "jobworkerp-anything",
    ],
)
def test_transport_and_secrets_stay_behind(key: str) -> None:
    assert job_metadata({key: "v", "x": "y"}) == {"x": "y"}


def test_values() -> None:
    metadata = MultiDict([("a", "1"), ("a", "2"), ("b-bin", b"\x00\xff"), ("c", "gr\u00fcn"), ("d", ""), ("e", "~ !")])
    assert job_metadata(metadata) == {"a": "2", "b-bin": "AP8=", "d": "", "e": "~ !"}


def test_request_metadata_has_no_transport_headers() -> None:
    headers = [(":path", "/x"), ("te", "trailers"), ("grpc-timeout", "1S"), ("x", "1"), ("y-bin", "AP8")]
    assert dict(request_metadata(headers)) == {"x": "1", "y-bin": b"\x00\xff"}


@pytest.mark.parametrize("value", ["a", "gr\u00fcn"])
def test_binary_metadata_must_be_base64(value: str) -> None:
    with pytest.raises(InvalidRequest, match="base64"):
        request_metadata([("y-bin", value)])
