"""A typed client: the generated stubs on one connection, and what they leave out."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final
from urllib.parse import quote

from grpclib.const import Cardinality

from jobworkerp_standalone.client.address import ServerAddress, parse_server_address
from jobworkerp_standalone.client.channel import CallChannel, SocketChannel
from jobworkerp_standalone.client.errors import ClientError, Metadata
from jobworkerp_standalone.client.schemas import Schemas
from jobworkerp_standalone.client.stream import ItemStream, open_stream
from jobworkerp_standalone.pb.jobworkerp.service import (
    JobProcessingStatusServiceStub,
    JobRequest,
    JobResultServiceStub,
    JobServiceStub,
    ListenRequest,
    RunnerServiceStub,
    WorkerInstanceServiceStub,
    WorkerServiceStub,
)
from jobworkerp_standalone.pb.jobworkerp.standalone import WorkflowEventServiceStub, WorkflowServiceStub

AUTH_HEADER: Final = "jobworkerp-auth"
_HEALTH_CHECK: Final = "/grpc.health.v1.Health/Check"
_CONNECT_LIMIT: Final = 10.0
_JOB_SERVICE: Final = "/jobworkerp.service.JobService"
_RESULT_SERVICE: Final = "/jobworkerp.service.JobResultService"


class Client:
    """The services of one server. Made by ``connect``.

    Every call raises ``CallFailed`` where the server answers with an error and ``Unreachable`` where it is not there.
    """

    def __init__(self, channel: CallChannel, metadata: Metadata) -> None:
        self._channel = channel
        self.metadata = metadata
        """What is sent with each call."""
        self.runner = RunnerServiceStub(channel, metadata=metadata)
        self.worker = WorkerServiceStub(channel, metadata=metadata)
        self.job = JobServiceStub(channel, metadata=metadata)
        self.result = JobResultServiceStub(channel, metadata=metadata)
        self.status = JobProcessingStatusServiceStub(channel, metadata=metadata)
        self.instance = WorkerInstanceServiceStub(channel, metadata=metadata)
        self.workflow = WorkflowServiceStub(channel, metadata=metadata)
        self.workflow_events = WorkflowEventServiceStub(channel, metadata=metadata)
        self.schemas = Schemas(self.runner, self.worker)

    @property
    def address(self) -> ServerAddress:
        """Return where the server is."""
        return self._channel.address

    async def is_serving(self) -> bool:
        """Return whether the server calls itself healthy. Needs no token."""
        from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse  # noqa: PLC0415 - seldom used

        call = self._channel.request(
            _HEALTH_CHECK, Cardinality.UNARY_UNARY, HealthCheckRequest, HealthCheckResponse, metadata=self.metadata
        )
        async with call:
            await call.send_message(HealthCheckRequest(), end=True)
            reply = await call.recv_message()
        return reply is not None and reply.status == HealthCheckResponse.SERVING

    def enqueue_for_stream(self, request: JobRequest) -> AbstractAsyncContextManager[ItemStream]:
        """Enqueue a job and open the stream of its items; entered when the job was accepted."""
        return open_stream(self._channel, f"{_JOB_SERVICE}/EnqueueForStream", request, self.metadata)

    def listen_stream(self, request: ListenRequest) -> AbstractAsyncContextManager[ItemStream]:
        """Open the stream of a job that was enqueued before; entered when its first item is there."""
        return open_stream(self._channel, f"{_RESULT_SERVICE}/ListenStream", request, self.metadata)


@asynccontextmanager
async def connect(
    address: str | ServerAddress,
    token: str | None = None,
    timeout: float | None = None,
    *,
    session_id: str | None = None,
    user_id: str | None = None,
) -> AsyncIterator[Client]:
    """Connect to a server and close the connection on leaving.

    Args:
        address: for example ``http://127.0.0.1:9000``; ``https`` switches TLS on, without a scheme it is off.
        token: the server's ``AUTH_TOKEN``, where it has one.
        timeout: seconds after which a call is given up; a stream only until it begins. None waits for ever.
        session_id: metadata ``session_id``, kept with the jobs that are enqueued here.
        user_id: metadata ``user_id``, likewise.

    Raises:
        ValueError: the address is none.
        ClientError: the token cannot be sent.
        Unreachable: there is no such server.
    """
    if isinstance(address, str):
        address = parse_server_address(address)
    metadata = _metadata(token, session_id, user_id)
    channel = CallChannel(address, timeout)
    try:
        await channel.open(min(_CONNECT_LIMIT, timeout or _CONNECT_LIMIT))
        yield Client(channel, metadata)
    finally:
        channel.close()


@asynccontextmanager
async def connect_socket(connection: socket.socket, name: str, token: str | None = None) -> AsyncIterator[Client]:
    """Talk over a connection that is open already, and close it on leaving.

    Args:
        connection: a stream socket whose other end speaks gRPC.
        name: what its server is called in errors.
        token: the server's ``AUTH_TOKEN``, where it has one.

    Raises:
        ClientError: the token cannot be sent.
        Unreachable: what is at the other end does not answer.
    """
    channel = SocketChannel(ServerAddress(name, 0), connection)
    try:
        metadata = _metadata(token, None, None)
        await channel.open(_CONNECT_LIMIT)
        yield Client(channel, metadata)
    finally:
        channel.close()


def _metadata(token: str | None, session_id: str | None, user_id: str | None) -> Metadata:
    metadata: dict[str, str | bytes] = {}
    if token:
        if not (token.isascii() and token.isprintable()):
            raise ClientError("the token holds characters that cannot be sent; use visible ASCII characters")
        metadata[AUTH_HEADER] = token
    for key, value in (("session_id", session_id), ("user_id", user_id)):
        if value:
            metadata[key] = value if value.isascii() and value.isprintable() else quote(value)
    return metadata
