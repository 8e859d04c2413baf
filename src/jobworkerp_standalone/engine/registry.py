"""Runner kinds that come at run time: their names and ids, and the origins that bring them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import anyio

from jobworkerp_standalone.engine.catalog import Catalog
from jobworkerp_standalone.engine.owned import OwnedTasks
from jobworkerp_standalone.engine.worker_rules import check_name
from jobworkerp_standalone.jobs.errors import AlreadyExists, InvalidRequest, NotBuilt, StorageError
from jobworkerp_standalone.ports import Clock, KnownRunner, RunnerStore
from jobworkerp_standalone.runners.host import Host
from jobworkerp_standalone.runners.origin import Definition, Offer, Origin, OriginKind
from jobworkerp_standalone.runners.spec import RunnerSpec

_log = logging.getLogger(__name__)
_START_SEC: Final = 2.0
"""How long the start waits for what is configured."""
_SETTLE_SEC: Final = 60.0
"""How long jobs wait for what is configured, before they fail because it is not there."""


@dataclass(frozen=True, slots=True)
class RegistryParts:
    """What the registry works with."""

    catalog: Catalog
    store: RunnerStore
    clock: Clock
    new_id: Callable[[], int]
    owned: OwnedTasks
    host: Host


class RunnerRegistry:
    """``runners.origin.Shelf``, and what RunnerService changes.

    An id belongs to a name and a type for as long as its row exists, whether the kind is there or not. One change at
    a time, each to its end: row, catalog and origin agree also where a caller hangs up.

    Args:
        parts: its neighbours.
        kinds: the origins that this program knows.
    """

    def __init__(self, parts: RegistryParts, kinds: Sequence[OriginKind]) -> None:
        self._parts = parts
        self._kinds = {kind.runner_type: kind for kind in kinds}
        self._origins: dict[int, Origin] = {}
        self._known: dict[str, KnownRunner] = {}
        self._holders: dict[str, Origin] = {}
        self._being_created: set[str] = set()
        self._deleted: set[str] = set()
        self._unsettled: set[int] = set()
        self._all_settled = anyio.Event()
        self._writing = anyio.Lock()

    async def load(self) -> None:
        """Read which names have ids; before workers are loaded. All of them are away until they are offered."""
        for known in await self._parts.store.all_runners():
            self._known[known.name] = known
            self._parts.catalog.kinds.set_away(known.id, known.name)

    async def start(self) -> None:
        """Start every origin that has something to look after, and give them a moment to offer it."""
        types = {known.type for known in self._known.values() if known.created}
        for runner_type, kind in self._kinds.items():
            if runner_type in types or kind.is_configured(self._parts.host.settings):
                self._unsettled.add(runner_type)
                self._origin(runner_type)
        if not self._unsettled:
            self._parts.catalog.kinds.settle()
            return
        self._parts.host.start_soon(self._settle_in_time)
        with anyio.move_on_after(_START_SEC):
            await self._all_settled.wait()

    def settled(self, origin: Origin) -> None:
        """Note that everything an origin has was tried once."""
        self._unsettled.discard(origin.runner_type)
        if not self._unsettled:
            self._all_settled.set()

    async def offer(self, origin: Origin, offer: Offer) -> bool:
        """Make a kind known, or replace the one of that name and origin; whether it was taken."""
        return await self._parts.owned.run(self._offer, origin, offer)

    async def withdraw(self, origin: Origin, name: str) -> None:
        """Take back a kind that can no longer be made."""
        await self._parts.owned.run(self._withdraw, origin, name)

    async def create(self, runner_type: int, definition: Definition) -> int:
        """Load and keep a runner that somebody asked for; return its id.

        Raises:
            InvalidRequest: it is no definition of this type.
            AlreadyExists: the name is taken.
            LoadFailed: it could not be loaded or reached; the text says why.
            NotBuilt: this version has no such origin.
        """
        self._check_free(definition.name)
        if runner_type not in self._kinds:
            raise NotBuilt(f"creating runners of type {runner_type} at run time is not available in this version")
        return await self._parts.owned.run(self._create, self._origin(runner_type), definition)

    async def delete(self, runner_id: int) -> bool:
        """Remove a runner that was not built in; whether it was there. Its workers stay, and say that it is gone."""
        return await self._parts.owned.run(self._delete, runner_id)

    def _origin(self, runner_type: int) -> Origin:
        """Return the origin of a type; the first time, it is made and looked after from then on."""
        if runner_type not in self._origins:
            origin = self._origins[runner_type] = self._kinds[runner_type].make(self._parts.host)
            self._parts.host.start_soon(self._look_after, origin)
        return self._origins[runner_type]

    async def _look_after(self, origin: Origin) -> None:
        try:
            for known in list(self._known.values()):
                if known.created and known.type == origin.runner_type:
                    self._holders[known.name] = origin
                    await origin.restore(self, Definition(known.name, known.description, known.definition))
            await origin.run(self)
        finally:
            self.settled(origin)

    async def _settle_in_time(self) -> None:
        with anyio.move_on_after(_SETTLE_SEC):
            await self._all_settled.wait()
        self._parts.catalog.kinds.settle()

    async def _offer(self, origin: Origin, offer: Offer) -> bool:
        async with self._writing:
            refusal = self._refusal(origin, offer.name)
            if refusal:
                _log.warning("runner %r of %s is left out: %s", offer.name, offer.definition, refusal)
                return False
            try:
                known = await self._remember(origin, offer.name)
            except StorageError as error:
                _log.error("runner %r of %s is left out: it got no id: %s", offer.name, offer.definition, error)
                return False
            await self._shelve(origin, known, offer)
            return True

    async def _withdraw(self, origin: Origin, name: str) -> None:
        async with self._writing:
            if self._holders.get(name) is origin:
                del self._holders[name]
                await self._parts.catalog.set_kind_away(self._known[name].id, name)

    async def _create(self, origin: Origin, definition: Definition) -> int:
        name = definition.name
        self._check_free(name)
        self._being_created.add(name)
        try:
            offer = await origin.create(definition)
            try:
                return await self._keep(origin, definition, offer)
            except BaseException:
                await origin.forget(name)
                raise
        finally:
            self._being_created.discard(name)

    async def _keep(self, origin: Origin, definition: Definition, offer: Offer) -> int:
        async with self._writing:
            known = await self._remember(origin, definition.name, definition)
            self._deleted.discard(definition.name)
            description = definition.description or offer.description
            await self._shelve(origin, known, replace(offer, name=definition.name, description=description))
            return known.id

    async def _delete(self, runner_id: int) -> bool:
        async with self._writing:
            known = next((each for each in self._known.values() if each.id == runner_id), None)
            if known is None:
                return False
            await self._parts.store.remove_runner(runner_id)
            del self._known[known.name]
            self._holders.pop(known.name, None)
            self._deleted.add(known.name)
            await self._parts.catalog.remove_kind(runner_id)
        if known.type in self._origins:  # not under the lock: its task may be about to offer the kind again
            await self._origins[known.type].forget(known.name)
        return True

    async def _remember(self, origin: Origin, name: str, created: Definition | None = None) -> KnownRunner:
        """Return what is known of a name; a new one, or one that was of another type before, gets a new id."""
        before = self._known.get(name)
        same = before is not None and before.type == origin.runner_type
        if before is not None and same and created is None:
            return before
        known = KnownRunner(
            id=before.id if before is not None and same else self._parts.new_id(),
            name=name,
            type=origin.runner_type,
            created_at_ms=self._parts.clock.now_ms(),
            created=created is not None,
            description=created.description if created else "",
            definition=created.text if created else "",
        )
        await self._parts.store.put_runner(known)
        if before is not None and not same:
            await self._parts.catalog.remove_kind(before.id)
        self._known[name] = known
        return known

    async def _shelve(self, origin: Origin, known: KnownRunner, offer: Offer) -> None:
        self._holders[known.name] = origin
        spec = RunnerSpec(
            id=known.id,
            type=known.type,
            name=known.name,
            description=offer.description,
            definition=offer.definition,
            settings_proto=offer.settings_proto,
            methods=offer.methods,
            make=offer.make,
            default_method=offer.default_method,
            created_at_ms=known.created_at_ms,
        )
        await self._parts.catalog.put_kind(spec)

    def _refusal(self, origin: Origin, name: str) -> str:
        """Return why an origin may not have a name; nothing where it may."""
        try:
            check_name("name", name)
        except InvalidRequest as error:
            return str(error)
        if name in self._being_created:
            return "a runner of that name is being created"
        if name in self._deleted:
            return "it was deleted; start the daemon again to have it back"
        holder = self._holders.get(name)
        if holder is not None and holder is not origin:
            return "a runner of another origin has the name"
        if holder is None and self._parts.catalog.kinds.by_name(name) is not None:
            return "a built-in runner has the name"
        return ""

    def _check_free(self, name: str) -> None:
        if name in self._being_created:
            raise AlreadyExists(f"a runner named {name!r} is being created; choose another name")
        known = self._known.get(name)
        if known is not None and (known.created or name in self._holders):
            raise AlreadyExists(f"a runner named {name!r} already exists; choose another name, or delete {known.id}")
        if self._parts.catalog.kinds.by_name(name) is not None:
            raise AlreadyExists(f"a built-in runner is named {name!r}; choose another name")
