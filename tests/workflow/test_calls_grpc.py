"""``call: grpc``: by reflection and by a proto file, with credentials, with errors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.grpc_peer import PROTO, Peer, open_peer
from tests.support.house import eventually
from tests.support.patience import longer_and_longer
from tests.workflow.stage import Stage, open_stage


@pytest.fixture(scope="module")
async def peer() -> AsyncIterator[Peer]:
    async with open_peer() as opened:
        yield opened


@pytest.fixture(scope="module")
async def proto(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("protos") / "peer.proto"
    path.write_text(PROTO)
    return path


@pytest.fixture(scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory, proto: Path) -> AsyncIterator[Stage]:
    async with open_stage(tmp_path_factory.mktemp("stage"), WORKFLOW_ALLOWED_ROOTS=str(proto.parent)) as opened:
        yield opened


def call(peer: Peer, proto: Path | None, arguments: Any = None, method: str = "Say", **service: Any) -> dict[str, Any]:
    """Return a document that calls a method of ``peer.Peer``."""
    given: dict[str, Any] = {
        "service": {"name": "peer.Peer", "host": "127.0.0.1", "port": peer.port, **service},
        "method": method,
    }
    if proto is not None:
        given["proto"] = {"endpoint": f"file://{proto}"}
    if arguments is not None:
        given["arguments"] = arguments
    return {"do": [{"say": {"call": "grpc", "with": given}}]}


async def test_a_proto_file_says_what_messages_look_like(stage: Stage, peer: Peer, proto: Path) -> None:
    end = await stage.run(call(peer, proto, {"text": "${ .who }", "number": 7}), {"who": "ann"})
    assert end.output["code"] == 0
    assert end.output["body"]["text"] == "ann"
    assert end.output["metadata"]["head"] == "first"


async def test_without_arguments_the_message_is_empty(stage: Stage, peer: Peer, proto: Path) -> None:
    assert (await stage.run(call(peer, proto), {})).output["code"] == 0


async def test_reflection(stage: Stage) -> None:
    """The daemon itself has reflection."""
    document = {
        "do": [
            {
                "find": {
                    "call": "grpc",
                    "with": {
                        "service": {
                            "name": "jobworkerp.service.WorkerService",
                            "host": "127.0.0.1",
                            "port": "${ .port }",
                        },
                        "method": "FindByName",
                        "arguments": {"name": "flow"},
                    },
                }
            }
        ]
    }
    end = await stage.run(document, {"port": stage.house.port})
    assert end.status == "Completed", end.text
    assert end.output["body"]["data"]["data"]["name"] == "flow"


async def test_credentials(stage: Stage, peer: Peer, proto: Path) -> None:
    await stage.run(call(peer, proto, {"text": "x"}, authentication={"bearer": {"token": "t0ken"}}), {})
    assert peer.heard[-1]["authorization"] == "Bearer t0ken"
    await stage.run(call(peer, proto, {}, authentication={"basic": {"username": "a", "password": "b"}}), {})
    assert peer.heard[-1]["authorization"] == "Basic YTpi"
    end = await stage.run(call(peer, proto, {}, authentication={"digest": {"username": "a", "password": "b"}}), {})
    assert end.error["status"] == 400


async def test_an_error_of_the_other_side(stage: Stage, peer: Peer, proto: Path) -> None:
    end = await stage.run(call(peer, proto, {"text": "fail"}), {})
    assert end.error["type"].endswith("/communication")
    assert end.error["status"] == 404
    assert end.error["instance"] == "/do/0/say"
    assert "no such thing" in end.error["detail"]


@pytest.mark.parametrize(
    ("arguments", "service", "status", "at"),
    [
        ({"nope": 1}, {}, 503, "/do/0/say"),
        ({}, {"port": 70_000.5}, 400, "/do/0/say/with/service/port"),
        ({}, {"port": 70_000}, 400, "/do/0/say/with/service/port"),
        ({}, {"port": 0}, 400, "/do/0/say/with/service/port"),
        ({}, {"port": '"7" * 5000'}, 400, "/do/0/say/with/service/port"),
        ({}, {"name": "peer.Other"}, 503, "/do/0/say"),
    ],
)
async def test_mistakes(
    stage: Stage, peer: Peer, proto: Path, arguments: Any, service: dict[str, Any], status: int, at: str
) -> None:
    port = service.pop("port", None)
    document = call(peer, proto, arguments, **service)
    if port is not None:
        document["do"][0]["say"]["with"]["service"]["port"] = f"${{ {port} }}"
    end = await stage.run(document, {})
    assert (end.error["status"], end.error["instance"]) == (status, at), end.error


# ------------------------------------------------------------ streams


@pytest.mark.parametrize("count", [0, 1, 3])
async def test_a_method_that_gives_a_stream_gives_an_array(stage: Stage, peer: Peer, proto: Path, count: int) -> None:
    end = await stage.run(call(peer, proto, {"number": count}, "Count"), {})
    assert [each["text"] for each in end.output["body"]] == ["item"] * count


async def test_an_error_in_the_middle_of_a_stream(stage: Stage, peer: Peer, proto: Path) -> None:
    end = await stage.run(call(peer, proto, {"number": 2, "text": "fail"}, "Count"), {})
    assert (end.error["status"], end.error["detail"]) == (409, "half-way")


async def test_a_method_that_takes_a_stream_takes_an_array(stage: Stage, peer: Peer, proto: Path) -> None:
    messages = [{"text": "a", "number": 1}, {"text": "${ .b }", "number": 2}]
    assert (await stage.run(call(peer, proto, messages, "Gather"), {"b": "b"})).output["body"] == {
        "text": "a,b",
        "number": "3",
    }
    whole = await stage.run(call(peer, proto, "${ .list }", "Gather"), {"list": [{"text": "x"}] * 3})
    assert whole.output["body"] == {"text": "x,x,x"}
    assert (await stage.run(call(peer, proto, {"text": "one"}, "Gather"), {})).output["body"] == {"text": "one"}
    assert (await stage.run(call(peer, proto, "${ [] }", "Gather"), {})).output["body"] == {}


async def test_streams_both_ways_that_are_longer_than_any_buffer(stage: Stage, peer: Peer, proto: Path) -> None:
    """A client that only sent before it received would wait for ever: the server stops reading."""
    messages = [{"text": "x" * 200_000, "number": number} for number in range(60)]
    end = await stage.run(call(peer, proto, "${ .list }", "Echo"), {"list": messages})
    assert [each.get("number", "0") for each in end.output["body"]] == [str(number) for number in range(60)]


async def test_a_server_that_answers_before_it_was_told_everything(stage: Stage, peer: Peer, proto: Path) -> None:
    messages = [{"text": "enough"}, *({"text": "x" * 200_000} for _ in range(60))]
    end = await stage.run(call(peer, proto, "${ .list }", "Gather"), {"list": messages})
    assert (end.error["status"], end.error["detail"]) == (429, "that is enough")


@pytest.mark.parametrize(
    ("arguments", "method", "word"),
    [([{"text": "a"}], "Say", "not an array"), ("${ [1] }", "Gather", "array of objects"), ("${ 1 }", "Say", "object")],
)
async def test_arguments_that_a_method_does_not_take(
    stage: Stage, peer: Peer, proto: Path, arguments: Any, method: str, word: str
) -> None:
    assert word in (await stage.run(call(peer, proto, arguments, method), {})).text


async def test_a_cancelled_call_is_cancelled_at_the_server(stage: Stage, peer: Peer, proto: Path) -> None:
    for method in ("Say", "Count"):
        before = peer.hung
        document = call(peer, proto, {"text": "hang"}, method)
        for limit in longer_and_longer(300):
            document["do"][0]["say"]["timeout"] = {"after": {"milliseconds": limit}}
            assert (await stage.run(document, {})).error["status"] == 408
            if peer.hung > before:
                break
        await eventually(lambda: peer.cancelled == peer.hung)


async def test_secrets_stay_with_the_server(
    stage: Stage, peer: Peer, proto: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKFLOW_SECRET_API", "top-secret-text")
    for arguments in ({"nope": "${ $secrets.API }"}, {"number": "${ $secrets.API }"}):
        document = {"use": {"secrets": ["API"]}, **call(peer, proto, arguments)}
        end = await stage.run(document, {})
        assert end.status == "Faulted"
        assert "top-secret-text" not in end.text
        assert "top-secret-text" not in "".join(str(each) for each in await stage.events(end.job_id))
    rows = (await stage.house.client.items("JobResultService.FindList")).items
    kept = [each.data.args for each in rows if each.data.worker_name.startswith("say_")]
    assert [b"***" in each for each in kept[:2]] == [True, True], "the latest first"
    assert not any(b"top-secret-text" in each.SerializeToString() for each in rows)
