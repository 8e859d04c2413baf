"""Building an environment: uv makes it in a place of its own, and it is moved where it is found once it is whole."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import anyio
import anyio.to_thread

from jobworkerp_standalone.jobs.errors import BadInput, Fatal, JobError, Retryable
from jobworkerp_standalone.runners.environment import ChildEnvironment
from jobworkerp_standalone.runners.process import Child, Exit, Output, Program, Utf8Pieces, launch
from jobworkerp_standalone.runners.python.plan import Recipe, own_python, uv_options, without_credentials
from jobworkerp_standalone.runners.python.shared_build import Tell
from jobworkerp_standalone.runners.python.shelf import Shelf, Site

_log = logging.getLogger(__name__)
_LOOK_AGAIN_SEC: Final = 0.2
_COMMON: Final = ("--color", "never", "--no-progress", "--no-python-downloads")
_UNREACHABLE: Final = re.compile(
    r"error sending request|client error \(Connect\)|dns error|tcp connect error|timed out|connection (?:refused|reset)"
    r"|name resolution|status server error|429 Too Many|Failed to connect to|Could not resolve host",
    re.IGNORECASE,
)
_NO_PYTHON: Final = re.compile(r"No interpreter found|inspect Python interpreter|interpreter at path|No virtual env")
_TEXT_LIMIT: Final = 4096
"""How much of what uv says goes into a failure text; the log has all of it."""
_UNTOLD: Final = ("Creating virtual environment at", "Activate with")


@dataclass(frozen=True, slots=True)
class Builder:
    """Builds environments on a shelf. ``environment`` is what child processes see."""

    shelf: Shelf
    environment: ChildEnvironment

    async def build(self, recipe: Recipe, tell: Tell) -> None:
        """Build what the shelf does not have. Broken off, it leaves nothing behind.

        Raises:
            JobError: it cannot be built, or not now.
        """
        async with self._alone(recipe.key, tell):
            if held := await anyio.to_thread.run_sync(self.shelf.take, recipe.key):
                held.release()
                return
            site = await anyio.to_thread.run_sync(self.shelf.begin, recipe.key)
            try:
                await _Work(recipe, site, self.environment, tell).do()
                await anyio.to_thread.run_sync(self.shelf.place, site, recipe.title)
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(self.shelf.discard, site)
        await anyio.to_thread.run_sync(self.shelf.evict, recipe.key)

    @asynccontextmanager
    async def _alone(self, key: str, tell: Tell) -> AsyncIterator[None]:
        """Be the only one, of all processes, that builds ``key``."""
        waiting = False
        while (fd := await anyio.to_thread.run_sync(self.shelf.lock_key, key)) is None:
            if not waiting:
                tell("another process builds the same environment: waiting for it")
            waiting = True
            await anyio.sleep(_LOOK_AGAIN_SEC)
        try:
            yield
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self.shelf.unlock_key, key, fd)


class _Work:
    """The steps of one build."""

    def __init__(self, recipe: Recipe, site: Site, environment: ChildEnvironment, tell: Tell) -> None:
        self._recipe = recipe
        self._site = site
        self._tell = tell
        self._uv = recipe.uv
        self._variables = environment.with_variables(uv_options(os.environ))

    async def do(self) -> None:
        self._uv = self._uv or await anyio.to_thread.run_sync(_own_uv)
        self._say(f"building {self._recipe.title}")
        python = self._recipe.python or own_python()
        folder = str(self._site.folder)
        made, said = await self._run("venv", "--no-project", "--relocatable", "--python", python, folder)
        if made.code != 0:
            raise await self._without_python(python, made, said)
        if not await anyio.to_thread.run_sync(os.path.exists, f"{folder}/bin/python"):
            raise Fatal(f"uv_path {self._uv!r} made no environment: give the path of the program uv, or leave it out")
        if self._recipe.requirements:
            lines = "\n".join((*self._recipe.requirements, ""))
            options = ("--python", f"{folder}/bin/python", "--compile-bytecode", "-r", "-")
            made, said = await self._run("pip", "install", *options, stdin=lines.encode())
        if made.code != 0:
            raise _failure(made, said)

    async def _run(self, *words: str, stdin: bytes = b"") -> tuple[Exit, str]:
        """Run uv; return how it ended and what it said."""
        argv = (self._uv, *words[:1], *_COMMON, *words[1:]) if words[0] != "pip" else (self._uv, *words, *_COMMON)
        program = Program(tuple(os.fsencode(word) for word in argv), self._variables)
        try:
            child = await launch(program, stdin, extra_fd=self._site.lock_fd)
        except (Retryable, BadInput) as error:
            given = f"uv_path {self._uv!r} cannot be used" if self._recipe.uv else "uv cannot be started"
            raise Fatal(f"{given}: {error}") from error
        async with child:
            said = await self._listen(child)
            return await child.wait(), said

    async def _listen(self, child: Child) -> str:
        """Tell each line as it comes."""
        decoders = (Utf8Pieces(), Utf8Pieces())
        said: list[str] = []
        rest = ["", ""]
        while pieces := await child.read():
            for output, data in pieces:
                *lines, rest[output] = (rest[output] + decoders[output].decode(data)[0]).split("\n")
                said += [self._say(line) for line in lines]
        said += [self._say(line) for line in rest]
        return "\n".join(line for line in said if line)

    def _say(self, line: str) -> str:
        line = without_credentials(line.rstrip()).replace(str(self._site.folder), "the environment")
        if line and not line.startswith(_UNTOLD):
            _log.info("environment %s: %s", self._recipe.key, line)
            self._tell(line)
        return line

    async def _without_python(self, python: str, end: Exit, said: str) -> JobError:
        """Say why there is no environment for this Python."""
        if not _NO_PYTHON.search(said):
            return _failure(end, said)
        there = await self._installed()
        return Fatal(
            f"python_version {python!r} is not on this machine, and none is downloaded (there: {there}): "
            "install it, name one of these, or leave python_version empty for the daemon's own"
        )

    async def _installed(self) -> str:
        program = Program(
            tuple(map(os.fsencode, (self._uv, "python", "list", "--only-installed", *_COMMON, "--output-format=json"))),
            self._variables,
        )
        output = bytearray()
        async with await launch(program) as child:
            while pieces := await child.read():
                output += b"".join(data for source, data in pieces if source is Output.STDOUT)
            await child.wait()
        try:
            found: list[dict[str, Any]] = json.loads(output)
            return ", ".join(f"{each['version']} at {each['path']}" for each in found) or "none"
        except (ValueError, KeyError, TypeError):
            return "unknown"


def _failure(end: Exit, said: str) -> JobError:
    """Say why uv failed."""
    _before, error, text = said.rpartition("error: ")
    text = (text if error else said).strip()
    shown = text if len(text) <= _TEXT_LIMIT else f"{text[:_TEXT_LIMIT]}..."
    if end.code is None:
        return Retryable(f"the environment could not be built: uv was {end}: {shown}")
    if _UNREACHABLE.search(text):
        return Retryable(f"the environment could not be built, the package index could not be reached: {shown}")
    return Fatal(f"the environment could not be built: {shown}")


@cache
def _own_uv() -> str:
    """Return the uv that came with this program, else the one on PATH."""
    import uv  # noqa: PLC0415 - only where an environment is built

    try:
        return uv.find_uv_bin()
    except FileNotFoundError:
        found = shutil.which("uv")
    if found is None:
        raise Fatal("the program uv is not there: install the package uv beside this program, or set uv_path")
    return found
