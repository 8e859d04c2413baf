"""What may be shown of a configuration, and taking secrets out of other texts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

HIDDEN: Final = "***"
_SECRET_NAME: Final = re.compile(r"token|key|passw|secret|credential|auth", re.IGNORECASE)
_SECRET_HEADER: Final = re.compile(
    rf"(?:-H|--?header=)?[\w-]*(?:{_SECRET_NAME.pattern})[\w-]*:(?!//)\s*", re.IGNORECASE
)
"""As proxies of servers at an address are given them."""
_NAMED: Final = re.compile(
    r"""((?:[\w-]*(?:token|key|passw\w*|secret|credential)[\w-]*["']?\s*[=:]|\bbearer|\bbasic)\s*["']?)(?!//)[^\s"',;&)}\]]{4,}""",
    re.IGNORECASE,
)
"""A name like a secret's and a value, as programs print them."""
_SHORTEST: Final = 6
"""Values below this are no secrets, and occur in other words."""


def hide_named(text: str) -> str:
    """Return a text without the values of what is named like a secret in it."""
    return _NAMED.sub(rf"\1{HIDDEN}", text)


def hide_values(values: Mapping[str, str]) -> dict[str, str]:
    """Return the names with their values hidden."""
    return dict.fromkeys(values, HIDDEN)


def hide_in_arguments(arguments: Iterable[str]) -> list[str]:
    """Return a command line without the values of options that are named like secrets."""
    shown: list[str] = []
    expected = False
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        named = argument.startswith("-") and _SECRET_NAME.search(name) is not None
        if expected and not argument.startswith("-"):
            shown.append(HIDDEN)
        elif (named or _is_secret_variable(argument)) and equals:
            shown.append(f"{name}={HIDDEN}")
        elif header := _SECRET_HEADER.match(argument):
            shown.append(f"{header[0]}{HIDDEN}")
        else:
            shown.append(hide_in_url(argument) if "://" in argument else argument)
        expected = named and not equals
    return shown


def hide_in_url(url: str) -> str:
    """Return a URL without its password and the query values that are named like secrets."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    host = parts.netloc.rpartition("@")[2]
    netloc = f"{HIDDEN}@{host}" if "@" in parts.netloc else host
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    query = parts.query
    if any(_SECRET_NAME.search(name) for name, _ in pairs):
        shown = [(name, HIDDEN if _SECRET_NAME.search(name) else value) for name, value in pairs]
        query = urlencode(shown, safe="*")
    return urlunsplit((parts.scheme, netloc, parts.path, query, parts.fragment))


def secrets_of_url(url: str) -> Iterator[str]:
    """Yield what `hide_in_url` hides."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return
    yield from filter(None, (parts.username, parts.password))
    for pair in parts.query.split("&"):
        for name, value in parse_qsl(pair):
            if _SECRET_NAME.search(name):
                yield from (value, pair.partition("=")[2])  # errors quote it as it was given


def secrets_of_arguments(arguments: Iterable[str]) -> Iterator[str]:
    """Yield what `hide_in_arguments` hides."""
    given = list(arguments)
    for before, after in zip(given, hide_in_arguments(given), strict=True):
        if before != after:
            yield from _secrets_of(before, after)


def _secrets_of(given: str, shown: str) -> Iterator[str]:
    """Yield what was hidden in one argument."""
    if "://" in shown:
        yield from secrets_of_url(given)
    else:
        yield given[len(shown) - len(HIDDEN) :] if shown.endswith(HIDDEN) else given


class Redactor:
    """Takes known secrets out of any text."""

    def __init__(self, secrets: Iterable[str]) -> None:
        words = {word for secret in secrets for word in (secret, *secret.split()) if len(word) >= _SHORTEST}
        alternatives = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
        self._pattern = re.compile(alternatives) if alternatives else None

    def clean(self, text: str) -> str:
        """Return ``text`` with secrets replaced."""
        return self._pattern.sub(HIDDEN, text) if self._pattern else text


def _is_secret_variable(argument: str) -> bool:
    name, equals, _ = argument.partition("=")
    return bool(equals) and name.isidentifier() and _SECRET_NAME.search(name) is not None
