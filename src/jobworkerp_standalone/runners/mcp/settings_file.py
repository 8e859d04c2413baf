"""Reading MCP_CONFIG and definitions: TOML, JSON or YAML, every mistake named, each entry judged alone."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Final, cast
from urllib.parse import urlsplit

from jobworkerp_standalone.runners.mcp.config import Http, Limits, McpServer, Stdio
from jobworkerp_standalone.runners.redaction import hide_in_url
from jobworkerp_standalone.settings.parsing import MAX_NAME_BYTES

_HTTP_KINDS: Final = {
    "sse": "sse",
    "streamable-http": "streamable-http",
    "streamable_http": "streamable-http",
    "http": "streamable-http",
}
_TIMES: Final = {
    "start": "transport_start_timeout_secs",
    "connect": "connection_timeout_secs",
    "tools": "tools_load_timeout_secs",
    "call": "call_timeout_secs",
}
_ABOUT: Final = ("name", "description")
_SHARED: Final = ("transport", "protocol", "isolated", *_TIMES.values())
_STDIO: Final = ("command", "args", "envs", "working_dir")
_HTTP: Final = ("url", "headers")
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class Mistake(ValueError):
    """Something in an entry or a document that cannot be; the message names it and what to do."""


@dataclass(slots=True)
class Configured:
    """What a settings file says."""

    servers: dict[str, McpServer] = field(default_factory=dict[str, McpServer])
    mistakes: list[str] = field(default_factory=list[str])
    broken: set[str] = field(default_factory=set[str])
    """Names of entries that have a mistake: what runs under them goes on."""


def read_settings(text: str, file: str) -> Configured:
    """Read a settings file.

    Raises:
        Mistake: it is no such document at all; the message names ``file``.
    """
    try:
        entries = _entries(parse_document(text, file))
    except Mistake as mistake:
        raise Mistake(f"{file}: {mistake}") from None
    found = Configured()
    for number, entry in enumerate(entries, 1):
        name: Any = cast("dict[str, Any]", entry).get("name") if isinstance(entry, dict) else None
        where = f"{file}: server {name!r}" if isinstance(name, str) and name else f"{file}: server number {number}"
        _take(found, entry, name, where)
    return found


def read_definition(name: str, description: str, text: str) -> McpServer:
    """Read what RunnerService.Create was given: the keys of one entry without its name.

    Raises:
        Mistake: the text is no such definition.
    """
    keys = parse_document(text, "")
    if not isinstance(keys, dict):
        raise Mistake("the definition is not a table of keys such as transport and command, or url")
    given = cast("dict[str, Any]", keys)
    unknown = next((key for key in given if key not in _known(given) or key in _ABOUT), None)
    if unknown is not None:
        raise Mistake(f"unknown key {unknown!r}; known: {', '.join(sorted(_known(given) - {*_ABOUT}))}")
    return _server({**given, "name": name, "description": description})


def parse_document(text: str, file: str) -> Any:
    """Read TOML, else JSON, else YAML; the complaint is about the format that the file's ending names."""
    complaints: dict[str, str] = {}
    for kind, load in (("toml", tomllib.loads), ("json", json.loads), ("yaml", _yaml)):
        try:
            return load(text)
        except (ValueError, RecursionError) as error:
            complaints[kind] = " ".join(str(error).split())
    ending = PurePath(file).suffix.removeprefix(".").replace("yml", "yaml")
    kind = ending if ending in complaints else _likely(text)
    raise Mistake(f"not TOML, JSON or YAML; as {kind.upper()}: {complaints[kind]}")


def _likely(text: str) -> str:
    return "json" if text.lstrip().startswith(("{", "[{")) else "toml" if "=" in text else "yaml"


def _yaml(text: str) -> Any:
    import yaml  # noqa: PLC0415 - only for what is neither of the other two

    try:
        value = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:  # its text would quote the document, which may hold secrets
        raise ValueError(f"line {error.problem_mark.line + 1 if error.problem_mark else 1}: {error.problem}") from None
    except yaml.YAMLError:
        raise ValueError("it holds a character that cannot be") from None
    if isinstance(value, str):
        raise ValueError("it is one piece of text")  # as nearly everything is, read as YAML
    return value


def _entries(document: Any) -> list[Any]:
    if document is None:
        return []
    servers: Any = cast("dict[str, Any]", document).get("server", []) if isinstance(document, dict) else None
    if not isinstance(servers, list):
        raise Mistake("server: write one [[server]] table for each server")
    unknown = [key for key in cast("dict[str, Any]", document) if key != "server"]
    if unknown:
        raise Mistake(f"unknown key {unknown[0]!r}: write one [[server]] table for each server")
    return cast("list[Any]", servers)


def _take(found: Configured, entry: Any, name: Any, where: str) -> None:
    try:
        if not isinstance(entry, dict):
            raise Mistake("it is no table of keys such as name, transport and command")
        keys = cast("dict[str, Any]", entry)
        server = _server(keys)
        if server.name in found.servers or server.name in found.broken:
            raise Mistake("name: it is taken by an entry above")
        found.servers[server.name] = server
        unknown = [key for key in keys if key not in _known(keys)]
        if unknown:
            known = ", ".join(sorted(_known(keys)))
            found.mistakes.append(f"{where}: {unknown[0]}: unknown key, not looked at; known: {known}")
    except Mistake as mistake:
        found.mistakes.append(f"{where}: {mistake}")
        if isinstance(name, str) and name not in found.servers:
            found.broken.add(name)


def _known(keys: Mapping[str, Any]) -> set[str]:
    return {*_ABOUT, *_SHARED, *(_STDIO if _kind(keys) == "stdio" else _HTTP)}


def _kind(keys: Mapping[str, Any]) -> str:
    implied = "stdio" if "command" in keys else "sse" if "url" in keys else None
    kind: Any = keys.get("transport", keys.get("protocol", implied))
    if kind is None:
        raise Mistake(f"transport: missing; one of stdio, {', '.join(_HTTP_KINDS)}")
    if not isinstance(kind, str) or (kind != "stdio" and kind not in _HTTP_KINDS):
        raise Mistake(f"transport: {kind!r} is not known; use one of stdio, {', '.join(_HTTP_KINDS)}")
    return kind


def _server(keys: Mapping[str, Any]) -> McpServer:
    name = _text(keys, "name", required=True)
    if len(name.encode()) > MAX_NAME_BYTES:
        raise Mistake(f"name: longer than {MAX_NAME_BYTES} bytes")
    kind = _kind(keys)
    transport = _stdio(keys) if kind == "stdio" else _http(keys, _HTTP_KINDS[kind])
    isolated = keys.get("isolated", False)
    if not isinstance(isolated, bool):
        raise Mistake(f"isolated: {isolated!r} is neither true nor false")
    limits = Limits(**{name: _seconds(keys, key) for name, key in _TIMES.items()})
    return McpServer(name, transport, _text(keys, "description"), limits, isolated)


def _stdio(keys: Mapping[str, Any]) -> Stdio:
    args = keys.get("args", [])
    if not isinstance(args, list) or not all(isinstance(each, str) for each in cast("list[Any]", args)):
        raise Mistake('args: expected a list of strings, for example ["--port", "1"]')
    command = _text(keys, "command", required=True)
    values = [("command", command), *(("args", each) for each in cast("list[str]", args))]
    for key, value in values:
        if "\0" in value:
            raise Mistake(f"{key}: a NUL character cannot be in a command line")
    return Stdio(command, tuple(cast("list[str]", args)), dict(_envs(keys)), _text(keys, "working_dir"))


def _envs(keys: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in _texts(keys, "envs").items():
        if not name or "=" in name or "\0" in name + value:
            raise Mistake(f"envs: {name!r} cannot be a variable")
        yield name, value


def _http(keys: Mapping[str, Any], kind: str) -> Http:
    url = _text(keys, "url", required=True)
    if not re.match(r"https?://[^/\s]+", url, re.IGNORECASE):
        raise Mistake(f"url: expected http:// or https:// with a host, not {hide_in_url(url).partition('?')[0]!r}")
    try:
        port = urlsplit(url).port
    except ValueError as error:
        raise Mistake("url: host or port cannot be") from error
    if port == 0:
        raise Mistake("url: port 0 cannot be")
    headers = _texts(keys, "headers")
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or not value.isprintable() or not value.isascii():
            raise Mistake(f"headers: {name!r} cannot be a header; names are words, values printable ASCII")
    return Http(kind, url, dict(headers))


def _text(keys: Mapping[str, Any], key: str, *, required: bool = False) -> str:
    value = keys.get(key)
    if value is None and not required:
        return ""
    if not isinstance(value, str):
        raise Mistake(f"{key}: missing" if value is None else f"{key}: expected a string")
    if required and not value.strip():
        raise Mistake(f"{key}: empty")
    return value


def _texts(keys: Mapping[str, Any], key: str) -> dict[str, str]:
    values: Any = keys.get(key)
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise Mistake(f"{key}: expected a table of strings")
    for name, value in cast("dict[Any, Any]", values).items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise Mistake(f"{key}: the value of {name!r} is not a string; put it in quotes")
    return cast("dict[str, str]", values)


def _seconds(keys: Mapping[str, Any], key: str) -> float | None:
    value = keys.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:  # noqa: PLR2004 - decades
        raise Mistake(f"{key}: {value!r} is not a number of seconds above 0")
    return float(value)
