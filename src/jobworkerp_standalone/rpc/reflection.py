"""Server reflection, v1 and v1alpha: what grpcurl and admin pages ask for names and descriptors.

Both versions are the same on the wire, so one implementation with the messages of v1 serves both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Final

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from grpclib.const import Cardinality, Handler, Status
from grpclib.health.v1 import health_pb2
from grpclib.reflection.v1 import reflection_pb2 as v1
from grpclib.reflection.v1alpha import reflection_pb2 as v1alpha

from jobworkerp_standalone.schema.messages import file_descriptor_set_bytes

REFLECTION_NAMES: Final = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
_Request = v1.ServerReflectionRequest
_Response = v1.ServerReflectionResponse


@cache
def published_pool() -> DescriptorPool:
    """Return a pool with every proto that clients may ask for: ours, health and reflection."""
    from google.protobuf.descriptor_pb2 import FileDescriptorSet  # noqa: PLC0415 - on the first question only

    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(file_descriptor_set_bytes()).file:
        pool.AddSerializedFile(file.SerializeToString())
    for module in (health_pb2, v1, v1alpha):
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    return pool


class ReflectionRpc:
    """Answers from a descriptor pool; ``names`` are the services that are served."""

    def __init__(self, names: Sequence[str], pool: Callable[[], DescriptorPool] = published_pool) -> None:
        self._names = sorted(names)
        self._pool = pool
        self._answers: dict[str, Callable[[Any, set[str]], _Response]] = {
            "file_by_filename": self._file,
            "file_containing_symbol": self._file_of_symbol,
            "file_containing_extension": self._file_of_extension,
            "all_extension_numbers_of_type": self._extension_numbers,
            "list_services": self._services,
        }

    def __mapping__(self) -> Mapping[str, Handler]:
        handler = Handler(self._info, Cardinality.STREAM_STREAM, _Request, _Response)
        return {f"/{name}/ServerReflectionInfo": handler for name in REFLECTION_NAMES}

    async def _info(self, stream: Any) -> None:
        sent: set[str] = set()
        async for request in stream:
            response = self._answer(request, sent)
            response.valid_host = request.host
            response.original_request.CopyFrom(request)
            await stream.send_message(response)

    def _answer(self, request: _Request, sent: set[str]) -> _Response:
        which = request.WhichOneof("message_request")
        if which is None:
            return _refusal(Status.INVALID_ARGUMENT, "the request asks for nothing: set one of its fields")
        try:
            return self._answers[which](getattr(request, which), sent)
        except KeyError:
            return _refusal(Status.NOT_FOUND, f"{which}: this server knows no such thing")

    def _file(self, name: str, sent: set[str]) -> _Response:
        return _files(self._pool().FindFileByName(name), sent)

    def _file_of_symbol(self, symbol: str, sent: set[str]) -> _Response:
        return _files(self._pool().FindFileContainingSymbol(symbol.removeprefix(".")), sent)

    def _file_of_extension(self, request: Any, sent: set[str]) -> _Response:
        pool = self._pool()
        message = pool.FindMessageTypeByName(request.containing_type)
        extension: Any = pool.FindExtensionByNumber(message, request.extension_number)
        return _files(extension.file, sent)

    def _extension_numbers(self, name: str, _sent: set[str]) -> _Response:
        pool = self._pool()
        message = pool.FindMessageTypeByName(name)
        response = _Response()
        response.all_extension_numbers_response.base_type_name = name
        response.all_extension_numbers_response.extension_number.extend(
            extension.number for extension in pool.FindAllExtensions(message)
        )
        return response

    def _services(self, _request: str, _sent: set[str]) -> _Response:
        response = _Response()
        for name in self._names:
            response.list_services_response.service.add(name=name)
        return response


def _files(file: FileDescriptor, sent: set[str]) -> _Response:
    """Return ``file`` with what it imports, as far as this stream has not had it; ``file`` itself always, first."""
    response = _Response()
    for each in [file, *(found for found in _imports(file, set()) if found.name not in sent)]:
        sent.add(each.name)
        response.file_descriptor_response.file_descriptor_proto.append(each.serialized_pb)
    return response


def _imports(file: FileDescriptor, seen: set[str]) -> Iterable[FileDescriptor]:
    for each in file.dependencies:
        if each.name not in seen:
            seen.add(each.name)
            yield each
            yield from _imports(each, seen)


def _refusal(status: Status, text: str) -> _Response:
    response = _Response()
    response.error_response.error_code = status.value
    response.error_response.error_message = text
    return response
