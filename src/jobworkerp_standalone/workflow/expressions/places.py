"""What a string of a document is: a literal, a jq or a Liquid expression."""

from __future__ import annotations

import re
from enum import Enum
from typing import Final, NamedTuple

_LIQUID: Final = "$${"
_JQ: Final = "${"
_END: Final = "}"
_TELLING: Final = frozenset(".$|")
_CLEARLY: Final = re.compile(r"\s*(?:\.(?:[A-Za-z_\[\"]|\s*\Z)|\$[A-Za-z_])")


class Place(Enum):
    """Where a value stands, which decides what text without ``${...}`` means."""

    TEXT = "text"
    """Ordinary values: a literal."""
    LOOSE = "loose"
    """Ordinary values of a document in loose mode: jq where it compiles; where that fails, and else, a literal."""
    CONDITION = "condition"
    """``if``, ``when``, ``exceptWhen``, ``while``, ``for.in``: jq."""
    TRANSFORM = "transform"
    """The whole of ``input.from``, ``output.as``, ``export.as``: jq where it compiles, else a literal."""
    MEMBER = "member"
    """Within an object or array there: jq where it begins as a path or variable does, else a literal."""


class Language(Enum):
    """What an expression is written in."""

    JQ = "jq"
    LIQUID = "Liquid"


class Body(NamedTuple):
    """An expression without what encloses it."""

    language: Language
    text: str
    offset: int
    """Where it begins in the string of the document."""


def enclosed(text: str) -> Body | None:
    """Return the expression in ``${...}`` (jq) or ``$${...}`` (Liquid); None for other text.

    Blanks around it do not count; exactly one closing brace belongs to the enclosure.
    """
    trimmed = text.strip()
    if not trimmed.endswith(_END):
        return None
    for opening, language in ((_LIQUID, Language.LIQUID), (_JQ, Language.JQ)):
        if trimmed.startswith(opening):
            body = trimmed[len(opening) : -len(_END)]
            return Body(language, body, text.index(opening) + len(opening))
    return None


def is_clearly_jq(text: str) -> bool:
    """Tell whether text among data is meant as jq: ``.name``, ``.[0]``, ``."a b"``, ``.`` alone, ``$name``."""
    return _CLEARLY.match(text) is not None


def looks_like_jq(text: str) -> bool:
    """Tell whether text that does not compile was meant as jq."""
    return not _TELLING.isdisjoint(text)
