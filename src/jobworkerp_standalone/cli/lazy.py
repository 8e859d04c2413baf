"""Modules that are imported when they are first used: with the first one the work of a command begins."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from jobworkerp_standalone.cli.garbage import at_work


class LazyModule:
    """Stands for a module; the first attribute that is asked for imports it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        module = import_module(self._name)
        at_work()
        return getattr(module, attribute)


def calls_of(group: str) -> Any:
    """Return the coroutines of a command group."""
    return LazyModule(f"jobworkerp_standalone.cli.calls.{group}")
