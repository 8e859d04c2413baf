from __future__ import annotations

from typing import Any

import pytest
from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from jobworkerp_standalone.jobs.errors import InvalidRequest
from jobworkerp_standalone.rpc.codec import Wire, WireCodec
from jobworkerp_standalone.schema.enums import enum_check
from jobworkerp_standalone.schema.messages import descriptor_pool, message_class

WORKER_ID: Any = message_class("jobworkerp.data.WorkerId")
JOB_REQUEST: Any = message_class("jobworkerp.service.JobRequest")


@pytest.fixture
def codec() -> WireCodec:
    return WireCodec()


def test_wire_without_functions_passes_messages_and_bytes(codec: WireCodec) -> None:
    wire = Wire[Any]("jobworkerp.data.WorkerId")
    assert codec.decode(b"\x08\x07", wire) == WORKER_ID(value=7)
    assert codec.encode(WORKER_ID(value=7), wire) == b"\x08\x07"
    assert codec.encode(b"\x08\x07", wire) == b"\x08\x07"


def test_wire_with_functions_sees_values_only(codec: WireCodec) -> None:
    wire = Wire[int](
        "jobworkerp.data.WorkerId",
        lambda message: message.value,
        lambda value: WORKER_ID(value=value).SerializeToString(),
    )
    assert codec.decode(b"\x08\x07", wire) == 7
    assert codec.encode(7, wire) == b"\x08\x07"


def test_classes_of_the_c_runtime(codec: WireCodec) -> None:
    assert codec.decode(b"\n\x01a", HealthCheckRequest) == HealthCheckRequest(service="a")
    assert codec.encode(HealthCheckResponse(status=HealthCheckResponse.SERVING), HealthCheckResponse) == b"\x08\x01"


def test_wrong_reply_is_a_bug(codec: WireCodec) -> None:
    with pytest.raises(TypeError, match="WorkerId"):
        codec.encode(JOB_REQUEST(), Wire[Any]("jobworkerp.data.WorkerId"))
    with pytest.raises(TypeError, match="HealthCheckResponse"):
        codec.encode(HealthCheckRequest(), HealthCheckResponse)


@pytest.mark.parametrize("data", [b"\x08", b"\xff", b"\x0a\x05a", b"\x00"])
def test_malformed_bytes_name_the_type(codec: WireCodec, data: bytes) -> None:
    with pytest.raises(InvalidRequest, match=r"jobworkerp\.data\.WorkerId"):
        codec.decode(data, Wire[Any]("jobworkerp.data.WorkerId"))


def test_unknown_message_type_is_a_bug(codec: WireCodec) -> None:
    with pytest.raises(KeyError):
        codec.decode(b"", Wire[Any]("no.Such"))


@pytest.mark.parametrize(
    ("name", "fields", "place"),
    [
        ("service.JobRequest", {"priority": 2}, "priority: 2"),
        ("service.JobRequest", {"priority": -2}, "priority: -2"),
        ("service.JobRequest", {"overrides": {"retry_policy": {"type": 4}}}, "overrides.retry_policy.type: 4"),
        ("service.FindWorkerListRequest", {"runner_types": [0, 99]}, "runner_types: 99"),
        ("service.ClientStreamRequest", {"job_request": {"priority": 5}}, "job_request.priority: 5"),
        ("data.WorkerData", {"queue_type": 99}, "queue_type: 99"),
    ],
)
def test_unknown_enum_numbers(codec: WireCodec, name: str, fields: dict[str, Any], place: str) -> None:
    full_name = f"jobworkerp.{name}"
    data = message_class(full_name)(**fields).SerializeToString()
    with pytest.raises(InvalidRequest) as caught:
        codec.decode(data, Wire[Any](full_name))
    assert str(caught.value).startswith(f"{place} is not a number of jobworkerp.data.")


def test_known_enum_numbers_pass(codec: WireCodec) -> None:
    for number in (-1, 0, 1):
        request = JOB_REQUEST(priority=number, overrides={"response_type": 1})
        assert codec.decode(request.SerializeToString(), Wire[Any]("jobworkerp.service.JobRequest")) == request


def test_enums_in_maps_and_lists() -> None:
    message_type: Any = message_class("jobworkerp.data.RunnerData")
    check = enum_check(message_type.DESCRIPTOR)
    assert check is not None
    data = message_type()
    data.method_proto_map.schemas["run"].output_type = 1
    check(data, "")
    data.method_proto_map.schemas["b"].output_type = 9
    with pytest.raises(ValueError, match=r"^data\.method_proto_map\.schemas\['b'\]\.output_type: 9 "):
        check(data, "data.")


def test_types_without_enums_cost_nothing() -> None:
    assert enum_check(descriptor_pool().FindMessageTypeByName("jobworkerp.data.WorkerId")) is None
