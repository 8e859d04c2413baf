"""Runners, instances, restore, and what is announced but not served yet."""

from __future__ import annotations

from typing import Any

import pytest
from grpclib.const import Status

from jobworkerp_standalone.schema.text import root_message
from tests.support.house import PUPPET, House, open_house, refused

BUILT_IN = {
    "COMMAND": 1,
    "HTTP_REQUEST": 2,
    "GRPC_UNARY": 3,
    "DOCKER": 4,
    "SLACK_POST_MESSAGE": 5,
    "PYTHON_COMMAND": 6,
    "FUNCTION_SET_SELECTOR": 8,
    "LLM": 32768,
    "WORKFLOW": 32769,
    "GRPC": 32770,
    "LLM_CHAT": 65533,
    "LLM_COMPLETION": 65534,
    "INLINE_WORKFLOW": 65535,
    "REUSABLE_WORKFLOW": -1,
}


async def test_every_built_in_runner_is_listed_with_schemas_that_compile(house: House) -> None:
    listed = (await house.client.items("RunnerService.FindList")).items
    assert {each.data.name: each.id.value for each in listed if each.id.value != PUPPET} == BUILT_IN
    for runner in listed:
        texts = [runner.data.runner_settings_proto]
        for schema in runner.data.method_proto_map.schemas.values():
            texts += [schema.args_proto, schema.result_proto]
        for text in filter(None, texts):
            assert text.isascii()
            assert text.startswith('syntax = "proto3"')
            root_message(text)
        assert not runner.data.runner_settings_proto or runner.id.value != 1


async def test_clients_of_the_older_generation_find_their_fields(house: House) -> None:
    command = (await house.client.call("RunnerService.Find", value=1)).data.data
    schema = command.method_proto_map.schemas["run"]
    assert (command.job_args_proto, command.result_output_proto) == (schema.args_proto, schema.result_proto)
    assert command.output_type == schema.output_type == 2


async def test_runners_are_found_filtered_and_counted(house: House) -> None:
    async def names(**filters: Any) -> list[str]:
        answer = await house.client.items("RunnerService.FindListBy", **filters)
        return [each.data.name for each in answer.items]

    assert await names(name_filter="llm_") == ["LLM_COMPLETION", "LLM_CHAT"]
    assert await names(runner_types=[1, 2], ascending=True) == ["COMMAND", "HTTP_REQUEST"]
    assert await names(limit=1, offset=1, sort_by=2, ascending=True) == ["DOCKER"]
    assert (await house.client.call("RunnerService.Count")).total == len(BUILT_IN) + 1
    assert (await house.client.call("RunnerService.CountBy", name_filter="GRPC")).total == 2
    assert (await house.client.call("RunnerService.FindByName", name="COMMAND")).data.id.value == 1
    assert not (await house.client.call("RunnerService.FindByName", name="NOPE")).HasField("data")
    assert not (await house.client.call("RunnerService.Find", value=99)).HasField("data")
    for wrong in ({"limit": 1001}, {"offset": -1}, {"name_filter": "x" * 256}, {"runner_types": [1] * 11}):
        async with refused(Status.INVALID_ARGUMENT, next(iter(wrong))):
            await names(**wrong)


@pytest.mark.parametrize(
    ("fields", "status", "word"),
    [
        ({"name": ""}, Status.INVALID_ARGUMENT, "name"),
        ({"runner_type": 1}, Status.INVALID_ARGUMENT, "runner_type"),
        ({"definition": " "}, Status.INVALID_ARGUMENT, "definition"),
        ({"name": "COMMAND"}, Status.ALREADY_EXISTS, "COMMAND"),
        ({}, Status.INVALID_ARGUMENT, "transport"),
        ({"runner_type": 0}, Status.INVALID_ARGUMENT, "no plugin on the server"),
    ],
)
async def test_creating_runners_is_validated_first(
    house: House, fields: dict[str, Any], status: Status, word: str
) -> None:
    valid: dict[str, Any] = {"name": "mine", "description": "d", "runner_type": 7, "definition": "[mcp]"}
    async with refused(status, word):
        await house.client.call("RunnerService.Create", **{**valid, **fields})


async def test_creating_runners_can_be_switched_off(tmp_path: Any) -> None:
    async with (
        open_house(tmp_path, RUNNER_CREATE_ENABLED="false") as house,
        refused(Status.FAILED_PRECONDITION, "RUNNER_CREATE_ENABLED"),
    ):
        await house.client.call("RunnerService.Create", name="mine", runner_type=7, definition="x")


async def test_built_in_runners_cannot_be_deleted(house: House) -> None:
    for runner_id in (1, -1, 65_535):
        async with refused(Status.INVALID_ARGUMENT, str(runner_id)):
            await house.client.call("RunnerService.Delete", value=runner_id)
    assert not (await house.client.call("RunnerService.Delete", value=2**40)).is_success


async def test_this_process_is_listed_as_an_instance_with_its_channels(house: House) -> None:
    (instance,) = (await house.client.items("WorkerInstanceService.FindList")).items
    assert [(each.name, each.concurrency) for each in instance.data.channels] == [
        ("narrow", 1),
        ("__default_job_channel__", 4),
    ]
    assert instance.data.registered_at > 0
    found = await house.client.call("WorkerInstanceService.Find", instance.id)
    assert found == instance
    counted = await house.client.call("WorkerInstanceService.Count")
    assert (counted.total, counted.active) == (1, 1)
    channels = (await house.client.call("WorkerInstanceService.FindChannelList")).channels
    assert {each.name: each.total_concurrency for each in channels} == {"narrow": 1, "__default_job_channel__": 4}
    filtered = await house.client.items("WorkerInstanceService.FindList", channel="elsewhere")
    assert filtered.items == []
    async with refused(Status.NOT_FOUND, "77"):
        await house.client.call("WorkerInstanceService.Find", value=77)


async def test_restore_is_always_done_so_nothing_is_left_to_restore(house: House) -> None:
    await house.worker(queue_type=1, channel="narrow")
    await house.enqueue(b"wait")
    await house.enqueue(b"behind")
    await house.strings.until(lambda: house.strings.running == 1)
    assert (await house.client.call("JobRestoreService.Restore")).is_success
    assert (await house.client.items("JobRestoreService.FindAll")).items == []
    held = await house.client.items("JobRestoreService.FindAll", include_grabbed=True)
    assert sorted(each.data.args for each in held.items) == [b"behind", b"wait"]
    house.strings.release.set()
    await house.strings.until(lambda: len(house.strings.ran) == 2)
    assert house.strings.ran == [b"wait", b"behind"]


@pytest.mark.parametrize(
    ("method", "fields", "status", "word"),
    [
        ("FunctionService.FindList", {}, Status.UNIMPLEMENTED, "not available"),
        ("FunctionService.Call", {}, Status.INVALID_ARGUMENT, "name"),
        ("FunctionService.Call", {"runner_name": "COMMAND"}, Status.UNIMPLEMENTED, "not available"),
        ("FunctionService.CreateWorker", {"runner_name": "COMMAND", "name": "9x"}, Status.INVALID_ARGUMENT, "9x"),
        ("FunctionService.FindByName", {}, Status.INVALID_ARGUMENT, "name"),
        ("FunctionSetService.Create", {"name": ""}, Status.INVALID_ARGUMENT, "name"),
        ("FunctionSetService.FindDetail", {"value": 0}, Status.INVALID_ARGUMENT, "value"),
        ("FunctionSetService.Count", {}, Status.UNIMPLEMENTED, "not available"),
    ],
)
async def test_functions_are_validated_and_then_unimplemented(
    house: House, method: str, fields: dict[str, Any], status: Status, word: str
) -> None:
    async with refused(status, word):
        await house.client.items(method, **fields)


async def test_what_waits_for_function_sets_says_so(house: House) -> None:
    await house.worker("sets", BUILT_IN["FUNCTION_SET_SELECTOR"])
    async with refused(Status.UNIMPLEMENTED, "FUNCTION_SET_SELECTOR", "function sets", "not built yet"):
        await house.enqueue(worker="sets")
