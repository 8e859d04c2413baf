"""What is known of a Liquid expression before it is rendered."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from jobworkerp_standalone.workflow.expressions.liquid_engine import NotLiquid, compiled
from jobworkerp_standalone.workflow.expressions.scope import Scope
from jobworkerp_standalone.workflow.expressions.values import JSON, size_up_to

MAX_TEXT: Final = 65_536
_INLINE_SIZE: Final = 16_384
_INLINE_STEPS: Final = 50_000
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
