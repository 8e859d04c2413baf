"""Whether the markup of a template can be read at once, found out in one pass over the text.

The library looks at the whole rest of the text for each opening that has no end, at the rest of the markup for each
parenthesis, and tries every division of blanks that stand alone: 60 KB of these would hold the interpreter for minutes.
"""

from __future__ import annotations

import re
from typing import Final

from jobworkerp_standalone.workflow.expressions.liquid_engine import NotLiquid

_OPENING: Final = re.compile(r"\{\{|\{%-?\s*(?:(raw|doc)\s*-?%\}|(?=[#\w]))")
"""As the library has them: where a tag has no name, what follows in it may be an opening."""
_END: Final = {"{{": re.compile(r"-?\}\}"), "{%": re.compile(r"-?%\}")}
_END_OF_BLOCK: Final = {name: re.compile(rf"\{{%-?\s*end{name}\s*-?%\}}") for name in ("raw", "doc")}
_MOST_BLANKS: Final = 200
"""In a row, before the end of markup."""
_MOST_PARENTHESES: Final = 100
"""In one piece of markup."""
_SHORT: Final = 500
"""Characters from an opening to the end of the text that may be looked at as often as there are openings. In a comment,
or as the brace before a tag, one without an end may be meant.
"""


def check_markup(body: str) -> None:
    """Look at all markup of a template.

    Raises:
        NotLiquid: some has no end before much text, or more blanks or parentheses than anybody writes.
    """
    at = 0
    while (opening := _OPENING.search(body, at)) is not None:
        block = opening[1]
        end = (_END_OF_BLOCK[block] if block else _END[opening[0][:2]]).search(body, opening.end())
        if end is not None:
            at = end.end()
            problem = None if block else _problem(body[opening.end() : end.start()])
        else:
            at = opening.start() + 1  # where the library looks next
            problem = "has no end" if len(body) - opening.start() > _SHORT else None
        if problem is not None:
            raise _wrong(body, opening, problem)


def _problem(markup: str) -> str | None:
    if len(markup) - len(markup.rstrip()) > _MOST_BLANKS:
        return f"has more than {_MOST_BLANKS} blanks before its end"
    if markup.count("(") > _MOST_PARENTHESES:
        return f"has more than {_MOST_PARENTHESES} parentheses in it"
    return None


def _wrong(body: str, opening: re.Match[str], problem: str) -> NotLiquid:
    return NotLiquid(f"{opening[0].rstrip()!r} {problem}", body.count("\n", 0, opening.start()) + 1)
