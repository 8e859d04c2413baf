"""``runner show`` and ``runner new``: what they print works."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest

from jobworkerp_standalone.schema.convert import bytes_to_json, json_to_bytes
from jobworkerp_standalone.schema.outline import example, outline
from jobworkerp_standalone.schema.samples import ARGS, SETTINGS
from jobworkerp_standalone.schema.text import root_message
from tests.support.house import House, eventually, open_house


async def cli(house: House, *words: str) -> str:
    """Run the command line against the daemon."""
    argv = [sys.executable, "-m", "jobworkerp_standalone", "-a", f"127.0.0.1:{house.port}", *words]
    done = await anyio.to_thread.run_sync(lambda: subprocess.run(argv, capture_output=True, text=True, check=False))
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_the_printed_example_of_command_runs(house: House) -> None:
    page = await cli(house, "runner", "show", "COMMAND")
    assert "Method run: one result, or a stream" in page
    shown = json.loads(page.partition("example: ")[2].splitlines()[0])
    await house.worker(runner=1, response_type=1)
    result_type = root_message((await spec(house, "COMMAND")).method_proto_map.schemas["run"].result_proto)
    args = json_to_bytes(shown, root_message((await spec(house, "COMMAND")).method_proto_map.schemas["run"].args_proto))
    reply = await house.enqueue(args)
    result: Any = result_type.FromString(reply.result.data.output.items)
    assert result.stdout == "Hello World!"
    as_json = json.loads(await cli(house, "runner", "show", "COMMAND", "--format", "json"))
    assert as_json["methods"]["run"]["args_example"] == shown
    assert {each["name"] for each in as_json["methods"]["run"]["args"]} >= {"command", "args", "stdin"}


async def spec(house: House, name: str) -> Any:
    return (await house.client.call("RunnerService.FindByName", name=name)).data.data


async def test_every_example_fits_its_schema(house: House) -> None:
    used = set()
    for runner in (await house.client.items("RunnerService.FindList")).items:
        data = runner.data
        if data.runner_settings_proto:
            shown = SETTINGS.get(data.name) or example(data.runner_settings_proto)
            json_to_bytes(dict(shown), root_message(data.runner_settings_proto))
        for name, method in data.method_proto_map.schemas.items():
            if method.args_proto:
                used.add((data.name, name))
                json_to_bytes(
                    dict(ARGS.get((data.name, name)) or example(method.args_proto)), root_message(method.args_proto)
                )
                assert outline(method.args_proto)
    assert set(ARGS) <= used


@pytest.mark.parametrize(
    ("runner", "method", "answer"),
    [
        ("GRPC", "unary", "COMMAND"),
        ("GRPC_UNARY", "run", ""),
        ("WORKFLOW", "run", "Hello World"),
        ("WORKFLOW", "create", ""),
        ("INLINE_WORKFLOW", "run", "Hello World"),
        ("REUSABLE_WORKFLOW", "run", "Hello World"),
    ],
)
async def test_the_example_of_a_runner_runs(house: House, runner: str, method: str, answer: str) -> None:
    found = (await house.client.call("RunnerService.FindByName", name=runner)).data
    schemas = found.data.method_proto_map.schemas[method]
    settings = dict(SETTINGS.get(runner, {}))
    if "port" in settings:
        settings["port"] = house.port
    data = b""
    if settings:
        data = json_to_bytes(settings, root_message(found.data.runner_settings_proto))
    await house.worker(runner=found.id.value, response_type=1, runner_settings=data)
    sent = json_to_bytes(dict(ARGS[runner, method]), root_message(schemas.args_proto))
    ended = (await house.enqueue(sent, using=method)).result.data
    assert ended.status == 0, ended.output.items
    shown = json.dumps(bytes_to_json(ended.output.items, root_message(schemas.result_proto)))
    assert answer in shown, shown
    assert '"code"' not in shown, "the other side refused it"


def test_a_message_that_contains_itself_ends() -> None:
    text = """syntax = "proto3";
    // A node.
    message Node {
      string name = 1; Node next = 2; repeated Node more = 3; map<string, Node> named = 4; Other other = 5;
    }
    message Other { Node back = 1; oneof way { string left = 2; int32 right = 3; } }
    """
    assert example(text) == {"name": "name", "other": {"left": "left"}}
    lines = outline(text)
    assert lines[0] == "Node: A node."
    assert any("map of string to Node" in line for line in lines)
    assert any("(one of way)" in line for line in lines)


async def test_a_skeleton_loads_and_its_test_passes(tmp_path: Path) -> None:
    folder = tmp_path / "plugins"
    async with open_house(tmp_path, PLUGINS_RUNNER_DIR=str(folder), PLUGINS_RELOAD="true", MCP_CONFIG="") as house:
        folder.mkdir()
        said = await cli(house, "runner", "new", "small_talk", "--directory", str(folder))
        assert "runner show SmallTalk" in said
        argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)]
        done = await anyio.to_thread.run_sync(
            lambda: subprocess.run(argv, capture_output=True, text=True, check=False, cwd=folder)
        )
        assert done.returncode == 0, done.stdout
    async with open_house(tmp_path, PLUGINS_RUNNER_DIR=str(folder)) as house:
        await eventually(lambda: house.daemon.engine.catalog.kinds.by_name("SmallTalk") is not None)
        page = await cli(house, "runner", "show", "SmallTalk")
        assert "Default: 'Hello'." in page
        shown = page.partition("Args\n")[2].partition("example: ")[2].splitlines()[0]
        await cli(
            house,
            "worker",
            "create",
            "--name",
            "t",
            "--description",
            "",
            "--runner-name",
            "SmallTalk",
            "--settings",
            "",
            "--response-type",
            "DIRECT",
        )
        said = await cli(house, "job", "enqueue", "--worker", "t", "--args", shown)
        assert "Hello, name!" in said


async def test_the_example_of_the_repository_counts_words(tmp_path: Path) -> None:
    folder = Path(__file__).parents[2] / "runners"
    async with open_house(tmp_path, PLUGINS_RUNNER_DIR=str(folder)) as house:
        data = await spec(house, "WordCount")
        assert data.method_proto_map.schemas["follow"].require_client_stream
        found = (await house.client.call("RunnerService.FindByName", name="WordCount")).data.id.value
        await house.worker(runner=found, response_type=1)
        method = data.method_proto_map.schemas["run"]
        args = json_to_bytes({"text": "to be or not to be", "top": 1}, root_message(method.args_proto))
        result: Any = root_message(method.result_proto).FromString((await house.enqueue(args)).result.data.output.items)
        assert (result.total, dict(result.words)) == (6, {"to": 2})
