"""Lines from standard input, read while something else goes on."""

from __future__ import annotations

import asyncio
import os
import sys
import termios
from contextlib import suppress
from typing import Final

from jobworkerp_standalone.cli.reading import VALUE

_PART: Final = 65_536


class TypedLines:
    """What somebody types; read only while a line is waited for."""

    def __init__(self) -> None:
        self._rest = b""

    def forget(self) -> None:
        """Forget what was typed at a terminal until now: it is no answer to what is asked next."""
        with suppress(AttributeError, OSError, ValueError, termios.error):  # closed, or no terminal
            descriptor = sys.stdin.fileno()
            if os.tcgetpgrp(descriptor) == os.getpgrp():  # who is in the background would be stopped
                termios.tcflush(descriptor, termios.TCIFLUSH)
                self._rest = b""

    async def line(self) -> str | None:
        """Wait for a line; None where none will come."""
        while b"\n" not in self._rest:
            part = await _part()
            if not part or len(self._rest) > VALUE:
                return None
            self._rest += part
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode("utf-8", "replace").strip()


async def _part() -> bytes:
    """Return what comes next; nothing at the end, or where standard input cannot be waited for."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    try:
        descriptor = sys.stdin.fileno()
        loop.add_reader(descriptor, ready.set)
    except (AttributeError, OSError, ValueError):  # closed, or a file
        return b""
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)
    try:
        return os.read(descriptor, _PART)
    except OSError:  # the terminal has gone
        return b""
