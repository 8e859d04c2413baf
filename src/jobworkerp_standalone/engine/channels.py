"""Opens channels that a running job names and nobody configured, and opens them again at the next start."""

from __future__ import annotations

import logging
from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass, replace

from jobworkerp_standalone.engine.dispatcher import Dispatcher
from jobworkerp_standalone.engine.poller import Poller
from jobworkerp_standalone.engine.worker_rules import check_name
from jobworkerp_standalone.jobs.errors import StorageError
from jobworkerp_standalone.jobs.model import DEFAULT_CHANNEL, Worker
from jobworkerp_standalone.ports import Instance, Store
from jobworkerp_standalone.settings import Settings

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ChannelOpener:
    """In one process with everything in it, a channel that a workflow names is served from then on."""

    settings: Settings
    channels: MutableMapping[str, int]
    """Open channels with their slots; everybody who asks looks here."""
    dispatcher: Dispatcher
    poller: Poller
    store: Store
    instance: Instance

    async def open(self, channel: str) -> None:
        """Open a channel that is not open.

        Raises:
            InvalidRequest: it cannot be a channel's name.
        """
        if channel != DEFAULT_CHANNEL:
            check_name("channel", channel)
        slots = self._add(channel)
        self.dispatcher.open(channel, slots)
        self.poller.nudge(0)
        _log.info(
            "channel %r is opened with %d slots because a job names it; WORKER_CHANNELS would open it at the start",
            channel,
            slots,
        )
        try:
            await self.store.note_channel(channel)
            await self._list()
        except StorageError as error:
            _log.warning("channel %r is not listed, nor opened at the next start: %s", channel, error)

    async def reopen(self, workers: Iterable[Worker]) -> None:
        """Add the channels that were opened before and have stored workers or rows. Called before slots are opened.

        Raises:
            StorageError: the store does not answer.
        """
        used = {worker.channel for worker in workers} | set(await self.store.rows_by_channel())
        again = sorted(used.intersection(await self.store.noted_channels()) - self.channels.keys())
        for channel in again:
            slots = self._add(channel)
            _log.info("channel %r is opened with %d slots because a job had it opened before", channel, slots)
        if again:
            await self._list()

    def _add(self, channel: str) -> int:
        slots = self.channels[channel] = max(1, self.settings.worker_default_concurrency)
        return slots

    async def _list(self) -> None:
        await self.store.register(replace(self.instance, channels=tuple(self.channels.items())))
