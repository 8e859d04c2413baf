"""Sites stay open for the next job with the same settings, whether its worker is static or not."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

import anyio

from jobworkerp_standalone.runners.host import Host
from jobworkerp_standalone.runners.http.site import Site, open_site

_MOST_IDLE: Final = 16
_IDLE_SEC: Final = 60.0


@dataclass(slots=True)
class _Open:
    site: Site
    users: int = 0
    idle_since: float = 0.0


class Sites:
    """One site for each settings of a worker. Those nobody uses are kept for a while, and not too many."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._open: OrderedDict[bytes, _Open] = OrderedDict()
        """Idle ones in the order in which they became so."""
        self._swept = False

    async def take(self, settings: bytes) -> Site:
        """Return the site; every ``take`` needs a ``give_back``.

        Raises:
            Fatal: the settings cannot be used.
        """
        if settings not in self._open:
            site = await open_site(settings)
            self._open.setdefault(settings, _Open(site))
        found = self._open[settings]
        found.users += 1
        return found.site

    async def give_back(self, settings: bytes) -> None:
        """Leave the site to others."""
        left = self._open[settings]
        left.users -= 1
        if left.users:
            return
        left.idle_since = anyio.current_time()
        self._open.move_to_end(settings)
        idle = self._idle()
        for key in idle[: len(idle) - _MOST_IDLE] if len(idle) > _MOST_IDLE else ():
            await self._open.pop(key).site.aclose()
        if not self._swept:
            self._swept = True
            self._host.start_soon(self._sweep)

    async def aclose(self) -> None:
        """Close everything."""
        while self._open:
            await self._open.popitem()[1].site.aclose()

    def _idle(self) -> list[bytes]:
        return [key for key, each in self._open.items() if not each.users]

    async def _sweep(self) -> None:
        """Close what is idle for long, until nothing is idle."""
        try:
            while idle := self._idle():
                oldest = self._open[idle[0]]
                wait = oldest.idle_since + _IDLE_SEC - anyio.current_time()
                if wait > 0:
                    await anyio.sleep(wait)
                else:
                    del self._open[idle[0]]
                    await oldest.site.aclose()
        finally:
            self._swept = False
