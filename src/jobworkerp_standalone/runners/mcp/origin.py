"""Which MCP servers there are: those of MCP_CONFIG, whose changes are followed, and those made by RunnerService.Create.

The MCP library is imported in a thread when the first server is looked after: it takes most of a second.
"""

from __future__ import annotations

import logging
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from jobworkerp_standalone.jobs.errors import AlreadyExists, InvalidRequest, LoadFailed, Retryable
from jobworkerp_standalone.runners.base import Runner
from jobworkerp_standalone.runners.host import Host
from jobworkerp_standalone.runners.mcp.config import McpServer
from jobworkerp_standalone.runners.mcp.settings_file import Configured, Mistake, read_definition, read_settings
from jobworkerp_standalone.runners.origin import Definition, Offer, Shelf

if TYPE_CHECKING:
    from jobworkerp_standalone.runners.mcp.link import Link

_log = logging.getLogger(__name__)
_MCP_SERVER: Final = 7
_GONE_LOOKS: Final = 2
"""So often in a row a file must be missing to count as removed: editors replace files."""
Seen = tuple[int, int, int] | None


class McpOrigin:
    """Looks after MCP servers: each is offered when it was reached first, and whenever its tools change."""

    runner_type: int = _MCP_SERVER

    def __init__(self, host: Host) -> None:
        self._host = host
        self._links = host.shared(Links)
        self._shelf: Shelf | None = None
        self._configured: set[str] = set()
        self._creating: set[str] = set()
        self._forgotten: set[str] = set()
        self._changing = anyio.Lock()

    async def run(self, shelf: Shelf) -> None:
        """Offer what the configuration names; go on watching it until cancelled."""
        self._shelf = shelf
        file = _SettingsFile(Path(self._host.settings.mcp_config))
        async with anyio.create_task_group() as tasks:
            await self._follow(await file.look())
            tasks.start_soon(self._settle, shelf)
            interval_ms = self._host.settings.mcp_config_watch_ms
            while interval_ms:
                await anyio.sleep(interval_ms / 1000)
                await self._follow(await file.look())

    async def restore(self, shelf: Shelf, definition: Definition) -> None:
        """Look after a server that was created in an earlier run of the daemon."""
        self._shelf = shelf
        try:
            server = _defined(definition)
        except Mistake as mistake:
            _log.error("MCP server %s, which was created, is left out: %s", definition.name, mistake)
            return
        await self._start(server)

    async def create(self, definition: Definition) -> Offer:
        """Reach a server once and look after it from now on."""
        try:
            server = _defined(definition)
        except Mistake as mistake:
            raise InvalidRequest(f"definition: {mistake}") from mistake
        name = server.name
        async with self._changing:
            if self._links.has(name):
                raise AlreadyExists(f"an MCP server named {name!r} is configured; choose another name")
            self._creating.add(name)
            link = await self._start(server)
        try:
            await link.connected()
        except BaseException as error:
            with anyio.CancelScope(shield=True):
                await self._links.remove(name)
            if isinstance(error, Retryable):
                raise LoadFailed(str(error)) from error
            raise
        finally:
            self._creating.discard(name)
        self._forgotten.discard(name)
        return self._offer_of(link)

    async def forget(self, name: str) -> None:
        """Stop looking after a server that was deleted."""
        self._forgotten.add(name)
        async with self._changing:  # not while the file is followed, which may be about to start it
            self._configured.discard(name)
            await self._links.remove(name)

    async def _settle(self, shelf: Shelf) -> None:
        for link in self._links.all():
            await link.tried.wait()
        shelf.settled(self)

    async def _follow(self, configured: Configured | None) -> None:
        """Make the links those that are configured; what has a mistake goes on as it was."""
        if configured is None:
            return
        for mistake in configured.mistakes:
            _log.error("MCP_CONFIG: %s", mistake)
        async with self._changing:
            for name in self._configured - configured.servers.keys() - configured.broken:
                await self._drop(name)
            for name, server in configured.servers.items():
                await self._adopt(name, server)

    async def _drop(self, name: str) -> None:
        _log.info("MCP server %s is no longer configured", name)
        self._configured.discard(name)
        await self._links.remove(name)
        if self._shelf is not None:
            await self._shelf.withdraw(self, name)

    async def _adopt(self, name: str, server: McpServer) -> None:
        if name in self._forgotten:
            return
        if name not in self._configured and self._links.has(name):
            _log.error("MCP_CONFIG: server %r: name: a runner that was created has it; delete that first", name)
        elif name not in self._configured or self._links.link(name).server != server:
            self._configured.add(name)
            await self._start(server)

    async def _start(self, server: McpServer) -> Link:
        make = await anyio.to_thread.run_sync(_link_class)
        return await self._links.put(make(server, self._host, self._on_tools))

    async def _on_tools(self, link: Link) -> None:
        if self._shelf is not None and link.server.name not in self._creating:
            await self._shelf.offer(self, self._offer_of(link))

    def _offer_of(self, link: Link) -> Offer:
        server, links = link.server, self._links

        def make(host: Host) -> Runner:
            from jobworkerp_standalone.runners.mcp.runner import McpRunner  # noqa: PLC0415 - imported by now

            return McpRunner(links, server.name, host)

        assert link.toolbox is not None
        methods = link.toolbox.methods()
        return Offer(server.name, server.description, server.definition, make, methods=methods)


class Links:
    """The links to all servers; they live until the last job ended."""

    def __init__(self, host: Host) -> None:  # noqa: ARG002 - as everything that is shared
        self._by_name: dict[str, Link] = {}

    def has(self, name: str) -> bool:
        """Whether there is a link of that name, connected or not."""
        return name in self._by_name

    def link(self, name: str) -> Link:
        """Return the link to a server.

        Raises:
            Retryable: there is none any more.
        """
        if name not in self._by_name:
            raise Retryable(f"MCP server {name!r} is no longer configured")
        return self._by_name[name]

    def all(self) -> list[Link]:
        """Return every link."""
        return list(self._by_name.values())

    async def put(self, link: Link) -> Link:
        """Start a link, in place of the one of that name."""
        before = self._by_name.get(link.server.name)
        self._by_name[link.server.name] = link
        try:
            if before is not None:
                await before.stop()
        finally:
            link.start()
        return link

    async def remove(self, name: str) -> None:
        """Stop a link, if it is there."""
        link = self._by_name.pop(name, None)
        if link is not None:
            await link.stop()

    async def aclose(self) -> None:
        """Stop all."""
        async with anyio.create_task_group() as tasks:
            for name in list(self._by_name):
                tasks.start_soon(self.remove, name)


class _SettingsFile:
    """MCP_CONFIG, looked at in a thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: Seen = (0, 0, 0)
        self._missed = 0

    async def look(self) -> Configured | None:
        """Return what is configured if that changed since the last look and can be read, else None."""
        return await anyio.to_thread.run_sync(self._look)

    def _look(self) -> Configured | None:
        try:
            seen = _seen(self._path)
            if seen == self._seen:
                self._missed = 0
                return None
            if seen is None and not self._is_gone():
                return None
            self._seen = seen
            return read_settings(self._path.read_text(encoding="utf-8") if seen else "", str(self._path))
        except (OSError, UnicodeDecodeError) as error:
            _log.error("MCP_CONFIG: %s cannot be read: %s; its servers stay as they were", self._path, error)
        except Mistake as mistake:
            _log.error("MCP_CONFIG: %s; its servers stay as they were", mistake)
        return None

    def _is_gone(self) -> bool:
        self._missed += 1
        return self._missed >= _GONE_LOOKS


def make(host: Host) -> McpOrigin:
    """Return the origin of MCP servers."""
    return McpOrigin(host)


def _defined(definition: Definition) -> McpServer:
    return read_definition(definition.name, definition.description, definition.text)


def _link_class() -> type[Link]:
    return import_module("jobworkerp_standalone.runners.mcp.link").Link


def _seen(path: Path) -> Seen:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ctime_ns, status.st_size, status.st_ino  # also of changed permissions
