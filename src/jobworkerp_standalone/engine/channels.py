"""Opens channels that a running job names and nobody configured."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from dataclasses import dataclass, replace

from jobworkerp_standalone.engine.dispatcher import Dispatcher
from jobworkerp_standalone.engine.poller import Poller
from jobworkerp_standalone.engine.worker_rules import check_name
from jobworkerp_standalone.jobs.errors import StorageError
from jobworkerp_standalone.jobs.model import DEFAULT_CHANNEL
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
        slots = max(1, self.settings.worker_default_concurrency)
        self.channels[channel] = slots
        self.dispatcher.open(channel, slots)
        self.poller.nudge(0)
        _log.info(
            "channel %r is opened with %d slots because a job names it; WORKER_CHANNELS would open it at the start",
            channel,
            slots,
        )
        try:
            await self.store.register(replace(self.instance, channels=tuple(self.channels.items())))
        except StorageError as error:
            _log.warning("channel %r is not listed with this process: %s", channel, error)
