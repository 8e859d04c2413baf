"""The client's parts that need no server: addresses, and JSON by a runner's schemas."""

from __future__ import annotations

import pytest

from jobworkerp_standalone.client import DoesNotFit, NoSuch, ServerAddress, parse_server_address
from jobworkerp_standalone.client.coding import (
    decode_args,
    decode_output,
    decode_settings,
    encode_args,
    encode_settings,
    find_method,
)
from jobworkerp_standalone.pb.jobworkerp.data import MethodProtoMap, MethodSchema, Runner, RunnerData

PROTO = 'syntax = "proto3";\nmessage Main { string first_name = 1; int64 big = 2; }\n'


def a_runner(*methods: str, proto: str = PROTO, settings: str = "") -> Runner:
    schemas = {name: MethodSchema(args_proto=proto, result_proto=proto) for name in methods}
    data = RunnerData(
        name="R", runner_settings_proto=settings, method_proto_map=MethodProtoMap(schemas=schemas) if methods else None
    )
    return Runner(data=data)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("http://127.0.0.1:9000", ("127.0.0.1", 9000, False)),
        ("127.0.0.1:9001", ("127.0.0.1", 9001, False)),
        (" localhost ", ("localhost", 9000, False)),
        ("https://jobs.example.com", ("jobs.example.com", 443, True)),
        ("https://jobs.example.com:9000/", ("jobs.example.com", 9000, True)),
        ("[::1]:9000", ("::1", 9000, False)),
        ("http://[::1]", ("::1", 9000, False)),
    ],
)
def test_addresses(text: str, address: tuple[str, int, bool]) -> None:
    assert parse_server_address(text) == address


@pytest.mark.parametrize(
    "text", ["", "http://", "ftp://x:1", "x:port", "x:70000", "x:0", "http://x/path", "http://u@x", "[::1", "a b://"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="is not the address of a server"):
        parse_server_address(text)


def test_an_address_shows_itself_as_it_is_written() -> None:
    assert str(ServerAddress("::1", 9000)) == "http://[::1]:9000"
    assert str(ServerAddress("x", 443, tls=True)) == "https://x:443"


def test_args_and_output_by_schema() -> None:
    runner = a_runner("run")
    data = encode_args(runner, None, '{"first_name":"é","big":"9007199254740993"}')
    assert decode_args(runner, None, data) == {"firstName": "é", "big": "9007199254740993"}
    assert decode_output(runner, "whatever", data) == {"firstName": "é", "big": "9007199254740993"}
    assert encode_args(runner, None, " ") == b""


@pytest.mark.parametrize("text", ['{"frist_name":1}', "[1]", "{", '{"big":"x"}'])
def test_json_that_does_not_fit(text: str) -> None:
    with pytest.raises(DoesNotFit, match=r"^args: "):
        encode_args(a_runner("run"), None, text)


def test_without_a_schema_the_text_itself_is_sent() -> None:
    assert encode_args(a_runner(), None, "plain é") == "plain é".encode()
    assert encode_settings(a_runner("run"), "") == b""
    assert decode_settings(a_runner("run"), b"") is None
    assert decode_settings(None, b"caf\xff") == "caf\ufffd"


def test_bytes_that_do_not_fit_are_shown_as_text() -> None:
    assert decode_output(a_runner("run"), None, b"hello") == "hello"
    assert decode_output(a_runner("run", proto="no proto"), None, b"hello") == "hello"


def test_a_schema_that_is_none() -> None:
    with pytest.raises(DoesNotFit, match="schema cannot be used"):
        encode_args(a_runner("run", proto="no proto"), None, "{}")


def test_which_method_is_meant() -> None:
    one, several, without_run = a_runner("run"), a_runner("run", "create"), a_runner("chat", "completion")
    assert find_method(one, "any") is not None
    assert find_method(a_runner("tool"), None) is not None
    assert find_method(a_runner("tool"), "other") is None
    assert find_method(several, None) is not None
    assert find_method(without_run, None) is None
    with pytest.raises(NoSuch, match=r"choose one with --using \(chat, completion\)"):
        encode_args(without_run, None, "{}")
    with pytest.raises(NoSuch, match="has no method 'dance'"):
        encode_args(several, "dance", "{}")
