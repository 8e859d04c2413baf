"""Modules that are imported when they are first used."""

from __future__ import annotations

from importlib import import_module
from typing import Any


class LazyModule:
    """Stands for a module; the first attribute that is asked for imports it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(import_module(self._name), attribute)


def calls_of(group: str) -> Any:
    """Return the coroutines of a command group."""
    return LazyModule(f"jobworkerp_standalone.cli.calls.{group}")
