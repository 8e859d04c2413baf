"""What becomes of containers when they ended, also where the process that ran them is gone by then."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Self

import anyio

from jobworkerp_standalone.jobs.errors import BadInput, JobError
from jobworkerp_standalone.runners.docker.daemon import REMOVE_TIMEOUT_SEC, DockerDaemon, tolerant
from jobworkerp_standalone.runners.docker.owner import JOB_LABEL, OWNER_LABEL, is_gone, this_process
from jobworkerp_standalone.runners.host import Host

_log = logging.getLogger(__name__)
LIFETIME_LABEL: Final = "jobworkerp.lifetime"
ALWAYS, NEVER, EVENTUALLY = "always", "never", "eventually"
_OWNER: Final = this_process()
_GRACE_SEC: Final = 5
"""What a stopped container gets between its stop signal and SIGKILL, as a command does."""
_LONGEST_SEC: Final = 100 * 365 * 86_400.0


@dataclass(frozen=True, slots=True)
class Lifetime:
    """When a container that ended is removed: at once, never, or some time later."""

    cleanup: str = ALWAYS
    after_ms: int = 0
    """Between its end and its removal, with ``eventually``."""

    @classmethod
    def read(cls, cleanup: str, after_ms: int) -> Self:
        """Return what the args of a job say.

        Raises:
            BadInput: they contradict themselves.
        """
        cleanup = cleanup.strip().lower() or ALWAYS
        if cleanup not in (ALWAYS, NEVER, EVENTUALLY):
            raise BadInput(f"cleanup {cleanup!r} of the args is not one of always, never, eventually")
        if after_ms and cleanup != EVENTUALLY:
            raise BadInput(f"cleanup_after_ms of the args goes with cleanup eventually, not with {cleanup}")
        return cls(cleanup, after_ms)

    @classmethod
    def of_label(cls, text: str) -> Self:
        """Return what a container is marked with; without a mark it is removed at once."""
        cleanup, _, after_ms = text.partition(" ")
        return cls(cleanup or ALWAYS, int(after_ms) if after_ms.isdecimal() else 0)

    def __str__(self) -> str:
        return f"{EVENTUALLY} {self.after_ms}" if self.cleanup == EVENTUALLY else self.cleanup


def labels(job_id: int, lifetime: Lifetime) -> dict[str, str]:
    """Return the marks of a container of ours."""
    return {OWNER_LABEL: _OWNER, JOB_LABEL: str(job_id), LIFETIME_LABEL: str(lifetime)}


class Lifetimes:
    """Ends containers; one for each process. The first use takes over what processes left behind that are gone."""

    def __init__(self, host: Host) -> None:
        self._daemon = host.shared(DockerDaemon)
        self._start_soon = host.start_soon
        host.start_soon(self._take_over)

    async def end(self, container: str, lifetime: Lifetime, *, gently: bool = False) -> None:
        """Stop a container if it runs, and remove it now or later, or not at all; never fails.

        ``gently`` lets one that is removed now end by itself, which costs a request where it has ended.
        """
        if lifetime.cleanup == ALWAYS:
            await self._tried(container, lambda client: _remove(client, container, gently=gently))
            return
        await self._tried(container, lambda client: _stop_what_ran(client, container))
        if lifetime.cleanup == EVENTUALLY:
            self._start_soon(self._remove_later, container, lifetime.after_ms / 1000)

    async def remove(self, container: str, *, gently: bool = False) -> None:
        """Remove a container at once; never fails."""
        await self.end(container, Lifetime(), gently=gently)

    async def _remove_later(self, container: str, delay_sec: float) -> None:
        """Remove a container when its time has come; a process that ends before leaves that to the next one."""
        await anyio.sleep(min(max(0.0, delay_sec), _LONGEST_SEC))
        await self.remove(container)

    async def _take_over(self) -> None:
        def step(client: Any) -> list[dict[str, Any] | None]:
            found = client.containers(all=True, filters={"label": OWNER_LABEL})
            orphans = [each["Id"] for each in found if is_gone(each["Labels"][OWNER_LABEL])]
            return [_inspected(client, each) for each in orphans]

        try:
            orphans = await self._daemon.call(REMOVE_TIMEOUT_SEC, step)
        except JobError as error:
            _log.info("no containers were cleaned up: %s", error)
            return
        for orphan in filter(None, orphans):
            await self._end_orphan(orphan["Id"], orphan["State"], orphan["Config"]["Labels"])

    async def _end_orphan(self, container: str, state: Mapping[str, Any], marks: Mapping[str, str]) -> None:
        lifetime = Lifetime.of_label(marks.get(LIFETIME_LABEL, ""))
        if lifetime.cleanup == ALWAYS or state["Running"]:
            _log.warning("ending container %s, whose daemon is gone", container)
            await self.end(container, lifetime)
        elif lifetime.cleanup == EVENTUALLY:
            ended_for = datetime.now(UTC) - datetime.fromisoformat(state["FinishedAt"])
            self._start_soon(self._remove_later, container, lifetime.after_ms / 1000 - ended_for.total_seconds())

    async def _tried(self, container: str, step: Callable[[Any], None]) -> None:
        try:
            await self._daemon.call(REMOVE_TIMEOUT_SEC, step)
        except JobError as error:
            _log.warning("container %s is left behind: %s", container, error)


async def take_over(host: Host) -> None:
    """End what a daemon that died left behind."""
    host.shared(Lifetimes)


def _remove(client: Any, container: str, *, gently: bool) -> None:
    if gently:
        tolerant(lambda: client.stop(container, timeout=_GRACE_SEC))
    tolerant(lambda: client.remove_container(container, force=True, v=True))


def _stop_what_ran(client: Any, container: str) -> None:
    """Stop a container; one that never ran has nothing to be kept for, and would keep its name from others."""
    state = _inspected(client, container)
    if state is not None and state["State"]["Status"] == "created":
        _remove(client, container, gently=False)
    elif state is not None:
        tolerant(lambda: client.stop(container, timeout=_GRACE_SEC))


def _inspected(client: Any, container: str) -> dict[str, Any] | None:
    found: list[dict[str, Any]] = []
    tolerant(lambda: found.append(client.inspect_container(container)))
    return found[0] if found else None
