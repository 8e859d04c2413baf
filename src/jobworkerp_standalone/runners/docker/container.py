"""Plays one container to its end, or one command in a kept container."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from jobworkerp_standalone.runners.docker.daemon import DockerDaemon
from jobworkerp_standalone.runners.docker.order import Order, container_config
from jobworkerp_standalone.runners.threads import on_loop

Take = Callable[[bytes, bytes], Awaitable[None]]
"""Gets each piece of stdout and stderr."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How it ended."""

    exit_code: int
    container: str
    started_at_sec: int
    elapsed_ms: int


async def create(daemon: DockerDaemon, order: Order, job_id: int) -> str:
    """Make a container and return its id."""
    config = container_config(order.config, order.source.name, job_id)
    return await daemon.call(
        order.timeout_sec, lambda client: _create(client, config, order.source.platform), daemon.remove
    )


async def play(daemon: DockerDaemon, container: str, timeout_sec: int, take: Take) -> Ended:
    """Start a container, hand its output on while it runs, and return how it ended; cancelled, it is removed."""

    def step(client: Any) -> Ended:
        with _closing(client.attach(container, stdout=True, stderr=True, stream=True, demux=True)) as output:
            started, clock = int(time.time()), time.monotonic()
            client.start(container)
            _hand_on(output, take)
        code = int(client.wait(container, timeout=None)["StatusCode"])
        return Ended(code, container, started, int((time.monotonic() - clock) * 1000))

    return await daemon.follow(timeout_sec, step, lambda: daemon.remove(container, gently=True))


async def execute(daemon: DockerDaemon, container: str, order: Order, take: Take) -> Ended:
    """Run a command in a container that is kept, and return how it ended.

    Cancelled, the container is removed: there is no other way to be sure that nothing of the command goes on in it.
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

    return await daemon.follow(order.timeout_sec, step, lambda: daemon.remove(container))


def _create(client: Any, config: dict[str, Any], platform: str) -> str:
    return client.create_container_from_config(config, None, platform or None)["Id"]


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
