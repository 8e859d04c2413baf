"""Ctrl-C, SIGTERM and the closing of the terminal while something goes on that is to end in order."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from jobworkerp_standalone.twin_signals import TwinSignals

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """How often somebody has asked for the end."""

    def __init__(self) -> None:
        self.why = ""
        """What is said of the first, where it is not somebody at the keyboard; set before it."""
        self.first = asyncio.Event()
        """End in order."""
        self.again = asyncio.Event()
        """Do not wait any longer."""

    def hear(self) -> None:
        """Take note of one more."""
        (self.again if self.first.is_set() else self.first).set()


@contextmanager
def interrupts() -> Iterator[Interrupts]:
    """Let signals be told instead of breaking off whatever runs."""
    loop, heard, twins = asyncio.get_running_loop(), Interrupts(), TwinSignals()

    def take(number: int) -> None:
        if not twins.repeats(number):
            heard.hear()

    for number in _SIGNALS:
        loop.add_signal_handler(number, take, number)
    if hangs_up := signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup ignores it
        loop.add_signal_handler(signal.SIGHUP, heard.first.set)  # once or more: several programs send it
    try:
        yield heard
    finally:
        for number in (*_SIGNALS, *((signal.SIGHUP,) if hangs_up else ())):
            loop.remove_signal_handler(number)
