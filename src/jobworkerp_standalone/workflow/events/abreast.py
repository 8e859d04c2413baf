"""How far behind what comes somebody is, for those who wait until he has looked at it."""

from __future__ import annotations

from typing import Final

import anyio

_LONGEST_SEC: Final = 5.0
"""How long anybody waits: who is slow, or cannot go on, holds up nobody else."""


class Abreast:
    """Counts what comes and what was looked at."""

    def __init__(self) -> None:
        self._came = 0
        self._looked = 0
        self._let_go = 0
        """As many of those that came are waited for no more."""
        self._change = anyio.Event()

    def came(self) -> None:
        """One more has come."""
        self._came += 1

    def looked(self) -> None:
        """One more was looked at, with all that comes of it."""
        self._looked += 1
        self._tell()

    def let_go(self) -> None:
        """Let nobody wait for what has come until now: it takes longer."""
        self._let_go = self._came
        self._tell()

    def lost(self) -> None:
        """Nothing that has come until now is looked at any more."""
        self._looked = self._came
        self._tell()

    async def caught_up(self) -> None:
        """Return when all that has come until now was looked at, or is waited for no more; in some seconds anyway."""
        wanted = self._came
        with anyio.move_on_after(_LONGEST_SEC):
            while max(self._looked, self._let_go) < wanted:
                await self._change.wait()

    def _tell(self) -> None:
        self._change.set()
        self._change = anyio.Event()
