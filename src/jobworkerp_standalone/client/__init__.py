"""A typed async client over gRPC: ``async with connect("http://127.0.0.1:9000") as client: ...``."""

from jobworkerp_standalone.client.address import ServerAddress, parse_server_address
from jobworkerp_standalone.client.client import Client, connect, connect_socket
from jobworkerp_standalone.client.errors import (
    CallFailed,
    ClientError,
    DoesNotFit,
    JobFailed,
    NoSuch,
    Unreachable,
    WorkflowFaulted,
    WorkflowInvalid,
)
from jobworkerp_standalone.client.schemas import Schemas
from jobworkerp_standalone.client.stream import ItemStream, job_result_of

__all__ = [
    "CallFailed",
    "Client",
    "ClientError",
    "DoesNotFit",
    "ItemStream",
    "JobFailed",
    "NoSuch",
    "Schemas",
    "ServerAddress",
    "Unreachable",
    "WorkflowFaulted",
    "WorkflowInvalid",
    "connect",
    "connect_socket",
    "job_result_of",
    "parse_server_address",
]
