"""Server reflection, v1 and v1alpha, as grpcurl asks."""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpclib.reflection.v1 import reflection_pb2 as v1
from grpclib.reflection.v1alpha import reflection_pb2 as v1alpha

from tests.service.edge_probe import Probe, edge
from tests.support.patience import PATIENCE_SEC

INVALID_ARGUMENT, NOT_FOUND = 3, 5
VERSIONS = [("v1", v1), ("v1alpha", v1alpha)]


@pytest.fixture(params=VERSIONS, ids=["v1", "v1alpha"])
def version(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def ask(version: tuple[str, Any], *questions: dict[str, Any], **settings: Any) -> list[Any]:
    name, messages = version
    async with edge(Probe(), **settings) as (_, port), grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        method = channel.stream_stream(
            f"/grpc.reflection.{name}.ServerReflection/ServerReflectionInfo",
            request_serializer=messages.ServerReflectionRequest.SerializeToString,
            response_deserializer=messages.ServerReflectionResponse.FromString,
        )
        requests = [messages.ServerReflectionRequest(host="h", **question) for question in questions]
        answers = [answer async for answer in method(iter(requests), timeout=PATIENCE_SEC)]
    for request, answer in zip(requests, answers, strict=True):
        assert answer.original_request == request
        assert answer.valid_host == "h"
    return answers


def files(answer: Any) -> list[FileDescriptorProto]:
    return [FileDescriptorProto.FromString(each) for each in answer.file_descriptor_response.file_descriptor_proto]


async def test_lists_what_is_served_without_a_token(version: Any) -> None:
    (answer,) = await ask(version, {"list_services": "*"}, auth_token="t")
    assert [each.name for each in answer.list_services_response.service] == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "jobworkerp.service.JobService",
        "jobworkerp.service.WorkerService",
        "probe.Probe",
    ]


async def test_symbols_lead_to_files_that_build(version: Any) -> None:
    symbols = [
        "jobworkerp.service.JobService",
        "jobworkerp.service.JobService.Enqueue",
        "jobworkerp.data.JobData",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflectionRequest",
    ]
    answers = await ask(version, *({"file_containing_symbol": symbol} for symbol in symbols))
    assert files(answers[0])[0].name == "jobworkerp/service/job.proto"
    found = {file.name: file for answer in answers for file in files(answer)}
    pool = DescriptorPool()
    added: set[str] = set()

    def add(name: str) -> None:
        if name not in added:
            added.add(name)
            for needed in found[name].dependency:
                add(needed)
            pool.Add(found[name])

    for name in found:
        add(name)
    assert pool.FindServiceByName("jobworkerp.service.JobService").methods_by_name["Enqueue"].input_type


async def test_file_comes_with_its_imports_once(version: Any) -> None:
    first, second, third = await ask(
        version,
        {"file_by_filename": "jobworkerp/service/worker.proto"},
        {"file_by_filename": "jobworkerp/service/worker.proto"},
        {"file_by_filename": "jobworkerp/data/worker.proto"},
    )
    names = [file.name for file in files(first)]
    assert names[0] == "jobworkerp/service/worker.proto"
    assert len(names) == len(set(names)) > 2
    assert "jobworkerp/data/worker.proto" in names
    assert [file.name for file in files(second)] == names[:1]
    assert [file.name for file in files(third)] == ["jobworkerp/data/worker.proto"]


async def test_what_is_not_there_is_not_found(version: Any) -> None:
    answers = await ask(
        version,
        {"file_by_filename": "no.proto"},
        {"file_containing_symbol": "no.Such"},
        {"file_containing_extension": {"containing_type": "jobworkerp.data.JobData", "extension_number": 1000}},
        {"file_containing_extension": {"containing_type": "no.Such", "extension_number": 1}},
        {"all_extension_numbers_of_type": "no.Such"},
    )
    assert [answer.error_response.error_code for answer in answers] == [NOT_FOUND] * 5


async def test_types_without_extensions_have_none(version: Any) -> None:
    (answer,) = await ask(version, {"all_extension_numbers_of_type": "jobworkerp.data.JobData"})
    assert answer.all_extension_numbers_response.base_type_name == "jobworkerp.data.JobData"
    assert not answer.all_extension_numbers_response.extension_number


async def test_empty_question(version: Any) -> None:
    (answer,) = await ask(version, {})
    assert answer.error_response.error_code == INVALID_ARGUMENT
