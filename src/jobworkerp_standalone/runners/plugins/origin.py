"""Which plugins there are: those dropped into directories, those installed, and those made by RunnerService.Create."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass, field, replace
from typing import Final

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from jobworkerp_standalone.jobs.errors import AlreadyExists, InvalidRequest, JobError, LoadFailed, Retryable
from jobworkerp_standalone.runners.host import Host
from jobworkerp_standalone.runners.origin import Definition, Offer, Origin, Shelf
from jobworkerp_standalone.runners.plugins.loading import load_plugin
from jobworkerp_standalone.runners.plugins.sources import (
    Fingerprint,
    Source,
    check_is_plugin,
    directories,
    dropped_in,
    entry_points,
    parse_definition,
)

_log = logging.getLogger(__name__)
_PLUGIN: Final = 0
_LOOK_SEC: Final = 0.5
"""How often files are looked at, where they are followed."""
_RETRY_SEC: Final = 30.0
_AT_ONCE: Final = 4
"""Plugins that are loaded at a time."""


@dataclass(slots=True)
class _Plugin:
    """A plugin that is looked after."""

    source: Source
    created: Definition | None = None
    seen: Fingerprint | None = None
    """What it looked like when it was loaded last, with or without success."""
    offered: list[str] = field(default_factory=list[str])
    retry_at: float | None = None
    loading: bool = False


def make(host: Host) -> Origin:
    """Return the origin of this daemon."""
    return PluginOrigin(host)


class PluginOrigin:
    """Looks after plugins: each is offered when it was loaded, and again when it changed."""

    runner_type: int = _PLUGIN

    def __init__(self, host: Host) -> None:
        self._host = host
        self._follows = host.settings.plugins_reload == "true" or (
            host.settings.plugins_reload == "auto" and sys.stderr.isatty()
        )
        self._plugins: dict[str, _Plugin] = {}
        self._shelf: Shelf | None = None
        self._forgotten: set[str] = set()
        self._limiter = anyio.CapacityLimiter(_AT_ONCE)
        self._offering = anyio.Lock()

    async def run(self, shelf: Shelf) -> None:
        """Offer what is there, and follow the files if that is wanted."""
        self._shelf = shelf
        for source in await anyio.to_thread.run_sync(lambda: list(entry_points())):
            self._plugins.setdefault(str(source), _Plugin(source))
        async with anyio.create_task_group() as first:
            await self._find()
            await self._look(shelf, first, list(self._plugins))
        shelf.settled(self)
        async with anyio.create_task_group() as later:
            while True:
                await anyio.sleep(_LOOK_SEC)
                if self._follows:
                    await self._find()
                await self._look(shelf, later, [key for key, each in self._plugins.items() if self._is_looked_at(each)])

    async def restore(self, shelf: Shelf, definition: Definition) -> None:  # noqa: ARG002 - ``run`` offers it
        """Look after a plugin that was created in an earlier run of the daemon."""
        self._plugins[_key(definition)] = _Plugin(parse_definition(definition.text), definition)

    async def create(self, definition: Definition) -> Offer:
        """Load a plugin under the name of the definition, and look after it from now on."""
        source = parse_definition(definition.text)
        await anyio.to_thread.run_sync(check_is_plugin, source)
        if any(definition.name in each.offered for each in self._plugins.values()):
            raise AlreadyExists(f"a plugin named {definition.name!r} already exists; choose another name")
        looks = await anyio.to_thread.run_sync(source.fingerprint)
        try:
            (offer,) = _named(await load_plugin(self._host, source), definition)
        except JobError as error:
            raise LoadFailed(f"plugin {source} could not be loaded: {error}") from error
        self._plugins[_key(definition)] = _Plugin(source, definition, looks, [definition.name])
        self._forgotten.discard(definition.name)
        return offer

    async def forget(self, name: str) -> None:
        """Stop looking after a runner that was deleted."""
        self._forgotten.add(name)
        for key, plugin in list(self._plugins.items()):
            if plugin.created is not None and plugin.created.name == name:
                del self._plugins[key]
            elif name in plugin.offered:
                plugin.offered.remove(name)

    async def _find(self) -> None:
        """Look after what was dropped in since."""
        folders = directories(self._host.settings)
        for source in await anyio.to_thread.run_sync(lambda: list(dropped_in(folders))):
            self._plugins.setdefault(str(source), _Plugin(source))

    async def _look(self, shelf: Shelf, tasks: TaskGroup, keys: list[str]) -> None:
        """Begin to load what is new or has changed, and withdraw what is gone. A slow plugin holds up no other."""
        for key in keys:
            plugin = self._plugins.get(key)
            if plugin is None or plugin.loading:  # deleted meanwhile, or looked at again when it is done
                continue
            looks = await anyio.to_thread.run_sync(plugin.source.fingerprint)
            if self._plugins.get(key) is not plugin:
                continue
            if looks is None:
                await self._gone(shelf, key, plugin)
            elif looks != plugin.seen or self._is_due(plugin):
                plugin.seen, plugin.retry_at, plugin.loading = looks, None, True
                tasks.start_soon(self._load, shelf, key, plugin)

    def _is_looked_at(self, plugin: _Plugin) -> bool:
        """Whether its files are followed, or it is time to try it again."""
        return self._follows or self._is_due(plugin)

    @staticmethod
    def _is_due(plugin: _Plugin) -> bool:
        return plugin.retry_at is not None and plugin.retry_at <= anyio.current_time()

    async def _gone(self, shelf: Shelf, key: str, plugin: _Plugin) -> None:
        if plugin.offered or plugin.seen is not None:
            _log.warning("plugin %s is gone: %s", plugin.source, ", ".join(plugin.offered) or "it had no runners")
        elif plugin.created is not None and plugin.retry_at is None:
            _log.error(
                "plugin %r, which was created earlier, is away: there is no %s", plugin.created.name, plugin.source
            )
        await self._withdraw(shelf, plugin, plugin.offered)
        plugin.seen = None
        if plugin.created is None:
            self._plugins.pop(key, None)
        else:
            plugin.retry_at = anyio.current_time() + _RETRY_SEC

    async def _load(self, shelf: Shelf, key: str, plugin: _Plugin) -> None:
        try:
            async with self._limiter:
                offers = await load_plugin(self._host, plugin.source)
            if plugin.created is not None:
                offers = _named(offers, plugin.created)
            async with self._offering:
                if self._plugins.get(key) is plugin:
                    await self._offer(shelf, plugin, offers)
        except (JobError, InvalidRequest) as error:
            kept = f"; what was loaded before stays: {', '.join(plugin.offered)}" if plugin.offered else ""
            _log.error("plugin %s could not be loaded: %s%s", plugin.source, error, kept)
            if isinstance(error, Retryable):
                plugin.retry_at = anyio.current_time() + _RETRY_SEC
        except Exception:
            _log.exception("plugin %s could not be loaded", plugin.source)
        finally:
            plugin.loading = False

    async def _offer(self, shelf: Shelf, plugin: _Plugin, offers: list[Offer]) -> None:
        before, now = plugin.offered, [each.name for each in offers]
        plugin.offered = []
        for offer in offers:
            if offer.name in self._forgotten or not self._may_have(plugin, offer.name):
                continue
            if await shelf.offer(self, offer):
                plugin.offered.append(offer.name)
                _log.info("runner %s of plugin %s is there", offer.name, plugin.source)
        await self._withdraw(shelf, plugin, [name for name in before if name not in now])

    def _may_have(self, plugin: _Plugin, name: str) -> bool:
        """Whether a plugin gets a name: what was created comes first, then the first in order, loaded late or not."""
        order = list(self._plugins.values())
        for other in order:
            wanted = other.created is not None and other.created.name == name
            if other is plugin or not (wanted or name in other.offered):
                continue
            if wanted or order.index(other) < order.index(plugin):
                _log.error("runner %r of %s is left out: %s has the name", name, plugin.source, other.source)
                return False
            _log.error("runner %r of %s is left out: %s has the name", name, other.source, plugin.source)
            other.offered.remove(name)
        return True

    async def _withdraw(self, shelf: Shelf, plugin: _Plugin, names: list[str]) -> None:
        for name in list(names):
            if name in plugin.offered:
                plugin.offered.remove(name)
            await shelf.withdraw(self, name)


def _key(definition: Definition) -> str:
    return f"created {definition.name}"


def _named(offers: list[Offer], definition: Definition) -> list[Offer]:
    """Return the one runner that was asked for, under the name that was asked for.

    Raises:
        InvalidRequest: the plugin has several.
    """
    if len(offers) != 1:
        names = ", ".join(offer.name for offer in offers)
        raise InvalidRequest(
            f"definition {definition.text!r} has several runners ({names}): name one of its classes, PATH:Class"
        )
    description = definition.description or offers[0].description
    return [replace(offers[0], name=definition.name, description=description)]
