"""Speaks with the Docker daemon: the SDK blocks, so every call is made in a thread."""

from __future__ import annotations

import logging
import math
import os
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import anyio
import anyio.to_thread
import docker.errors
import docker.tls
import requests.exceptions
from docker.constants import DEFAULT_DOCKER_API_VERSION

import docker
from jobworkerp_standalone.jobs.errors import BadInput, Fatal, JobError, Retryable
from jobworkerp_standalone.runners.docker.address import DockerAddress, docker_address
from jobworkerp_standalone.runners.docker.owner import OWNER_LABEL, is_gone
from jobworkerp_standalone.runners.host import Host

_log = logging.getLogger(__name__)
T = TypeVar("T")

DEFAULT_TIMEOUT_SEC: Final = 3600
_THREADS: Final = 32
_USERS_FAULTS: Final = ("executable file not found", "no such file or directory", "unable to find user", "invalid ")
"""What Docker calls an error of its own although it lies in the order."""
_NOT_FOUND: Final = 404
_CONFLICT: Final = 409
_SERVER_ERROR: Final = 500
_IS_GONE: Final = frozenset({_NOT_FOUND, _CONFLICT})
_LET_GO_SEC: Final = 10.0
"""How long a thread whose container is gone may take to notice."""
_GRACE_SEC: Final = 5
"""What a stopped container gets between its stop signal and SIGKILL, as a command does."""


class DockerDaemon:
    """The Docker daemon, shared by all jobs of the process."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._address: DockerAddress | None = None
        self._clients: dict[int, Any] = {}
        self._short = anyio.CapacityLimiter(_THREADS)
        self._long = anyio.CapacityLimiter(math.inf)
        """Calls that last as long as a container does: the slots of channels bound them."""

    async def call(self, timeout_sec: int, step: Callable[[Any], T]) -> T:
        """Make a short call; it is not broken off in the middle, so that nothing it makes is lost.

        Args:
            timeout_sec: limit of each request to the daemon.
            step: gets the SDK's low-level client.

        Raises:
            Retryable: the daemon is not there, or failed.
            BadInput: it refused.
        """
        outcome: list[T] = []
        with anyio.CancelScope(shield=True):
            outcome.append(await anyio.to_thread.run_sync(self._translated, timeout_sec, step, limiter=self._short))
        return outcome[0]

    async def follow(self, timeout_sec: int, step: Callable[[Any], T], release: Callable[[], Awaitable[None]]) -> T:
        """Make a call that lasts. When it is cancelled ``release`` ends what its thread waits for.

        Raises: as ``call``.
        """
        ended = threading.Event()

        def run() -> T:
            try:
                return self._translated(timeout_sec, step)
            finally:
                ended.set()

        try:
            return await anyio.to_thread.run_sync(run, abandon_on_cancel=True, limiter=self._long)
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await release()
                await anyio.to_thread.run_sync(ended.wait, _LET_GO_SEC, limiter=self._long)
            raise

    async def remove(self, container: str, *, gently: bool = False) -> None:
        """Stop a container if it runs and remove it with its volumes; never fails."""

        def step(client: Any) -> None:
            if gently:
                _tolerant(lambda: client.stop(container, timeout=_GRACE_SEC))
            _tolerant(lambda: client.remove_container(container, force=True, v=True))

        try:
            await self.call(DEFAULT_TIMEOUT_SEC, step)
        except JobError as error:
            _log.warning("container %s is left behind: %s", container, error)

    async def clean_up(self) -> None:
        """Remove the containers of processes that ended without doing so."""

        def step(client: Any) -> list[str]:
            found = client.containers(all=True, filters={"label": OWNER_LABEL})
            return [each["Id"] for each in found if is_gone(each["Labels"][OWNER_LABEL])]

        try:
            orphans = await self.call(DEFAULT_TIMEOUT_SEC, step)
        except JobError as error:
            _log.info("no containers were cleaned up: %s", error)
            return
        for container in orphans:
            _log.warning("removing container %s, whose daemon is gone", container)
            await self.remove(container)

    async def aclose(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def _translated(self, timeout_sec: int, step: Callable[[Any], T]) -> T:
        try:
            return step(self._client(timeout_sec))
        except docker.errors.APIError as error:
            raise _refusal(error) from error
        except (requests.exceptions.RequestException, docker.errors.DockerException, OSError) as error:
            raise Retryable(
                f"the Docker daemon at {self._address} does not answer ({_reason(error)}); start it, or set DOCKER_HOST"
            ) from error

    def _client(self, timeout_sec: int) -> Any:
        if timeout_sec not in self._clients:
            address = self._address = docker_address(os.environ)
            self._clients[timeout_sec] = _connected(address, timeout_sec)
        return self._clients[timeout_sec]


async def clean_up(host: Host) -> None:
    """Remove what a daemon that died left behind."""
    await host.shared(DockerDaemon).clean_up()


def _connected(address: DockerAddress, timeout_sec: int) -> Any:
    """Return a client that speaks the daemon's version. One made with ``auto`` leaks its connection when that fails."""
    client: Any = docker.APIClient(
        base_url=address.url, version=DEFAULT_DOCKER_API_VERSION, timeout=timeout_sec, tls=_tls(address)
    )
    try:
        client._version = client._retrieve_server_version()
    except BaseException:
        client.close()
        raise
    return client


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


def _tolerant(step: Callable[[], object]) -> None:
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
