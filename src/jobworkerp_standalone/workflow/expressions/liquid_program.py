"""A Liquid expression, compiled."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from jobworkerp_standalone.workflow.expressions.errors import EvaluationFailed
from jobworkerp_standalone.workflow.expressions.scope import Scope
from jobworkerp_standalone.workflow.expressions.values import JSON, finite, size_up_to

if TYPE_CHECKING:
    from liquid import BoundTemplate

MAX_TEXT: Final = 65_536
_INLINE_SIZE: Final = 16_384
_INLINE_STEPS: Final = 50_000
_CACHED: Final = 512
_TAG: Final = re.compile(r"\{%-?\s*(\w+)")
_LOOPS: Final = frozenset({"for", "tablerow"})
_GROWING: Final = re.compile(
    r"\|\s*(?:append|prepend|replace|replace_first|replace_last|join|concat|json_encode|times|plus"
    r"|base64_encode|url_encode)\b"
)
_MULTIPLYING: Final = re.compile(r"\|\s*(?:replace|replace_first|replace_last|join)\b")
_HELPER_ONLY: Final = re.compile(
    r"\.\.|\{%-?\s*(?:liquid|capture|increment|decrement|cycle)\b|\|\s*(?:strip_html|date)\b"
)


class NotLiquid(Exception):
    """The text is no Liquid. ``line`` is the line of the mistake, from 1, where known."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line


@dataclass(frozen=True, slots=True)
class LiquidProgram:
    """What is known of a template before it is rendered."""

    body: str
    names: frozenset[str]
    secrets: frozenset[str]
    depth: int | None
    """How deep loops are nested; None: it may run in a helper only."""
    nodes: int
    """How many tags and outputs it has."""

    def globals(self, scope: Scope) -> dict[str, JSON]:
        """Return what it sees of a scope: members of ``.`` before variables, except secrets."""
        seen: dict[str, JSON] = {name: scope.variables[name] for name in self.names if name in scope.variables}
        if isinstance(scope.dot, Mapping):
            dot = scope.dot
            seen.update({name: dot[name] for name in self.names if name in dot and name != "secrets"})
        elif "raw_input" in self.names:
            seen["raw_input"] = scope.dot
        return seen

    def may_run_inline(self, seen: Mapping[str, JSON]) -> bool:
        """Tell whether it is quick, whatever the values are."""
        if self.depth is None:
            return False
        size = size_up_to(_INLINE_SIZE, seen.values()) + 1
        if self.depth:
            size += len(self.body)  # loops and filters work on its own literals too
        return size <= _INLINE_SIZE and (self.nodes + 1) * size**self.depth <= _INLINE_STEPS


def analyse(body: str) -> LiquidProgram:
    """Return what is known of a template.

    Raises:
        NotLiquid: it does not parse.
    """
    if len(body) > MAX_TEXT:
        raise NotLiquid(f"it is longer than {MAX_TEXT:,} characters")
    template = compiled(body)
    names: set[str] = set()
    secrets: set[str] = set()
    analysis = template.analyze(include_partials=False)
    unknown = analysis.filters.keys() - template.env.filters.keys()
    if unknown:
        raise NotLiquid(f"unknown filter {min(unknown)!r}")
    for name, places in analysis.globals.items():
        names.add(name)
        if name == "secrets":
            secrets.update(str(place.segments[1]) for place in places if len(place.segments) > 1)
    depth, nodes = _shape(body)
    return LiquidProgram(body, frozenset(names), frozenset(secrets), depth, nodes)


@lru_cache(_CACHED)
def compiled(body: str) -> BoundTemplate:
    """Return a template ready to render in this process.

    Raises:
        NotLiquid: it does not parse.
    """
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


def _shape(body: str) -> tuple[int | None, int]:
    """Return how deep loops are nested and how many tags and outputs there are."""
    depth = deepest = 0
    for tag in _TAG.finditer(body):
        if tag[1] in _LOOPS:
            depth += 1
            deepest = max(deepest, depth)
        elif tag[1] in {f"end{name}" for name in _LOOPS}:
            depth -= 1
        elif tag[1] == "assign" and depth:
            return None, 0
    grows = len(_GROWING.findall(body)) + len(_MULTIPLYING.findall(body))
    if _HELPER_ONLY.search(body):
        return None, 0
    return deepest + min(grows, 4), body.count("{%") + body.count("{{")


def _reason(error: Exception) -> str:
    return str(getattr(error, "message", "") or error) or type(error).__name__


def _line(error: Exception, body: str) -> int | None:
    index = getattr(getattr(error, "token", None), "start_index", None)
    return None if not isinstance(index, int) or index < 0 else body.count("\n", 0, index) + 1
