"""How a plugin says that a job failed, and how its author is told what is wrong with it."""

from __future__ import annotations

from typing import ClassVar


class Failure(Exception):
    """A job failed, for a reason that its caller should read. Any other exception ends it like ``BadInput``."""

    kind: ClassVar[str] = "bad_input"


class BadInput(Failure):
    """The arguments cannot be used; trying again does not help."""


class Retryable(Failure):
    """The same job may succeed later: the worker's retry policy decides."""

    kind = "retryable"


class Fatal(Failure):
    """The runner cannot work at all, for example because of its settings."""

    kind = "fatal"


class Aborted(Failure):
    """The other side broke the work off."""

    kind = "aborted"


class JobCancelled(BaseException):
    """Raised inside a plain function whose job was cancelled or timed out. Clean up in ``finally``, and let it pass.

    Coroutines get ``asyncio.CancelledError`` instead.
    """


class PluginMistake(Exception):
    """The plugin cannot be used as it is written; the text says what to change."""
