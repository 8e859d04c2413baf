"""What a plugin needs beside this program, as it declares it itself."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from jobworkerp_standalone.plugin.errors import PluginMistake

_SCRIPT_BLOCK: Final = re.compile(r"(?m)^# /// script$\s(?P<content>(^#(| .*)$\s)+)^# ///$")
_CLAUSE: Final = re.compile(r"(>=|<=|==|!=|>|<|~=)\s*(\d+(?:\.\d+)*)(\.\*)?")
_COMMENT: Final = re.compile(r"(?:^|\s)#.*$")


@dataclass(frozen=True, slots=True)
class Requirements:
    """An environment of a plugin's own."""

    python: str
    """As uv takes it; empty: the daemon's own."""
    packages: tuple[str, ...]


def read_requirements(where: str) -> Requirements | None:
    """Return what a file (inline metadata) or a folder (requirements.txt, pyproject.toml) declares; None if nothing.

    Raises:
        PluginMistake: the declaration cannot be read.
    """
    path = Path(where)
    if path.is_dir():
        return _of_folder(path)
    block = _SCRIPT_BLOCK.search(path.read_text(encoding="utf-8", errors="replace"))
    if block is None:
        return None
    lines = block["content"].splitlines(keepends=True)
    text = "".join(line[2:] if line.startswith("# ") else line[1:] for line in lines)
    return _declared(_parsed(text, f"{path.name}, the block # /// script"))


def _of_folder(path: Path) -> Requirements | None:
    listed = path / "requirements.txt"
    project = path / "pyproject.toml"
    if listed.is_file():
        return Requirements("", tuple(_listed(f"{path.name}/{listed.name}", listed.read_text(encoding="utf-8"))))
    if project.is_file():
        return _declared(_parsed(project.read_text(encoding="utf-8"), f"{path.name}/{project.name}").get("project", {}))
    return None


def _listed(where: str, text: str) -> Iterator[str]:
    for line in text.splitlines():
        package = _COMMENT.sub("", line).strip()
        if package.startswith("-"):
            raise PluginMistake(f"{where} has the option {package!r}: name packages only")
        if package:
            yield package


def _parsed(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PluginMistake(f"{where} is not TOML: {error}") from error


def _declared(table: dict[str, Any]) -> Requirements | None:
    packages = table.get("dependencies", [])
    python = table.get("requires-python", "")
    if not isinstance(packages, list) or not all(isinstance(each, str) for each in cast("list[Any]", packages)):
        raise PluginMistake("dependencies must be a list of texts like 'requests>=2'")
    if not isinstance(python, str):
        raise PluginMistake("requires-python must be a text like '>=3.12'")
    wanted = "" if is_satisfied(python, sys.version_info[:3]) else python
    needed = tuple(cast("list[str]", packages))
    return Requirements(wanted, needed) if needed or wanted else None


def is_satisfied(specifier: str, version: Sequence[int]) -> bool:
    """Whether a version of Python fulfils ``requires-python``; False also where it cannot be told."""
    for clause in filter(None, (each.strip() for each in specifier.split(","))):
        match = _CLAUSE.fullmatch(clause)
        if match is None:
            return False
        sign, text, any_patch = match.groups()
        wanted = tuple(map(int, text.split(".")))
        have = tuple(version[: len(wanted)]) if any_patch or sign == "~=" else tuple(version)
        padded = wanted if any_patch or sign == "~=" else wanted + (0,) * (len(have) - len(wanted))
        if not _holds(sign, have, padded):
            return False
    return True


def _holds(sign: str, have: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    if sign == "~=":
        return have >= wanted and have[: len(wanted) - 1] == wanted[:-1]
    return {
        ">=": have >= wanted,
        "<=": have <= wanted,
        "==": have == wanted,
        "!=": have != wanted,
        ">": have > wanted,
        "<": have < wanted,
    }[sign]
