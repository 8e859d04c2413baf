"""Speaks with the Docker daemon: the SDK blocks, so every call is made in a thread."""

from __future__ import annotations

import math
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import Any, Final, TypeVar

import docker.errors
import docker.tls
import requests.exceptions
from docker.constants import DEFAULT_DOCKER_API_VERSION

import docker
from jobworkerp_standalone.jobs.errors import BadInput, Fatal, JobError, Retryable
from jobworkerp_standalone.runners.docker.address import DockerAddress, docker_address
from jobworkerp_standalone.runners.host import Host
from jobworkerp_standalone.runners.threads import Release, Threads, Undo

T = TypeVar("T")

DEFAULT_TIMEOUT_SEC: Final = 3600
_THREADS: Final = 32
_USERS_FAULTS: Final = ("executable file not found", "no such file or directory", "unable to find user", "invalid ")
"""What Docker calls an error of its own although it lies in the order."""
_NOT_FOUND: Final = 404
CONFLICT: Final = 409
_SERVER_ERROR: Final = 500
_IS_GONE: Final = frozenset({_NOT_FOUND, CONFLICT})
_LET_GO_SEC: Final = 5.0
"""How long a cancelled job waits for its thread; a Docker daemon that does not answer holds nobody up."""
REMOVE_TIMEOUT_SEC: Final = 10
"""Limit of a request that removes something; the Docker daemon goes on with it."""
_KEPT_CLIENTS: Final = 8


class DockerDaemon:
    """The Docker daemon, shared by all jobs of the process."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._address: DockerAddress | None = None
        self._clients: dict[int, Any] = {}
        self._making = threading.Lock()
        self._short = Threads(host, "docker", _THREADS)
        self._long = Threads(host, "docker container", math.inf)
        """Calls that last as long as a container does: the slots of channels bound them."""

    async def call(self, timeout_sec: int, step: Callable[[Any], T], undo: Undo[T] | None = None) -> T:
        """Make a short call.

        Args:
            timeout_sec: limit of each request to the daemon.
            step: gets the SDK's low-level client.
            undo: gets what it made, when nobody wants it any more.

        Raises:
            Retryable: the daemon is not there, or failed.
            BadInput: it refused.
        """
        return await self._short.run(partial(self._translated, timeout_sec, step), patience_sec=_LET_GO_SEC, undo=undo)

    async def follow(self, timeout_sec: int, step: Callable[[Any], T], release: Release) -> T:
        """Make a call that lasts. When it is cancelled ``release`` ends what its thread waits for.

        Raises: as ``call``.
        """
        return await self._long.run(
            partial(self._translated, timeout_sec, step), patience_sec=_LET_GO_SEC, release=release
        )

    async def aclose(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def _translated(self, timeout_sec: int, step: Callable[[Any], T]) -> T:
        try:
            with self._client(timeout_sec) as client:
                return step(client)
        except docker.errors.APIError as error:
            raise _refusal(error) from error
        except (requests.exceptions.RequestException, docker.errors.DockerException, OSError) as error:
            raise Retryable(
                f"the Docker daemon at {self._address} does not answer ({_reason(error)}); start it, or set DOCKER_HOST"
            ) from error

    @contextmanager
    def _client(self, timeout_sec: int) -> Iterator[Any]:
        """Lend a client with this limit. Those of a few limits are kept, with their connections."""
        client = self._clients.get(timeout_sec)
        if client is None:
            self._address = address = docker_address(os.environ)
            made = _connected(address, timeout_sec)
            with self._making:
                if len(self._clients) < _KEPT_CLIENTS:
                    client = self._clients.setdefault(timeout_sec, made)
            if client is not made:
                with closing(made):
                    yield client or made
                return
        yield client


def _connected(address: DockerAddress, timeout_sec: int) -> Any:
    """Return a client that speaks the daemon's version. One made with ``auto`` leaks its connection when that fails."""
    _probe(address)
    client: Any = docker.APIClient(
        base_url=address.url, version=DEFAULT_DOCKER_API_VERSION, timeout=timeout_sec, tls=_tls(address)
    )
    if address.url.startswith("unix://"):
        client.headers["Connection"] = "close"  # the SDK would keep connections for each URL, and never use them again
    try:
        client._version = client._retrieve_server_version()
    except BaseException:
        client.close()
        raise
    return client


def _probe(address: DockerAddress) -> None:
    """Fail where nothing listens: the SDK would leave the socket that could not connect to the garbage collector."""
    if address.url.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(REMOVE_TIMEOUT_SEC)
            probe.connect(address.url.removeprefix("unix://"))


def _tls(address: DockerAddress) -> Any:
    folder = address.certificates
    if folder is None:
        return False
    try:
        return docker.tls.TLSConfig(
            client_cert=(str(folder / "cert.pem"), str(folder / "key.pem")), ca_cert=str(folder / "ca.pem"), verify=True
        )
    except docker.errors.TLSParameterError as error:
        raise Fatal(f"the certificates in {folder} cannot be used for {address}: {error}") from error


def tolerant(step: Callable[[], object]) -> None:
    """Make a call whose purpose is fulfilled if the container is gone already."""
    try:
        step()
    except docker.errors.APIError as error:
        if error.status_code not in _IS_GONE:
            raise


def _refusal(error: Any) -> JobError:
    text = str(error.explanation or error).strip()
    kind = (
        Retryable
        if (error.status_code or 0) >= _SERVER_ERROR and not any(fault in text for fault in _USERS_FAULTS)
        else BadInput
    )
    return kind(f"the Docker daemon refused: {text}")


def _reason(error: BaseException) -> str:
    """Return the last cause in a few words: the SDK wraps errors several times, in dumps."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
