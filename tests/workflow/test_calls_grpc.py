"""``call: grpc``: by reflection and by a proto file, with credentials, with errors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.grpc_peer import PROTO, Peer, open_peer
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


def call(peer: Peer, proto: Path | None, arguments: Any = None, **service: Any) -> dict[str, Any]:
    """Return a document that calls ``peer.Peer/Say``."""
    given: dict[str, Any] = {
        "service": {"name": "peer.Peer", "host": "127.0.0.1", "port": peer.port, **service},
        "method": "Say",
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
