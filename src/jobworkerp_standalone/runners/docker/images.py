"""Sees to it that an image is there: pulled or imported once, however many jobs wait for it."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread
import docker.auth
import docker.errors
import docker.types
from docker.utils import parse_repository_tag

from jobworkerp_standalone.jobs.errors import BadInput, FetchError, JobError, Retryable
from jobworkerp_standalone.net.fetch import FetchRules, download
from jobworkerp_standalone.runners.docker.daemon import DockerDaemon
from jobworkerp_standalone.runners.host import Host
from jobworkerp_standalone.runners.threads import on_loop

_log = logging.getLogger(__name__)
Tell = Callable[[str], Awaitable[None]]
"""Hears of progress, a line at a time."""
MISSING, ALWAYS, NEVER = "missing", "always", "never"
_USERS_FAULTS: Final = ("not found", "manifest unknown", "denied", "unauthorized", "no matching manifest", "invalid")


@dataclass(frozen=True, slots=True)
class ImageSource:
    """An image, and how it comes to this machine."""

    name: str
    """With its tag or digest. Of an imported one: the name it gets."""
    platform: str = ""
    pull: str = MISSING
    """missing, always or never."""
    import_url: str = ""
    """Imported from there instead of being pulled."""


class Images:
    """Gets images; jobs that want the same one wait for one transfer."""

    def __init__(self, host: Host) -> None:
        self._daemon = host.shared(DockerDaemon)
        self._rules = FetchRules.of(host.settings)
        self._start_soon = host.start_soon
        self._transfers: dict[ImageSource, _Transfer] = {}

    async def provide(self, source: ImageSource, timeout_sec: int, tell: Tell) -> None:
        """Return when the image is there.

        Raises:
            BadInput: there is none of that name.
            Retryable: it could not be had now.
        """
        if source.pull != ALWAYS and await self._is_there(source, timeout_sec):
            return
        if source.pull == NEVER:
            raise BadInput(f"image {source.name!r} is not on this machine and pull is never; pull it, or allow that")
        transfer = self._transfers.get(source)
        if transfer is None or transfer.broken_off:
            transfer = self._transfers[source] = _Transfer()
            self._start_soon(self._carry_out, source, timeout_sec, transfer)
        await transfer.wait(tell)

    async def aclose(self) -> None:
        """Break off what nobody waits for any more."""
        for transfer in list(self._transfers.values()):
            transfer.break_off()

    async def _is_there(self, source: ImageSource, timeout_sec: int) -> bool:
        def step(client: Any) -> bool:
            try:
                client.inspect_image(source.name)
            except docker.errors.ImageNotFound:
                return False
            return True

        return await self._daemon.call(timeout_sec, step)

    async def _carry_out(self, source: ImageSource, timeout_sec: int, transfer: _Transfer) -> None:
        _log.info("%s image %s", "importing" if source.import_url else "pulling", source.name)
        try:
            with transfer.scope:
                await self._get(source, timeout_sec, transfer)
            transfer.end(Retryable(f"getting image {source.name!r} was broken off") if transfer.broken_off else None)
        except JobError as error:
            transfer.end(error)
        finally:
            if self._transfers.get(source) is transfer:
                del self._transfers[source]
            transfer.end(Retryable(f"getting image {source.name!r} was broken off"))

    async def _get(self, source: ImageSource, timeout_sec: int, transfer: _Transfer) -> None:
        if source.import_url:
            await self._import(source, timeout_sec)
        else:
            await self._daemon.follow(timeout_sec, lambda client: _pull(client, source, transfer), transfer.end_report)
        _log.info("image %s is there", source.name)

    async def _import(self, source: ImageSource, timeout_sec: int) -> None:
        repository, tag = parse_repository_tag(source.name)
        folder = await anyio.to_thread.run_sync(tempfile.mkdtemp, None, "jobworkerp-image-")
        path = Path(folder) / "image.tar"
        try:
            await download(source.import_url, path, self._rules)
            await self._daemon.call(
                timeout_sec, lambda client: client.import_image(src=str(path), repository=repository, tag=tag)
            )
        except FetchError as error:
            raise (Retryable if error.may_pass else BadInput)(f"from_src: {error}") from error
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(_discard, path)


class _Transfer:
    """An image on its way, and who waits for it."""

    def __init__(self) -> None:
        self._done: asyncio.Future[JobError | None] = asyncio.get_running_loop().create_future()
        self._listeners: list[Tell] = []
        self._waiting = 0
        self.scope = anyio.CancelScope()
        self.stream: Any = None
        """The daemon's report, once there is one."""
        self.broken_off = False

    async def wait(self, tell: Tell) -> None:
        """Wait for the end; the last one who stops waiting breaks it off."""
        self._listeners.append(tell)
        self._waiting += 1
        try:
            error = await asyncio.shield(self._done)
        finally:
            self._listeners.remove(tell)
            self._waiting -= 1
            if not self._waiting and not self._done.done():
                self.break_off()
        if error is not None:
            raise error

    async def tell(self, line: str) -> None:
        """Pass a line of progress on."""
        for listener in list(self._listeners):
            await listener(line)

    def end(self, error: JobError | None) -> None:
        """Let everybody know; the first end counts."""
        if not self._done.done():
            self._done.set_result(error)

    def break_off(self) -> None:
        """End the transfer: nobody waits for it."""
        self.broken_off = True
        self.scope.cancel()

    async def end_report(self) -> None:
        """Close the daemon's report, which ends the pull and its thread."""
        if self.stream is not None:
            await anyio.to_thread.run_sync(self.stream.close)


def _pull(client: Any, source: ImageSource, transfer: _Transfer) -> None:
    """Pull in the calling thread. The SDK's own ``pull`` cannot be broken off, so the request is made here."""
    repository, tag = parse_repository_tag(source.name)
    auth: Any = docker.auth
    registry, _ = auth.resolve_repository_name(repository)
    header = auth.get_config_header(client, registry)
    parameters = {"fromImage": repository, "tag": tag or "latest", "platform": source.platform or None}
    response = client._post(
        client._url("/images/create"),
        params=parameters,
        headers={"X-Registry-Auth": header} if header else {},
        stream=True,
        timeout=None,
    )
    client._raise_for_status(response)
    with closing(response):
        if transfer.broken_off:  # the daemon took so long to begin that nobody wants it any more
            return
        transfer.stream = docker.types.CancellableStream(client._stream_helper(response, decode=True), response)
        for report in transfer.stream:
            _heed(report, source, transfer)


def _heed(report: dict[str, Any], source: ImageSource, transfer: _Transfer) -> None:
    if "error" in report:
        text = str(report["error"])
        kind = BadInput if any(fault in text.lower() for fault in _USERS_FAULTS) else Retryable
        raise kind(f"image {source.name!r} cannot be pulled: {text}")
    status = str(report.get("status", ""))
    if status and not report.get("progressDetail"):
        layer = f"{report['id']}: " if "id" in report else ""
        _log.debug("pulling %s: %s%s", source.name, layer, status)
        on_loop(transfer.tell, f"{layer}{status}")


def _discard(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.parent.rmdir()
