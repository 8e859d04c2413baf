"""When a command collects garbage: not while modules are loaded, which makes much that stays and drops little."""

from __future__ import annotations

import gc


def loading() -> None:
    """Collect nothing until ``at_work``."""
    gc.disable()


def at_work() -> None:
    """Collect from here on, and never look again at what was loaded, which lives as long as the process."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def ending() -> None:
    """Leave what is there to the end of the process, so that the interpreter does not go through it once more."""
    gc.freeze()
