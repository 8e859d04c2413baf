"""Which interpreter a plugin runs in: the daemon's own, or that of an environment made for it."""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio.to_thread

from jobworkerp_standalone.jobs.errors import Fatal
from jobworkerp_standalone.plugin.errors import PluginMistake
from jobworkerp_standalone.runners.host import Host
from jobworkerp_standalone.runners.plugins.requirements import Requirements, read_requirements
from jobworkerp_standalone.runners.plugins.sources import Source

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """An interpreter and what it sees."""

    python: str
    environment: Mapping[bytes, bytes]


async def requirements_of(source: Source) -> Requirements | None:
    """Return what a plugin needs beside this program; None where it runs in the daemon's own environment.

    Raises:
        Fatal: what it declares cannot be read.
    """
    if source.installed:
        return None
    try:
        return await anyio.to_thread.run_sync(read_requirements, source.where)
    except (PluginMistake, OSError) as error:
        raise Fatal(str(error)) from error


@asynccontextmanager
async def place_of(host: Host, source: Source) -> AsyncIterator[Place]:
    """Hold the interpreter of a plugin; its environment is built if it is not there.

    Raises:
        JobError: it cannot be built, or not now.
    """
    wanted = await requirements_of(source)
    if wanted is None:
        yield Place(sys.executable, host.child_environment.with_variables({}))
        return
    from jobworkerp_standalone.runners.python.plan import Recipe  # noqa: PLC0415 - only for those with requirements
    from jobworkerp_standalone.runners.python.store import EnvironmentStore  # noqa: PLC0415

    store = host.shared(EnvironmentStore)

    async def report(line: str) -> None:
        _log.info("plugin %s: %s", source, line)

    held = await store.acquire(Recipe(wanted.python, wanted.packages), report)
    try:
        yield Place(held.python, store.seen_by_scripts(held).with_variables({}))
    finally:
        held.release()
