"""Whatever a client sends, to whichever method: a proper status, nothing half-done, and a server that goes on."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobworkerp_standalone.schema.messages import descriptor_pool
from tests.support.house import House, open_house, refused
from tests.support.wire_client import build

SERVICES = [
    *(f"jobworkerp.service.{name}Service" for name in ("Job", "JobResult", "JobProcessingStatus", "JobStatus")),
    *(f"jobworkerp.service.{name}Service" for name in ("JobRestore", "Worker", "Runner", "WorkerInstance")),
    "jobworkerp.function.service.FunctionService",
    "jobworkerp.function.service.FunctionSetService",
]
METHODS = [
    f"{service.rpartition('.')[2]}.{method.name}"
    for service in SERVICES
    for method in descriptor_pool().FindServiceByName(service).methods
]
_UNARY = Cardinality.UNARY_UNARY
ANSWERS_OF_ANY_BYTES = {
    Status.INVALID_ARGUMENT,
    Status.NOT_FOUND,
    Status.UNIMPLEMENTED,
    Status.FAILED_PRECONDITION,
    Status.DEADLINE_EXCEEDED,
}


async def call(house: House, method: str, data: bytes, within: float = 30) -> None:
    async with house.client.open(method, within=within) as stream:
        await stream.send_message(data, end=True)
        while await stream.recv_message() is not None:
            pass
        await stream.recv_trailing_metadata()


async def still_serves(house: House) -> None:
    assert (await house.client.call("JobService.Count")).total == 0


@pytest.mark.parametrize("method", METHODS)
async def test_bytes_that_are_no_message_are_refused_by_every_method(house: House, method: str) -> None:
    for data in (b"\xff", b"\x0a\xff\x01", b"\x0b", b"\x08"):
        async with refused(Status.INVALID_ARGUMENT, "not a valid", "jobworkerp."):
            await call(house, method, data)
    await still_serves(house)


@pytest.fixture
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with open_house(tmp_path_factory.mktemp("shared")) as opened:
        yield opened


@pytest.mark.parametrize("method", [name for name in METHODS if not name.endswith("ListenByWorker")])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=60))
async def test_any_bytes_get_an_answer_and_never_an_internal_error(shared: House, method: str, data: bytes) -> None:
    outcome = None
    try:
        await call(shared, method, data, within=10)
    except GRPCError as error:
        outcome = error
    assert outcome is None or outcome.status in ANSWERS_OF_ANY_BYTES, outcome


@pytest.mark.parametrize(
    ("method", "fields", "words"),
    [
        ("JobService.Enqueue", {"worker_name": "w", "priority": 99}, ["priority", "99"]),
        ("JobService.Enqueue", {"worker_name": "w", "overrides": {"response_type": 7}}, ["response_type", "7"]),
        ("JobService.EnqueueForStream", {"worker_name": "w", "priority": -7}, ["priority", "-7"]),
        ("WorkerService.FindList", {"runner_types": [4711]}, ["runner_types", "4711"]),
        ("WorkerService.FindList", {"sort_by": 55}, ["sort_by", "55"]),
        ("RunnerService.FindListBy", {"runner_types": [4711]}, ["runner_types", "4711"]),
        ("RunnerService.Create", {"name": "x", "runner_type": 4711, "definition": "d"}, ["runner_type", "4711"]),
        ("JobResultService.FindListBy", {"statuses": [77]}, ["statuses", "77"]),
        ("JobProcessingStatusService.CountByCondition", {"mode": 9}, ["mode", "9"]),
    ],
)
async def test_enum_numbers_that_nobody_knows_are_refused(
    house: House, method: str, fields: dict[str, Any], words: list[str]
) -> None:
    await house.worker()
    async with refused(Status.INVALID_ARGUMENT, *words):
        await house.client.items(method, **fields)
    await still_serves(house)


async def test_an_oversized_request_names_limit_and_setting(tmp_path: Any) -> None:
    async with open_house(tmp_path, GRPC_MAX_MESSAGE_SIZE="5000") as house:
        await house.worker(response_type=1)
        async with refused(Status.RESOURCE_EXHAUSTED, "5000", "GRPC_MAX_MESSAGE_SIZE"):
            await house.enqueue(b"x" * 6000)
        assert (await house.enqueue(b"x" * 4000)).result.data.status == 0


async def test_a_method_that_is_not_there_is_unimplemented(house: House) -> None:
    unknown = house.client.channel.request("/jobworkerp.service.JobService/Fly", _UNARY, bytes, bytes)
    async with unknown as stream, refused(Status.UNIMPLEMENTED, "Fly"):
        await stream.send_message(b"", end=True)
        await stream.recv_message()


@pytest.mark.parametrize(
    ("environment", "open_method"),
    [({}, False), ({"AUTH_SCOPE": "reference"}, True)],
    ids=["every call", "the reference's calls"],
)
async def test_the_token_protects(tmp_path: Any, environment: dict[str, Any], open_method: bool) -> None:
    async with open_house(tmp_path, AUTH_TOKEN="s3cret", **environment) as house:
        for metadata in ({}, {"jobworkerp-auth": "wrong"}):
            async with refused(Status.UNAUTHENTICATED, "jobworkerp-auth"):
                await house.client.call("JobService.Enqueue", worker_name="w", metadata=metadata)
            check = contextlib.nullcontext() if open_method else refused(Status.UNAUTHENTICATED, "jobworkerp-auth")
            async with check:
                await house.client.call("WorkerService.Count", metadata=metadata)
        token = {"jobworkerp-auth": "s3cret"}
        assert (await house.client.call("WorkerService.Count", metadata=token)).total == 0


async def test_texts_of_errors_never_show_settings_or_args(house: House) -> None:
    secret = b"hunter2"
    await house.worker(runner_settings=secret)
    requests: list[tuple[str, dict[str, Any]]] = [
        ("WorkerService.Create", {"name": "w", "runner_id": {"value": 70_001}, "runner_settings": secret}),
        ("JobService.Enqueue", {"worker_name": "w", "args": secret, "using": "nope"}),
    ]
    for method, fields in requests:
        with pytest.raises(GRPCError) as caught:
            await house.client.call(method, **fields)
        assert "hunter2" not in (caught.value.message or "")


async def test_a_request_may_be_empty(house: House) -> None:
    for method in ("JobService.Enqueue", "WorkerService.Create", "WorkerService.Update", "JobResultService.Listen"):
        with pytest.raises(GRPCError) as caught:
            await house.client.call(method, build("Empty"))
        assert caught.value.status in (Status.INVALID_ARGUMENT, Status.NOT_FOUND)
