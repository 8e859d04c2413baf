"""Ctrl-C while the program is still being loaded, or is about to be gone: it ends at once, with nothing to say.

Imported before everything else.
"""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import Final

_INTERRUPTED: Final = 130


def _end(_number: int, _frame: FrameType | None) -> None:
    os._exit(_INTERRUPTED)


def _catch() -> bool:
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return False
    try:
        signal.signal(signal.SIGINT, _end)
    except ValueError:  # not the main thread
        return False
    return True


_caught = _catch()


def loaded() -> None:
    """Let Ctrl-C be an exception again, which ``main`` knows."""
    if _caught:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def ending() -> None:
    """Let Ctrl-C end what is left of the process: everything is done and said."""
    if _caught and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
