"""Liquid itself, in whichever process it runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from jobworkerp_standalone.workflow.expressions.failure import EvaluationFailed
from jobworkerp_standalone.workflow.expressions.recent import Recent
from jobworkerp_standalone.workflow.expressions.values import JSON, finite

if TYPE_CHECKING:
    from liquid import BoundTemplate

_EACH: Final = 3_000
_CHARACTER: Final = 66
"""Bytes of a template that is ready, and more for each character of its text: measured."""
_MOST_COMPILED: Final = 16 * 1024 * 1024
"""Bytes of all that are kept."""


class NotLiquid(Exception):
    """The text is no Liquid. ``line`` is the line of the mistake, from 1, where known."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line


def _compiled(body: str) -> BoundTemplate:
    from liquid.exceptions import LiquidError  # noqa: PLC0415 - only where there is Liquid

    from jobworkerp_standalone.workflow.expressions.liquid_terms import (  # noqa: PLC0415 - as above
        check_comparisons,
        environment,
    )

    try:
        template = environment().from_string(body)
        check_comparisons(template)
        return template
    except (LiquidError, RecursionError) as error:
        raise NotLiquid(_reason(error), _line(error, body)) from error


compiled: Final = Recent(_compiled, lambda body: _EACH + _CHARACTER * len(body), _MOST_COMPILED)
"""Returns a template ready to render in this process; NotLiquid: it does not parse."""


def load() -> None:
    """Load what the first template would load, which takes much longer than most templates."""
    from jobworkerp_standalone.workflow.expressions.liquid_terms import environment  # noqa: PLC0415 - as above

    environment()


def render(body: str, seen: Mapping[str, JSON]) -> JSON:
    """Render in this process and return the typed result.

    Raises:
        EvaluationFailed: with the engine's message.
    """
    from liquid.exceptions import LiquidError  # noqa: PLC0415 - as above

    try:
        return typed(compiled(body).render(**seen))
    except (LiquidError, NotLiquid, ArithmeticError, ValueError, TypeError, RecursionError) as error:
        raise EvaluationFailed(_reason(error)) from error


def typed(text: str) -> JSON:
    """Return the JSON value that the text is, else the text."""
    try:
        return finite(json.loads(text, parse_constant=_no_constant))
    except (ValueError, RecursionError):
        return text


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _reason(error: Exception) -> str:
    return str(getattr(error, "message", "") or error) or type(error).__name__


def _line(error: Exception, body: str) -> int | None:
    index = getattr(getattr(error, "token", None), "start_index", None)
    return None if not isinstance(index, int) or index < 0 else body.count("\n", 0, index) + 1
