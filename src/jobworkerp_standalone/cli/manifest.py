"""Reads a manifest of workers: placeholders, YAML, included files, and every key checked."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import yaml

from jobworkerp_standalone.cli.reading import DOCUMENT, bytes_of, text_in

_PLACEHOLDER: Final = re.compile(r"%\{([A-Z_][A-Z0-9_]*)(?::-([^}]*))?\}")
_INCLUDE: Final = "$file"
_MAX_UINT32: Final = 2**32 - 1
_QUEUE_TYPES: Final = ("NORMAL", "WITH_BACKUP", "DB_ONLY")
_RESPONSE_TYPES: Final = ("DIRECT", "NO_RESULT")
_RETRY_TYPES: Final = ("NONE", "EXPONENTIAL", "LINEAR", "CONSTANT")


class BadManifest(ValueError):
    """The manifest is wrong; the message says where and why, in one line."""


class RetryEntry(NamedTuple):
    """A retry policy."""

    type: str
    interval: int = 800
    max_interval: int = 60_000
    max_retry: int = 1
    basis: float = 2.0


class WorkerEntry(NamedTuple):
    """A worker of the manifest, the defaults filled in."""

    place: str
    """Where it stands, for messages."""
    name: str
    runner: str
    description: str = ""
    settings: Any = None
    channel: str | None = None
    queue_type: str = "NORMAL"
    response_type: str = "NO_RESULT"
    store_success: bool = False
    store_failure: bool = False
    use_static: bool = False
    broadcast_results: bool = False
    periodic_interval: int = 0
    retry_policy: RetryEntry | None = None


def read_workers(path: Path, variables: Mapping[str, str]) -> list[WorkerEntry]:
    """Return the workers of a manifest.

    Raises:
        OSError, UnicodeDecodeError, TooLarge: it cannot be read.
        BadManifest: it is wrong.
    """
    text = with_variables(text_in(bytes_of(path, DOCUMENT)), variables)
    document = _mapping(parse(text), "the document", {"defaults", "workers"})
    defaults = _checked(document.get("defaults"), "defaults", _SHARED)
    listed = document.get("workers")
    if not isinstance(listed, list):
        raise BadManifest("workers: is missing" if listed is None else "workers: must be a list")
    entries = [_entry(each, number, defaults) for number, each in enumerate(cast("list[Any]", listed), start=1)]
    seen: dict[str, str] = {}
    for entry in entries:
        if entry.name in seen:
            raise BadManifest(f"{entry.place}.name: {seen[entry.name]} has the same name")
        seen[entry.name] = entry.place
    include = _Includes(path.resolve().parent, variables)
    return [each._replace(settings=include.into(each.settings, f"{each.place}.settings")) for each in entries]


def with_variables(text: str, variables: Mapping[str, str]) -> str:
    """Return the text with ``%{NAME}`` and ``%{NAME:-default}`` replaced.

    Raises:
        BadManifest: a variable is not set, or holds a line end or a tab.
    """

    def value_of(match: re.Match[str]) -> str:
        name, default = match[1], cast("str | None", match[2])
        value: str | None = variables.get(name, default)
        line = text.count("\n", 0, match.start()) + 1
        if value is None:
            raise BadManifest(f"line {line}: variable {name} is not set; write %{{{name}:-default}} to do without it")
        if any(each in value for each in "\n\r\t"):
            raise BadManifest(f"line {line}: the value of {name} holds a line end or a tab")
        return value

    return _PLACEHOLDER.sub(value_of, text)


# ---------------------------------------------------------------- YAML


class _Loader(yaml.SafeLoader):
    """YAML 1.2 scalars: booleans are true and false, nothing is a date, and no key stands twice."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+",
        "-+.0123456789",
    ),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), list(_first))  # pyright: ignore[reportUnknownMemberType]


def _construct_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise BadManifest(f"line {key_node.start_mark.line + 1}: a key must be a text")
        if key_node.value in result:
            raise BadManifest(f"line {key_node.start_mark.line + 1}: key {key_node.value!r} stands twice")
        result[key_node.value] = loader.construct_object(value_node, deep=True)  # pyright: ignore[reportUnknownMemberType]
    return result


_Loader.add_constructor("tag:yaml.org,2002:map", _construct_mapping)


def parse(text: str) -> Any:
    """Return the one document of a YAML text.

    Raises:
        BadManifest: it is no YAML, or a key stands twice.
    """
    try:
        loader = _Loader(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()  # pyright: ignore[reportUnknownMemberType]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}: " if mark else ""
        raise BadManifest(f"{where}not YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise BadManifest(f"not YAML: {' '.join(str(error).split())}") from error


# ---------------------------------------------------------------- includes


class _Includes:
    """Puts the contents of files where ``$file`` names them; no file outside the manifest's folder."""

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self._folder = folder
        self._variables = variables

    def into(self, tree: Any, place: str) -> Any:
        """Return the tree with the contents in it."""
        if isinstance(tree, list):
            return [self.into(each, f"{place}[{at}]") for at, each in enumerate(cast("list[Any]", tree))]
        if not isinstance(tree, dict):
            return tree
        mapping = cast("dict[str, Any]", tree)
        if mapping.keys() == {_INCLUDE}:
            return self._content(mapping[_INCLUDE], f"{place}.{_INCLUDE}")
        return {key: self.into(each, f"{place}.{key}") for key, each in mapping.items()}

    def _content(self, name: Any, place: str) -> str:
        if not isinstance(name, str):
            raise BadManifest(f"{place}: must be the path of a file")
        try:
            path = (self._folder / name).resolve()
            if not path.is_relative_to(self._folder):
                raise BadManifest(f"{place}: {name!r} is not inside {self._folder}")
            return with_variables(text_in(bytes_of(path, DOCUMENT)), self._variables)
        except BadManifest as error:
            raise error if str(error).startswith(place) else BadManifest(f"{place}: {name}: {error}") from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise BadManifest(f"{place}: {name!r} cannot be read: {reason}") from error


# ---------------------------------------------------------------- keys


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a text; put it in quotes")
    return value


def _name(value: Any) -> str:
    if not _text(value).strip():
        raise ValueError("is empty")
    return value


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _uint32(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_UINT32:
        raise ValueError(f"must be a whole number from 0 to {_MAX_UINT32}")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be a number")
    return float(value)


def _one_of(words: tuple[str, ...]) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if value not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return value

    return check


def _retry(value: Any) -> RetryEntry:
    given = _checked(value, "", _RETRY)
    if "type" not in given:
        raise ValueError("type is missing")
    return RetryEntry(**given)


_RETRY: Final[Mapping[str, Callable[[Any], Any]]] = {
    "type": _one_of(_RETRY_TYPES),
    **dict.fromkeys(("interval", "max_interval", "max_retry"), _uint32),
    "basis": _number,
}
_SHARED: Final[Mapping[str, Callable[[Any], Any]]] = {
    "channel": _text,
    "queue_type": _one_of(_QUEUE_TYPES),
    "response_type": _one_of(_RESPONSE_TYPES),
    **dict.fromkeys(("store_success", "store_failure", "use_static", "broadcast_results"), _switch),
    "periodic_interval": _uint32,
    "retry_policy": _retry,
}
_WORKER: Final[Mapping[str, Callable[[Any], Any]]] = {
    "name": _name,
    "runner": _name,
    "description": _text,
    "settings": lambda value: value,
    **_SHARED,
}


def _mapping(value: Any, place: str, known: set[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadManifest(f"{place}: must be a mapping".removeprefix(": "))
    mapping = cast("dict[str, Any]", value)
    for key in mapping:
        if key not in known:
            raise BadManifest(f"{place}: unknown key {key!r}; known: {', '.join(sorted(known))}".removeprefix(": "))
    return mapping


def _checked(value: Any, place: str, kinds: Mapping[str, Callable[[Any], Any]]) -> dict[str, Any]:
    """Return what is given, each value checked; what is null is as if it were not there."""
    if value is None:
        return {}
    given: dict[str, Any] = {}
    for key, each in _mapping(value, place, set(kinds)).items():
        if each is None:
            continue
        try:
            given[key] = kinds[key](each)
        except ValueError as error:
            raise BadManifest(f"{place}.{key}: {error}".removeprefix(".")) from None
    return given


def _entry(value: Any, number: int, defaults: Mapping[str, Any]) -> WorkerEntry:
    place = f"workers[{number}]"
    if isinstance(value, dict) and isinstance(name := cast("dict[str, Any]", value).get("name"), str) and name:
        place += f" ({' '.join(name.split())})"
    given = _checked(value, place, _WORKER)
    for key in ("name", "runner"):
        if key not in given:
            raise BadManifest(f"{place}.{key}: is missing")
    entry = WorkerEntry(place, **{**defaults, **given})
    if entry.periodic_interval and entry.response_type == "DIRECT":
        raise BadManifest(f"{place}.periodic_interval: a DIRECT worker cannot be periodic; use NO_RESULT")
    return entry
