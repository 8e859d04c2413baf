"""The environments of all Python workers of this process."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar, TypeVarTuple

import anyio.to_thread

from jobworkerp_standalone.jobs.errors import Fatal, Retryable
from jobworkerp_standalone.runners.environment import ChildEnvironment
from jobworkerp_standalone.runners.host import Host
from jobworkerp_standalone.runners.python.builder import Builder
from jobworkerp_standalone.runners.python.plan import Recipe
from jobworkerp_standalone.runners.python.shared_build import Report, SharedBuild, Tell
from jobworkerp_standalone.runners.python.shelf import Held, Limits, Shelf, remove_tree
from jobworkerp_standalone.settings import Settings

_OTHER_PYTHONS: Final = ("PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
"""Variables that are about the daemon's own interpreter."""
_TRIES: Final = 3
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class EnvironmentStore:
    """Hands environments out, built if they are not there; one build for all who wait for the same."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._top = _cache_folder(host.settings)
        settings = host.settings
        self._shelf = Shelf(self._top, Limits(settings.python_cache_max_environments, settings.python_cache_max_bytes))
        self._environment = host.child_environment.changed(without=_OTHER_PYTHONS)
        self._builder = Builder(self._shelf, self._environment)
        self._builds: dict[str, SharedBuild] = {}
        self._numbers = itertools.count(1)

    async def acquire(self, recipe: Recipe, report: Report) -> Held:
        """Return the environment, in use until it is released; ``report`` hears how far its building is.

        Raises:
            JobError: it cannot be built, or not now.
        """
        for _ in range(_TRIES):
            held = await self._on_disk(self._shelf.take, recipe.key)
            if held is not None:
                return held
            await self._build(recipe).wait(report)
        raise Retryable(
            "the environment was evicted as soon as it was built: raise PYTHON_CACHE_MAX_ENVIRONMENTS or "
            "PYTHON_CACHE_MAX_BYTES"
        )

    def seen_by_scripts(self, held: Held) -> ChildEnvironment:
        """Return the variables of what runs in an environment: as if it had been activated."""
        path = self._environment.with_variables({}).get(b"PATH", os.fsencode(os.defpath))
        extra = {"VIRTUAL_ENV": str(held.folder), "PATH": f"{held.folder}/bin:{os.fsdecode(path)}"}
        return self._environment.changed(extra=extra)

    async def next(self) -> str:
        """Return where the next job may make its folder."""
        return f"{self._shelf.jobs or await self._on_disk(self._shelf.open)}/{next(self._numbers)}"

    def remove(self, folder: str) -> None:
        """Have a job's folder removed soon."""
        self._host.start_soon(anyio.to_thread.run_sync, remove_tree, Path(folder))

    async def aclose(self) -> None:
        """Remove what was there for jobs of this process."""
        await anyio.to_thread.run_sync(self._shelf.close)

    async def _on_disk(self, step: Callable[[*Ts], T], *args: *Ts) -> T:
        try:
            return await anyio.to_thread.run_sync(step, *args)
        except OSError as error:
            raise Fatal(
                f"{self._top} cannot be used for Python environments ({error.strerror}): "
                "set PYTHON_CACHE_DIR to a directory that the daemon may write to"
            ) from error

    def _build(self, recipe: Recipe) -> SharedBuild:
        build = self._builds.get(recipe.key)
        if build is None or not build.open:

            async def work(tell: Tell) -> None:
                await self._builder.build(recipe, tell)

            build = self._builds[recipe.key] = SharedBuild(work)
            self._host.start_soon(self._run, recipe.key, build)
        return build

    async def _run(self, key: str, build: SharedBuild) -> None:
        try:
            await build.run()
        finally:
            if self._builds.get(key) is build:
                del self._builds[key]


def _cache_folder(settings: Settings) -> Path:
    if settings.python_cache_dir:
        return Path(settings.python_cache_dir).absolute()
    caches = os.environ.get("XDG_CACHE_HOME", "")
    if not caches.startswith("/"):
        home = os.path.expanduser("~")
        caches = f"{home}/.cache" if home.startswith("/") else f"{tempfile.gettempdir()}/{os.getuid()}"
    return Path(caches) / "jobworkerp" / "python"
