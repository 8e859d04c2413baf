"""Where the texts of workflows come from, and which places may be read for whom."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self
from urllib.parse import unquote, urlsplit

import anyio.to_thread

from jobworkerp_standalone.jobs.errors import FetchError, JobworkerpError
from jobworkerp_standalone.net.fetch import fetch
from jobworkerp_standalone.net.rules import FetchRules
from jobworkerp_standalone.settings import LOG_FILE, Settings
from jobworkerp_standalone.workflow.errors import Standard, WorkflowError

MAX_BYTES: Final = 10 * 1024 * 1024
_TIMEOUT_SEC: Final = 30.0
_ATTEMPTS: Final = 3
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_ROOTS: Final = "WORKFLOW_ALLOWED_ROOTS"
_HOSTS: Final = "WORKFLOW_ALLOWED_HOSTS"
_ANY_NAME: Final = "WORKFLOW_ALLOW_ANY_NAME"
DOCUMENTS: Final = (".yaml", ".yml", ".json")
"""How the names of files end that are read as documents."""
_ALLOWED_BY: Final = "daemon's settings"
"""What a refused address is said to be allowed by."""


class SourceError(JobworkerpError):
    """A text that could not be had, or may not be read."""

    @property
    def of_network(self) -> bool:
        """Whether it lies with the network, or a server, that the text could not be had."""
        return isinstance(self.__cause__, FetchError)

    def told(self, title: str) -> WorkflowError:
        """Return the error of a task that needs the text: of the network, or of what the document names."""
        kind = Standard.COMMUNICATION if self.of_network else Standard.CONFIGURATION
        return kind.error(title, str(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRules:
    """What may be read."""

    roots: tuple[Path, ...]
    """Directories whose files may be read, the working directory first."""
    fetch: FetchRules = field(default_factory=FetchRules)
    any_name: bool = False
    """Whether hidden files may be read too, and documents of any ending."""
    own: tuple[Path, ...] = ()
    """Files of the daemon itself, which are not read, nor others whose names only go on behind theirs."""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the rules for what arrives over the wire."""
        return cls(
            roots=(*working_directory(), *(Path(root).expanduser() for root in settings.workflow_allowed_roots)),
            fetch=FetchRules(
                deny_private=True,
                allowed_hosts=frozenset(host.lower() for host in settings.workflow_allowed_hosts),
                max_bytes=MAX_BYTES,
                timeout_sec=settings.workflow_http_timeout_sec or _TIMEOUT_SEC,
                attempts=_ATTEMPTS,
                user_agent=settings.workflow_http_user_agent,
            ),
            any_name=settings.workflow_allow_any_name,
            own=_own_files(settings),
        )


def _own_files(settings: Settings) -> tuple[Path, ...]:
    """Return the database, the log and the MCP servers with their tokens."""
    named = [settings.sqlite_path, settings.mcp_config]
    if settings.log_file_dir:
        named.append(f"{settings.log_file_dir}/{LOG_FILE}")
    here = next(iter(working_directory()), Path("/"))
    return tuple(here / name for name in named)


async def read_source(named: str, rules: SourceRules, endings: Collection[str] = ()) -> str:
    """Return the text at a path, a ``file://`` URL or an ``http(s)://`` URL.

    Args:
        named: the path or URL.
        rules: what may be read.
        endings: how the name of a file must end, where what is wrong in it would be told.

    Raises:
        SourceError: it could not be had, or may not be read.
    """
    place = named.strip()
    scheme = _SCHEME.match(place)
    if scheme is None:
        return await anyio.to_thread.run_sync(_read_file, place, rules, endings)
    match scheme[1].lower():
        case "http" | "https":
            return await _fetch(place, rules)
        case "file":
            return await anyio.to_thread.run_sync(_read_file, _path_of(place), rules, endings)
        case other:
            raise SourceError(f"{place} cannot be read: give a path or a URL of file, http or https, not of {other}")


async def _fetch(url: str, rules: SourceRules) -> str:
    try:
        return (await fetch(url, rules.fetch)).text
    except FetchError as error:
        remedy = f"; {_HOSTS} names hosts that are asked all the same" if _ALLOWED_BY in str(error) else ""
        raise SourceError(f"{error}{remedy}") from error


def _path_of(url: str) -> str:
    parts = urlsplit(url)
    if parts.netloc not in {"", "localhost"}:
        raise SourceError(f"{url} names a file of the host {parts.netloc}: write file:///PATH for one of this machine")
    return unquote(parts.path)


def _read_file(named: str, rules: SourceRules, endings: Collection[str]) -> str:
    if not named or "\0" in named:
        raise SourceError("the path of the workflow is empty or holds a NUL character: give the path of a file")
    try:
        places = _places(Path(named).expanduser(), rules)
        path = next((place for place in places if place.exists()), places[0]).resolve(strict=False)
        _check_root(path, named, rules)
        _check_name(path, named, rules, endings)
        return _content(path, named)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SourceError(f"{named} cannot be read: {str(reason).lower()} ({_looked_for(named, rules)})") from error


def working_directory() -> tuple[Path, ...]:
    """Return the working directory; nothing where it was deleted."""
    try:
        return (Path.cwd(),)
    except FileNotFoundError:
        return ()


def _places(path: Path, rules: SourceRules) -> list[Path]:
    """Return where a file may be: a relative path is looked for in the working directory, then in the roots."""
    return list(dict.fromkeys(root / path for root in rules.roots or working_directory())) or [path]


def _looked_for(named: str, rules: SourceRules) -> str:
    if not working_directory() and not Path(named).is_absolute():
        return "the working directory was deleted: give an absolute path"
    return "looked for at " + " and ".join(map(str, _places(Path(named), rules)))


def _check_root(path: Path, named: str, rules: SourceRules) -> None:
    if any(path.is_relative_to(root.resolve()) for root in rules.roots):
        return
    raise SourceError(
        f"{named} may not be read: it lies outside of the working directory and of {_ROOTS}; "
        "move it, or name its directory there"
    )


def _check_name(path: Path, named: str, rules: SourceRules, endings: Collection[str]) -> None:
    """Refuse what lies in a directory for other reasons than to be read by workflows."""
    own = (each.resolve() for each in rules.own)
    if any(path.parent == each.parent and path.name.startswith(each.name) for each in own):
        raise SourceError(f"{named} may not be read: it is a file of the daemon itself")
    if rules.any_name:
        return
    remedy = f"rename it, or set {_ANY_NAME}=true"
    inside = [path.relative_to(root.resolve()) for root in rules.roots if path.is_relative_to(root.resolve())]
    if all(any(_is_hidden(part) for part in each.parts) for each in inside):
        raise SourceError(
            f"{named} may not be read: it is hidden, as its path has a part that begins with a dot; {remedy}"
        )
    if endings and not path.name.lower().endswith(tuple(endings)):
        raise SourceError(f"{named} may not be read: its name does not end in {' or '.join(endings)}; {remedy}")


def _is_hidden(part: str) -> bool:
    """Two dots are no secret: they are where volumes of Kubernetes have the files of a ConfigMap."""
    return part.startswith(".") and not part.startswith("..")


def _content(path: Path, named: str) -> str:
    # Without waiting: a pipe that nobody writes would never open. The last step is not followed: it was resolved.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise SourceError(f"{named} is no file: give the path of a workflow document")
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise SourceError(f"{named} is larger than {MAX_BYTES} bytes: a workflow document must be smaller")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(f"{named} is not text in UTF-8 ({error}): save it as UTF-8") from error
