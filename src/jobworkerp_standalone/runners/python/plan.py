"""What a worker's settings ask for, and from it the recipe of an environment."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final

from jobworkerp_standalone.jobs.errors import Fatal
from jobworkerp_standalone.runners.messages import settings_of
from jobworkerp_standalone.schema.messages import message_class

_SETTINGS: Final = message_class("jobworkerp.runner.PythonCommandRunnerSettings")
_KEPT_PLANS: Final = 256
_VERSION: Final = re.compile(r"(?!-)[\w.@<>=!~,+*/-]{1,1024}")
_PROJECT: Final = re.compile(r"[A-Za-z0-9][\w.-]*(?=\s*(?:[\[<>=!~;@(,]|$))")
_AROUND_SIGNS: Final = re.compile(r"\s*([<>=!~,;()\[\]@])\s*")
_COMMENT: Final = re.compile(r"(?:^|\s)#.*$")
_INCLUDES: Final = re.compile(r"(-r|--requirements?|-c|--constraints?|-e|--editable)(?![\w-])")
_CREDENTIALS: Final = re.compile(r"(://)[^/\s]+@")


@dataclass(frozen=True, slots=True)
class Plan:
    """A worker's settings. Either ``packages`` or ``requirements_url``, or neither."""

    python: str = ""
    uv: str = ""
    packages: tuple[str, ...] = ()
    requirements_url: str = ""

    def recipe(self, requirements: str | None = None) -> Recipe:
        """Return the recipe; ``requirements`` is the text that ``requirements_url`` stands for.

        Raises:
            Fatal: the text cannot be used.
        """
        lines = self.packages if requirements is None else tuple(_lines(requirements, self.requirements_url))
        return Recipe(self.python, lines, self.uv)


@dataclass(frozen=True)
class Recipe:
    """What an environment is built from. Recipes with the same key make the same environment."""

    python: str
    """Empty: the daemon's own."""
    requirements: tuple[str, ...]
    uv: str = ""
    """The program; empty: the one that came along. Whatever it is, the environment is the same."""

    @cached_property
    def key(self) -> str:
        """Name the environment: by python, requirements however they are written, and options of uv."""
        python = self.python or f"{own_python()} {platform.python_version()}"
        lines = [_normal(line) for line in self.requirements]
        if not any(line.startswith("-") for line in lines):
            lines = sorted(set(lines))
        return hashlib.sha256(json.dumps([python, lines, sorted(uv_options(os.environ).items())]).encode()).hexdigest()[
            :32
        ]

    @property
    def title(self) -> str:
        """Describe it in a log line."""
        python = self.python or platform.python_version()
        return f"Python {python} with {without_credentials(', '.join(self.requirements)) or 'no packages'}"


@lru_cache(_KEPT_PLANS)
def read_plan(settings: bytes) -> Plan:
    """Decode and check a worker's settings.

    Raises:
        Fatal: no environment can be made from them; the text names the field.
    """
    given = settings_of(_SETTINGS, settings)
    python = given.python_version.strip()
    if python and not _VERSION.fullmatch(python):
        raise Fatal(f"python_version {python!r} is not a version: give one like 3.12")
    if "\0" in given.uv_path:
        raise Fatal("uv_path holds a NUL character: give the path of the program uv, or leave it out")
    wanted = given.WhichOneof("requirements_spec")
    if wanted == "requirements_url" and not given.requirements_url:
        raise Fatal("requirements_url is empty: give an address, or leave it out")
    packages = tuple(_checked(index, text) for index, text in enumerate(given.packages.list))
    return Plan(python, given.uv_path, packages, given.requirements_url)


def own_python() -> str:
    """Return what uv is to make an environment from where no version is asked for."""
    if getattr(sys, "frozen", False):  # one executable file: there is no interpreter to point to
        return f"{sys.version_info.major}.{sys.version_info.minor}"
    return getattr(sys, "_base_executable", None) or sys.executable


def uv_options(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that configure uv."""
    return {name: value for name, value in environ.items() if name.startswith("UV_")}


def without_credentials(text: str) -> str:
    """Hide user and password of every address in ``text``."""
    return _CREDENTIALS.sub(r"\1***@", text)


def _checked(index: int, text: str) -> str:
    line = text.strip()
    where = f"packages.list[{index}]"
    shown = without_credentials(repr(line))
    if not line:
        raise Fatal(f"{where} is empty: give a requirement like requests>=2, or leave it out")
    if line.startswith("-"):
        raise Fatal(f"{where} {shown} is an option: give a requirement; options of uv are set by UV_... variables")
    if "\n" in line or "\r" in line or "\0" in line:
        raise Fatal(f"{where} {shown} has more than one line: give each requirement an entry of its own")
    return line


def _lines(text: str, url: str) -> Iterator[str]:
    """Yield what counts in a requirements file."""
    for number, given in enumerate(text.replace("\\\r\n", " ").replace("\\\n", " ").splitlines(), 1):
        line = _COMMENT.sub("", given).strip()
        if _INCLUDES.match(line):
            raise Fatal(
                without_credentials(f"requirements_url {url}: line {number} points to another file ({line}): ")
                + "put all requirements into one"
            )
        if line:
            yield line


def _normal(line: str) -> str:
    """Write a requirement in one way: for the key alone, uv gets it as it was given."""
    name = _PROJECT.match(line)
    if name:
        line = re.sub(r"[-_.]+", "-", name[0]).lower() + line[name.end() :]
    return _AROUND_SIGNS.sub(r"\1", " ".join(line.split()))
