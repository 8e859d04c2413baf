"""How one setting is declared, and how each kind of value is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from typing import Final, NamedTuple, TypeVar

from jobworkerp_standalone.jobs.model import DEFAULT_CHANNEL, DEFAULT_CHANNEL_LABEL

T = TypeVar("T")
MAX_NAME_BYTES: Final = 255
MEMORY: Final = ":memory:"
"""The path of a store that keeps nothing."""
_MAX_PORT: Final = 65_535


class Address(NamedTuple):
    """One address to listen on; ``host`` without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def setting(
    name: str,
    parse: Callable[[str], T],
    default: T,
    text: str,
    *,
    aliases: tuple[str, ...] = (),
    shown: str | None = None,
) -> T:
    """Declare a field with its variable, parser, default and help; ``shown`` is the default as people write it."""
    names = (name, *aliases)
    return field(default=default, metadata={"names": names, "parse": parse, "help": text, "shown": shown})


def text(raw: str) -> str:
    """Take it as it is."""
    return raw


def header_value(raw: str) -> str:
    """Read the value of an HTTP header: visible ASCII and blanks."""
    if not (raw.isascii() and raw.isprintable()):
        raise ValueError("expected ASCII without control characters")
    return raw


def flag(raw: str) -> bool:
    """Read true or false in any of the usual spellings."""
    lowered = raw.lower()
    if lowered in ("true", "1", "yes", "on"):
        return True
    if lowered in ("false", "0", "no", "off"):
        return False
    raise ValueError("expected true or false")


def number(low: int, high: int = 2**63 - 1) -> Callable[[str], int]:
    """Return what reads a whole number from ``low`` to ``high``."""

    def parse(raw: str) -> int:
        try:
            value = int(raw.replace("_", ""))
        except ValueError:
            raise ValueError("expected a whole number") from None
        if not low <= value <= high:
            raise ValueError(f"expected {low} to {high}")
        return value

    return parse


def choice(*allowed: str) -> Callable[[str], str]:
    """Return what reads one of ``allowed``, in any case."""
    by_lower = {value.lower(): value for value in allowed}

    def parse(raw: str) -> str:
        if raw.lower() not in by_lower:
            raise ValueError(f"expected one of {', '.join(allowed)}")
        return by_lower[raw.lower()]

    return parse


def names(raw: str) -> tuple[str, ...]:
    """Read names of channels, separated by commas."""
    found = tuple(part.strip() for part in raw.split(",") if part.strip())
    for name in found:
        if len(name.encode()) > MAX_NAME_BYTES:
            raise ValueError(f"name {name[:20]!r}... is longer than {MAX_NAME_BYTES} bytes")
        if name in (DEFAULT_CHANNEL, DEFAULT_CHANNEL_LABEL):
            raise ValueError("the default channel is set by WORKER_DEFAULT_CONCURRENCY and is not listed here")
    if len(set(found)) != len(found):
        raise ValueError("a name is listed twice")
    return found


def patterns(raw: str) -> tuple[str, ...]:
    """Read a list separated by commas."""
    return tuple(part.strip() for part in raw.split(",") if part.strip())


def folders(raw: str) -> tuple[str, ...]:
    """Read a list of directories, separated by colons."""
    return tuple(part.strip() for part in raw.split(":") if part.strip())


def counts(raw: str) -> tuple[int, ...]:
    """Read whole numbers from 1, separated by commas."""
    one = number(1, 100_000)
    return tuple(one(part.strip()) for part in raw.split(",") if part.strip())


def addresses(raw: str) -> tuple[Address, ...]:
    """Read addresses, separated by commas."""
    return tuple(parse_address(part.strip()) for part in raw.split(",") if part.strip())


def parse_address(raw: str) -> Address:
    """Read ``host:port`` or ``[ipv6]:port``.

    Raises:
        ValueError: it is neither.
    """
    host, colon, port = raw.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    half_bracketed = not bracketed and set(host) & set("[]:")
    if not colon or not host or half_bracketed or not port.isdigit() or not 0 <= int(port) <= _MAX_PORT:
        raise ValueError("expected host:port, for example 127.0.0.1:9000 or [::1]:9000")
    return Address(host, int(port))


def sqlite_path(raw: str) -> str:
    """Return the path in a ``sqlite://`` URL; ``:memory:`` keeps nothing."""
    if raw in ("sqlite::memory:", "sqlite://:memory:"):
        return MEMORY
    if not raw.startswith("sqlite://"):
        raise ValueError("expected sqlite:// followed by a path, for example sqlite://jobworkerp.sqlite3")
    path = raw.removeprefix("sqlite://").split("?", 1)[0]
    if not path:
        raise ValueError("the path is missing, for example sqlite://jobworkerp.sqlite3")
    return path
