"""Secrets: where their values come from, and keeping them out of texts."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Final, cast
from urllib.parse import quote, quote_plus

import anyio.to_thread
import httpx

from jobworkerp_standalone.env_file import read_dotenv
from jobworkerp_standalone.runners.host import Host
from jobworkerp_standalone.workflow.errors import Standard, WorkflowError
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.json_writer import json_text
from jobworkerp_standalone.workflow.source import working_directory

MASK: Final = "***"
_PREFIX: Final = "WORKFLOW_SECRET_"
_OTHER: Final = re.compile(r"[^A-Za-z0-9]")
_SHORTEST: Final = 3
"""Shorter values are not looked for in texts: they would be found everywhere."""


class SecretStore:
    """The secrets of the daemon's environment, ``.env`` included. ``host.shared(SecretStore)``."""

    def __init__(self, _host: Host) -> None:
        self._file: dict[str, str] | None = None

    async def find(self, name: str) -> str | None:
        """Return the text of a secret; None where it is not set, or empty."""
        variable = _PREFIX + _OTHER.sub("_", name).upper()
        if found := os.environ.get(variable):
            return found
        if self._file is None:
            self._file = await anyio.to_thread.run_sync(_file_here)
        return self._file.get(variable) or None


def _file_here() -> dict[str, str]:
    here = working_directory()
    return read_dotenv(*here) if here else {}


class Revealed:
    """The secrets that one task has seen.

    Args:
        store: where values come from.
        declared: the names that the document declares.
    """

    def __init__(self, store: SecretStore, declared: frozenset[str]) -> None:
        self._store = store
        self._declared = declared
        self._texts: set[str] = set()

    async def text(self, name: str) -> str:
        """Return the text of a secret.

        Raises:
            WorkflowError: it is not declared, or not set.
        """
        if name not in self._declared:
            raise Standard.AUTHORIZATION.error("A secret is not declared", f"add {name!r} to use.secrets")
        found = await self._store.find(name)
        if found is None:
            variable = _PREFIX + _OTHER.sub("_", name).upper()
            raise Standard.AUTHORIZATION.error("A secret is not set", f"set {variable} for the daemon")
        self.add(found)
        return found

    async def value(self, name: str) -> JSON:
        """Return a secret: an object where its text is that of a JSON object.

        Raises:
            WorkflowError: it is not declared, or not set.
        """
        text = await self.text(name)
        if not text.lstrip().startswith("{"):
            return text
        try:
            value = cast("JSON", json.loads(text))
        except ValueError:
            return text
        for each in _texts_in(value):
            self.add(each)
        return value

    async def named(self, names: Iterable[str]) -> dict[str, JSON]:
        """Return secrets by name; all that are declared where no name is given.

        Raises:
            WorkflowError: one is not declared, or not set.
        """
        return {name: await self.value(name) for name in sorted(names) or sorted(self._declared)}

    def add(self, text: str) -> None:
        """Keep a text out of what is shown from now on, as it is and as URLs and JSON write it."""
        if len(text) >= _SHORTEST:
            self._texts.update((text, quote(text), quote(text, safe=""), quote_plus(text), json.dumps(text)[1:-1]))
            self._texts.update(_sent(text))

    def hidden(self, text: str) -> str:
        """Return a text without the secrets in it."""
        for each in sorted(self._texts, key=len, reverse=True):
            text = text.replace(each, MASK)
        return text

    def without(self, error: WorkflowError) -> WorkflowError:
        """Return an error without the secrets in it."""
        if not self._texts:
            return error
        title, detail = (None if text is None else self.hidden(text) for text in (error.title, error.detail))
        if (title, detail) == (error.title, error.detail):
            return error
        return WorkflowError(error.type, error.status, title, detail, error.instance)


def _sent(text: str) -> Iterator[str]:
    """Yield what requests have for a text that stands in the path or the query of their URL."""
    for beginning in ("http://x/", "http://x/?"):
        with suppress(httpx.InvalidURL):  # nothing is sent then
            found = str(httpx.URL(beginning + text))
            if found.startswith(beginning) and len(found) >= len(beginning) + _SHORTEST:
                yield found.removeprefix(beginning)


def _texts_in(value: JSON) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield json_text(value)
    elif isinstance(value, dict):
        for each in value.values():
            yield from _texts_in(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts_in(each)
