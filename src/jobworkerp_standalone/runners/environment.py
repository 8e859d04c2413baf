"""Which of the daemon's variables its child processes see."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Final

SECRET_VARIABLES: Final = (
    "AUTH_TOKEN",
    "JOBWORKERP_AUTH_TOKEN",
    "*_PASSWORD",
    "DATABASE_URL",
    "SQLITE_URL",
    "MYSQL_URL",
    "POSTGRES_URL",
    "REDIS_URL",
    "WORKFLOW_SECRET_*",
    "OTLP_*",
)
"""Patterns of variables that configure the daemon and are nobody else's business."""


class ChildEnvironment:
    """The daemon's environment minus its secrets, worked out once and then only added to.

    ``deny`` names further variables, as shell patterns. What a job sets itself always reaches its process.
    """

    def __init__(self, environ: Mapping[str, str], deny: Iterable[str] = ()) -> None:
        patterns = (*SECRET_VARIABLES, *deny)
        self._base = {
            os.fsencode(name): os.fsencode(value)
            for name, value in environ.items()
            if not any(fnmatchcase(name, pattern) for pattern in patterns)
        }

    def changed(self, *, without: Iterable[str] = (), extra: Mapping[str, str] = {}) -> ChildEnvironment:
        """Return another one, without some variables and with others added."""
        changed = ChildEnvironment({})
        leaving = {name.encode() for name in without}
        changed._base = {name: value for name, value in self._base.items() if name not in leaving}
        changed._base |= {os.fsencode(name): os.fsencode(value) for name, value in extra.items()}
        return changed

    def with_variables(self, extra: Mapping[str, str]) -> Mapping[bytes, bytes]:
        """Return the environment of one child: the shared part with ``extra`` laid over it."""
        if not extra:
            return self._base
        return self._base | {name.encode(): value.encode() for name, value in extra.items()}
