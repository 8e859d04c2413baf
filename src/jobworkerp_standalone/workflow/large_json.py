"""JSON of any size, read and written without keeping others from their turn for long; small JSON switches no task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import anyio.to_thread

from jobworkerp_standalone.jobs.json_in import json_value
from jobworkerp_standalone.jobs.json_size import size_up_to
from jobworkerp_standalone.runners.json_turns import written
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.json_writer import json_text

AT_ONCE: Final = 65_536
"""Characters or bytes that are handled on the event loop; what is longer goes to a thread."""
_T = TypeVar("_T")


async def value_of(text: str) -> Any:
    """Return the value of a JSON text, as ``json_value`` does.

    Raises:
        ValueError: as ``json_value``.
    """
    if len(text) <= AT_ONCE:
        return json_value(text)
    return await anyio.to_thread.run_sync(json_value, text, _give_way)


def _give_way(value: _T) -> _T:
    """Be called by the parser for each object: between two bytecodes other threads may have the interpreter."""
    return value


async def beside(make: Callable[[], _T], *, large: bool) -> _T:
    """Return what is made of a value: of a large one in a thread, else here and now."""
    return await anyio.to_thread.run_sync(make) if large else make()


def is_large(value: JSON) -> bool:
    """Tell whether a value is too large to be handled on the event loop."""
    return size_up_to(AT_ONCE, (value,)) > AT_ONCE


async def text_of(value: JSON) -> str:
    """Return a value as JSON text, as ``json_text`` does."""
    return await written(value, json_text)
