"""A store that does not answer just now."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import anyio

from jobworkerp_standalone.jobs.errors import Retryable, StorageError

T = TypeVar("T")
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 2.0
_TRIES: Final = 6
_log = logging.getLogger(__name__)


async def patiently(action: Callable[[], Awaitable[T]], failed: str, *, for_ever: bool = False) -> T:
    """Do something with the store, again where it fails for a moment.

    Args:
        action: what to do, all or nothing.
        failed: what is said when it was not done.
        for_ever: until the job is cancelled or the process stops: a job with a row loses nothing by waiting.

    Raises:
        Retryable: it failed for some seconds.
    """
    pause, tries = _FIRST_PAUSE_S, 0
    while True:
        try:
            return await action()
        except StorageError as error:
            tries += 1
            if tries >= _TRIES and not for_ever:
                raise Retryable(f"{failed}: {error}") from error
            _log.warning("%s, trying again: %s", failed, error)
            await anyio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)
