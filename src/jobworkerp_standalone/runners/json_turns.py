"""JSON of any size as text, written without keeping others from their turn for long."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

from jobworkerp_standalone.jobs.json_fragments import JSON, fragments_of


async def written(value: JSON, write: Callable[[JSON], str] = json.dumps) -> str:
    """Return a value as JSON text; a small one at once. ``write`` says how a part of it is written.

    Raises:
        ValueError, TypeError, RecursionError: it cannot be written as JSON.
    """
    pieces: list[str] = []
    for fragment in fragments_of(value, write):
        if pieces:
            await asyncio.sleep(0)
        pieces.append(fragment.text)
    return pieces[0] if len(pieces) == 1 else "".join(pieces)
