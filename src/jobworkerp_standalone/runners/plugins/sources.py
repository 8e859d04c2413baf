"""Where plugins are: files and folders in the plugin directories, and entry points of installed packages."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jobworkerp_standalone.jobs.errors import InvalidRequest
from jobworkerp_standalone.settings import Settings

GROUP: Final = "jobworkerp.runners"
_INIT: Final = "__init__.py"
_WATCHED: Final = (".py", ".txt", ".toml", ".proto", ".json", ".yaml", ".yml")
_MOST_FILES: Final = 2000

Fingerprint = tuple[tuple[str, int, int, int], ...]
"""Of each file: path, inode, size, time of its last change."""


@dataclass(frozen=True, slots=True)
class Source:
    """A plugin: a file, a folder, or an installed module."""

    where: str
    """An absolute path, or the name of a module."""
    only: str = ""
    """The one class that is meant; empty: all that it defines."""

    @property
    def installed(self) -> bool:
        """Whether it is a module of this program's own environment."""
        return not self.where.startswith("/")

    def __str__(self) -> str:
        return f"{self.where}:{self.only}" if self.only else self.where

    def fingerprint(self) -> Fingerprint | None:
        """Say what its files look like; None where it is gone. Reads the disk."""
        if self.installed:
            return ()
        root = Path(self.where)
        try:
            if not root.is_dir():
                return (_look_of(root),)
            (root / _INIT).stat()
        except OSError:
            return None
        return tuple(sorted(_look_of(file) for file in _files(root) if file.is_file()))


def parse_definition(text: str) -> Source:
    """Return what a definition of RunnerService.Create names: ``PATH`` or ``PATH:Class``."""
    path, colon, only = text.strip().rpartition(":")
    if not colon or not only.isidentifier():
        path, only = text.strip(), ""
    return Source(os.path.abspath(os.path.expanduser(path)), only)


def check_is_plugin(source: Source) -> None:
    """Check that there is something to load. Reads the disk.

    Raises:
        InvalidRequest: there is no plugin.
    """
    root = Path(source.where)
    if root.is_dir() and not (root / _INIT).is_file():
        raise InvalidRequest(f"definition '{root}' is a directory without __init__.py: name a plugin's file or folder")
    if not root.is_dir() and (root.suffix != ".py" or not root.is_file()):
        raise InvalidRequest(
            f"definition '{root}' is no plugin on the server: name a Python file, or a folder with one"
        )


def is_configured(settings: Settings) -> bool:
    """Whether there may be plugins: a directory of them, or an installed package that brings some."""
    return any(folder.is_dir() for folder in directories(settings)) or any(_entry_point_files())


def directories(settings: Settings) -> list[Path]:
    """Return the plugin directories."""
    parts = [part.strip() for part in settings.plugins_runner_dir.split(",")]
    return [Path(os.path.abspath(os.path.expanduser(part))) for part in parts if part]


def dropped_in(folders: list[Path]) -> Iterator[Source]:
    """Yield the plugins in the directories, in order of their names. Tests and private files are left alone."""
    for folder in folders:
        try:
            found = sorted(folder.iterdir())
        except OSError:
            continue
        for path in found:
            if _is_plugin(path):
                yield Source(str(path))


def entry_points() -> Iterator[Source]:
    """Yield the plugins of installed packages."""
    if not any(_entry_point_files()):
        return
    from importlib.metadata import entry_points as find  # noqa: PLC0415 - only where there are any

    for each in sorted(find(group=GROUP), key=lambda point: point.name):
        yield Source(each.module, each.attr.partition(".")[0])


def _is_plugin(path: Path) -> bool:
    name = path.name
    if name.startswith(("_", ".", "test_")) or name in ("conftest.py", "setup.py", "tests"):
        return False
    if path.is_dir():
        return (path / _INIT).is_file()
    return path.suffix == ".py" and not path.stem.endswith("_test") and path.is_file()


def _files(root: Path) -> Iterator[Path]:
    """Yield the files of a folder that its behaviour may depend on."""
    count = 0
    for folder, folders, names in os.walk(root):
        folders[:] = [each for each in folders if not each.startswith((".", "__pycache__"))]
        for name in names:
            if name.endswith(_WATCHED):
                count += 1
                if count > _MOST_FILES:
                    return
                yield Path(folder) / name


def _look_of(file: Path) -> tuple[str, int, int, int]:
    look = file.stat()
    return str(file), look.st_ino, look.st_size, look.st_mtime_ns


def _entry_point_files() -> Iterator[Path]:
    """Yield the files that declare entry points of our group: cheaper than asking for all of them."""
    mark = f"[{GROUP}]"
    for folder in {Path(each) for each in sys.path if each}:
        for file in folder.glob("*.dist-info/entry_points.txt"):
            try:
                if mark in file.read_text(encoding="utf-8", errors="replace"):
                    yield file
            except OSError:
                continue
