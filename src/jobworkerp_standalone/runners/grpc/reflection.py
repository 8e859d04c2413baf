"""Asks a server what its messages look like (server reflection v1, and v1alpha where there is no v1)."""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError, StreamTerminatedError
from grpclib.reflection.v1 import reflection_pb2

from jobworkerp_standalone.jobs.errors import BadInput, Retryable
from jobworkerp_standalone.runners.grpc.connections import Connection, RawStream
from jobworkerp_standalone.runners.grpc.metadata import Pairs

_PATHS: Final = (
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
)
"""The messages of both are the same on the wire."""
_Request: Any = reflection_pb2.ServerReflectionRequest
_Response: Any = reflection_pb2.ServerReflectionResponse


async def reflect(connection: Connection, service: str, metadata: Pairs) -> DescriptorPool:
    """Return a pool that knows ``service`` and what its messages are made of.

    Raises:
        BadInput: the server has no reflection, or no such service.
        Retryable: it did not answer.
    """
    await connection.connected()
    for path in _PATHS:
        try:
            return await _pool(connection.call(path, metadata, Cardinality.STREAM_STREAM), service)
        except GRPCError as error:
            if error.status is not Status.UNIMPLEMENTED:
                kind = Retryable if error.status is Status.UNAVAILABLE else BadInput
                raise kind(
                    f"{connection.target} did not answer by reflection: {error.status.name}: {error.message}"
                ) from error
        except (StreamTerminatedError, OSError) as error:
            raise Retryable(f"the connection to {connection.target} broke off during reflection: {error}") from error
    raise BadInput(f"{connection.target} has no server reflection; give its proto text in proto, or send body as bytes")


async def _pool(stream: RawStream, service: str) -> DescriptorPool:
    files: dict[str, FileDescriptorProto] = {}
    async with stream:
        await _add(stream, files, _Request(file_containing_symbol=service), service)
        while missing := _missing(files):
            await _add(stream, files, _Request(file_by_filename=missing), missing)
        await stream.end()
    pool = DescriptorPool()
    for file in _in_order(files):
        pool.AddSerializedFile(file.SerializeToString())
    return pool


async def _add(stream: RawStream, files: dict[str, FileDescriptorProto], request: Any, wanted: str) -> None:
    await stream.send_message(request.SerializeToString())
    data = await stream.recv_message()
    response = _Response.FromString(data or b"")
    if response.HasField("error_response"):
        raise BadInput(f"the server's reflection does not know {wanted!r}: {response.error_response.error_message}")
    before = len(files)
    for each in response.file_descriptor_response.file_descriptor_proto:
        file = FileDescriptorProto.FromString(each)
        files.setdefault(file.name, file)
    if len(files) == before:
        raise BadInput(f"the server's reflection gave nothing for {wanted!r}")


def _missing(files: dict[str, FileDescriptorProto]) -> str | None:
    return next((name for file in files.values() for name in file.dependency if name not in files), None)


def _in_order(files: dict[str, FileDescriptorProto]) -> list[FileDescriptorProto]:
    """Return the files, each after those that it imports."""
    ordered: dict[str, FileDescriptorProto] = {}

    def place(file: FileDescriptorProto) -> None:
        if file.name not in ordered:
            for name in file.dependency:
                place(files[name])
            ordered[file.name] = file

    for file in files.values():
        place(file)
    return list(ordered.values())
