"""What is known of a Liquid expression before it is rendered."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from jobworkerp_standalone.jobs.json_size import size_up_to
from jobworkerp_standalone.workflow.expressions.liquid_engine import NotLiquid, compiled
from jobworkerp_standalone.workflow.expressions.liquid_markup import check_markup
from jobworkerp_standalone.workflow.expressions.scope import Scope
from jobworkerp_standalone.workflow.expressions.values import JSON

MAX_TEXT: Final = 65_536
_INLINE_TEXT: Final = 2_048
"""The daemon may have to parse it again."""
_INLINE_SIZE: Final = 16_384
_INLINE_US: Final = 10_000
"""Bound of the time that one may take in the daemon; what is real is a fraction of what is counted."""
_STEP_US: Final = 3
_CHARACTERS_IN_US: Final = 300
"""How many characters are copied or compared in a microsecond."""
_ITEM_CHARACTERS_IN_US: Final = 5
"""The same where each item of a list takes a step of its own."""
_MOST_GROWTH: Final = 1e6
_TAG: Final = re.compile(r"\{%-?\s*(\w+)")
_INLINE_TAGS: Final = frozenset({
    "assign", "if", "elsif", "else", "endif", "unless", "endunless", "for", "endfor", "break", "continue",
    "case", "when", "endcase", "raw", "endraw", "comment", "endcomment",
})  # fmt: skip
_STEP: Final = re.compile(r"\{\{|\{%|[|,.:\[]|[=<>!]=|[<>]|\b(?:and|or|not|contains)\b")
_MARKUP: Final = re.compile(r"\{[{%].*?[%}]\}", re.DOTALL)
_LITERAL: Final = re.compile(r"'[^']*'|\"[^\"]*\"")
_RANGE: Final = re.compile(r"\.\.")
_GROWTH: Final[Mapping[str, int]] = {
    "upcase": 3, "downcase": 3, "capitalize": 3, "strip": 1, "lstrip": 1, "rstrip": 1, "strip_newlines": 1, "remove": 1,
    "newline_to_br": 7, "escape": 6, "size": 1, "slice": 1, "first": 1, "last": 1, "split": 1, "default": 1,
    "append": 2, "prepend": 2, "truncate": 2, "json_encode": 12, "map": 1, "sort": 1, "reverse": 1, "compact": 1,
    "concat": 2, "abs": 1, "plus": 2, "minus": 2,
}  # fmt: skip
"""Filters that may run in the daemon, and how many times as large as what goes in their result may be."""
_FOR_EACH_ITEM: Final = frozenset({"split", "json_encode", "map", "sort", "reverse", "compact", "concat"})


class _Work(NamedTuple):
    """What bounds the time that a template takes."""

    depth: int
    """How deep loops are nested."""
    steps: int
    """At most so many things are done in one round of all loops."""
    steps_for_items: int
    """Filters among them that go through lists."""
    growth: int
    """How many times as large as what it sees a value may become."""
    literals: int
    """Characters of its literals, which loops and filters work on too."""
    text: int
    """Characters of it all."""

    def us_at(self, size: int) -> float:
        """Return the bound of the time, in microseconds, for values of this size."""
        largest = self.growth * (size + self.literals + 1)
        copied = (largest * self.steps + self.text) / _CHARACTERS_IN_US
        each = self.steps * _STEP_US + copied + self.steps_for_items * largest / _ITEM_CHARACTERS_IN_US
        return each * largest**self.depth


@dataclass(frozen=True, slots=True)
class LiquidProgram:
    """What is known of a template before it is rendered."""

    body: str
    names: frozenset[str]
    secrets: frozenset[str]
    work: _Work | None
    """None: it may run in a helper only."""

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
        if self.work is None:
            return False
        size = size_up_to(_INLINE_SIZE, seen.values())
        return size <= _INLINE_SIZE and self.work.us_at(size) <= _INLINE_US


def analyse(body: str) -> LiquidProgram:
    """Return what is known of a template.

    Raises:
        NotLiquid: it does not parse.
    """
    if len(body) > MAX_TEXT:
        raise NotLiquid(f"it is longer than {MAX_TEXT:,} characters")
    check_markup(body)
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
    filters = {name: len(places) for name, places in analysis.filters.items()}
    return LiquidProgram(body, frozenset(names), frozenset(secrets), _work(body, filters))


def _work(body: str, filters: Mapping[str, int]) -> _Work | None:
    """Bound what a template does; None if it holds what is not on the lists."""
    tags = _TAG.findall(body)
    if (
        len(body) > _INLINE_TEXT
        or not (_INLINE_TAGS.issuperset(tags) and filters.keys() <= _GROWTH.keys())
        or _RANGE.search(body)
    ):
        return None
    depth = deepest = 0
    for tag in tags:
        depth += (tag == "for") - (tag == "endfor")
        deepest = max(deepest, depth)
        if tag == "assign" and depth:
            return None  # what one round makes, the next may double
    growth = math.prod(_GROWTH[name] ** min(count, 20) for name, count in filters.items())
    if growth > _MOST_GROWTH:
        return None
    for_items = sum(count for name, count in filters.items() if name in _FOR_EACH_ITEM)
    literals = sum(len(found) for part in _MARKUP.findall(body) for found in _LITERAL.findall(part))
    return _Work(deepest, len(_STEP.findall(body)), for_items, growth, literals, len(body))
