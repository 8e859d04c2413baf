"""Plays one container to its end, or one command in a kept container."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import docker.errors

from jobworkerp_standalone.jobs.errors import BadInput
from jobworkerp_standalone.runners.docker.daemon import CONFLICT, DockerDaemon
from jobworkerp_standalone.runners.docker.order import Order, container_config
from jobworkerp_standalone.runners.threads import Release, Undo, on_loop

Take = Callable[[bytes, bytes], Awaitable[None]]
"""Gets each piece of stdout and stderr."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How it ended."""

    exit_code: int
    container: str
    started_at_sec: int
    elapsed_ms: int


async def create(daemon: DockerDaemon, order: Order, job_id: int, undo: Undo[str]) -> str:
    """Make a container and return its id; ``undo`` gets it where nobody wants it any more.

    Raises:
        BadInput: the name that it shall have is taken.
    """
    config = container_config(order.config, order.source.name, job_id, order.lifetime)
    return await daemon.call(order.timeout_sec, lambda client: _create(client, config, order), undo)


async def play(daemon: DockerDaemon, container: str, order: Order, take: Take, release: Release) -> Ended:
    """Start a container, hand its output on while it runs, and return how it ended.

    Cancelled, ``release`` stops it, which ends the thread that follows it.
    """

    def step(client: Any) -> Ended:
        with ExitStack() as open_:
            feed = open_.enter_context(_feeding(client, container, order.stdin)) if order.stdin else _nothing
            attached = client.attach(container, stdout=True, stderr=True, stream=True, demux=True)
            output = open_.enter_context(_closing(attached))
            started, clock = int(time.time()), time.monotonic()
            client.start(container)
            feed()
            _hand_on(output, take)
        code = int(client.wait(container, timeout=None)["StatusCode"])
        return Ended(code, container, started, int((time.monotonic() - clock) * 1000))

    return await daemon.follow(order.timeout_sec, step, release)


async def execute(daemon: DockerDaemon, container: str, order: Order, take: Take, release: Release) -> Ended:
    """Run a command in a container that is kept, and return how it ended.

    Cancelled, ``release`` removes the container: there is no other way to be sure that nothing of the command goes on.
    """

    def step(client: Any) -> Ended:
        started, clock = int(time.time()), time.monotonic()
        made = client.exec_create(
            container,
            list(order.command),
            stdin=False,
            environment=list(order.environment) or None,
            user=order.user,
            workdir=order.working_dir or None,
        )
        with _closing(client.exec_start(made["Id"], stream=True, demux=True)) as output:
            _hand_on(output, take)
        code = client.exec_inspect(made["Id"])["ExitCode"]
        elapsed_ms = int((time.monotonic() - clock) * 1000)
        return Ended(-1 if code is None else int(code), container, started, elapsed_ms)

    return await daemon.follow(order.timeout_sec, step, release)


def _create(client: Any, config: dict[str, Any], order: Order) -> str:
    try:
        return client.create_container_from_config(config, order.name or None, order.source.platform or None)["Id"]
    except docker.errors.APIError as error:
        if order.name and error.status_code == CONFLICT:
            raise BadInput(
                f"there is a container named {order.name!r} already; remove it, or give another name"
            ) from error
        raise


@contextmanager
def _feeding(client: Any, container: str, stdin: bytes) -> Iterator[Callable[[], None]]:
    """Attach to the standard input of a container that is not started yet; what is yielded begins to write to it.

    That goes on in a thread of its own beside the reading of the output, since either may wait for the other. It ends
    at the latest when this is left: a container that has ended reads no more.
    """
    attached = client.attach_socket(container, params={"stdin": 1, "stream": 1})
    stream: socket.socket = getattr(attached, "_sock", attached)
    stream.settimeout(None)
    writer = threading.Thread(target=_write, args=(stream, stdin), name="docker stdin", daemon=True)
    try:
        yield writer.start
    finally:
        with suppress(OSError):
            stream.shutdown(socket.SHUT_RDWR)
        if writer.ident is not None:
            writer.join()
        attached._response.close()
        stream.close()


def _write(stream: socket.socket, data: bytes) -> None:
    """Write all of it, and close that direction; a program may end without having read it."""
    with suppress(OSError):
        stream.sendall(data)
        stream.shutdown(socket.SHUT_WR)


def _nothing() -> None:
    """There is no input to write."""


def _hand_on(output: Any, take: Take) -> None:
    """Hand each piece to the loop, which holds the next one back until this one is taken."""
    for stdout, stderr in output:
        on_loop(take, stdout or b"", stderr or b"")


@contextmanager
def _closing(output: Any) -> Iterator[Any]:
    """Close a stream of the SDK, and the answer that it is made from, which the SDK leaves to the garbage collector."""
    try:
        yield output
    finally:
        output.close()
        output._response.close()
