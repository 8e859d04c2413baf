"""Variables of expressions that are probably misspelled.

A run may get any variable from its context, its parent, ``set`` or ``export``. So only what nearly is a known name, and
stands nowhere else in the document, is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from jobworkerp_standalone.workflow.decode.cursor import At, Notes
from jobworkerp_standalone.workflow.expressions.jq_program import JqProgram
from jobworkerp_standalone.workflow.expressions.jq_tokens import Kind, Token, tokens_of
from jobworkerp_standalone.workflow.expressions.liquid_program import LiquidProgram
from jobworkerp_standalone.workflow.expressions.template import Leaf

BUILT_IN: Final = frozenset({"input", "output", "context", "workflow", "task", "runtime", "authorization", "secrets"})
"""What the engine gives, and nothing hides."""
_GIVEN: Final = BUILT_IN | {"error", "item", "index", "ENV"}
_BOUND: Final = re.compile(r"""\b(?:each|at|as|item)["']?\s*:\s*["']?\$?([A-Za-z_]\w*)""")
_WORD: Final = re.compile(r"(?<![\w$])[A-Za-z_]\w*")
_OPENING: Final = frozenset({"(", "[", "{"})
_CLOSING: Final = frozenset({")", "]", "}"})
_SHORTEST: Final = 4
_MOST: Final = 100
"""Names that are compared with all others."""


def warn_of_misspelled(notes: Notes) -> None:
    """Warn of variables that nothing makes and whose names are nearly those of others."""
    used = [(name, at) for leaf, at in notes.leaves for name in _read_by(leaf)]
    unknown = {name for name, _ in used} - _GIVEN
    if not unknown:
        return
    text = "\n".join(notes.lines)
    made = set(_BOUND.findall(text)) | unknown.intersection(_WORD.findall(text))
    misspelled = sorted(unknown - made)[:_MOST]
    meant = {name: _meant(name, sorted(_GIVEN | made)) for name in misspelled}
    for name, at in used:
        if (other := meant.get(name)) is not None:
            _tell(at, name, other)


def _tell(at: At, name: str, other: str) -> None:
    at.warn(f"nothing in this document makes the variable ${name}", f"did you mean ${other}?")


def _read_by(leaf: Leaf) -> Iterable[str]:
    program = leaf.program
    if isinstance(program, LiquidProgram):
        return ()  # names stand there as other words do
    names = {name for name in leaf.names if not name.startswith("secrets.")}
    if isinstance(program, JqProgram) and program.binds:
        names -= set(_bound_in(tokens_of(program.body)))
    return names


def _bound_in(tokens: list[Token]) -> Iterator[str]:
    """Yield variables that an expression makes: behind ``as``, as parameters of ``def``, as labels."""
    for number, token in enumerate(tokens):
        if token.kind is Kind.NAME and token.text in {"as", "def", "label"}:
            ends = {":"} if token.text == "def" else {"|", "("}
            yield from _variables_until(tokens[number + 1 :], ends)


def _variables_until(tokens: list[Token], ends: set[str]) -> Iterator[str]:
    depth = 0
    for token in tokens:
        if depth == 0 and token.text in ends and (ends != {"|", "("} or token.kind is Kind.SYMBOL):
            return
        depth += (token.text in _OPENING) - (token.text in _CLOSING)
        if token.kind is Kind.VARIABLE:
            yield token.text[1:]


def _meant(name: str, known: Iterable[str]) -> str | None:
    return next((other for other in known if _is_slip(name, other)), None)


def _is_slip(written: str, meant: str) -> bool:
    """Tell whether a word is another one with letters exchanged, or with one in it too few, too many or wrong."""
    if min(len(written), len(meant)) < _SHORTEST or any(map(str.isdecimal, written + meant)):
        return False
    if written.lower() == meant.lower() or (len(written) == len(meant) and sorted(written) == sorted(meant)):
        return True
    if len(written) == len(meant):
        return written[0] == meant[0] and written[-1] == meant[-1] and sum(map(str.__ne__, written, meant)) == 1
    shorter, longer = sorted((written, meant), key=len)
    left_out = (longer[:place] + longer[place + 1 :] for place in range(len(longer) - 1))
    return len(longer) - len(shorter) == 1 and shorter in left_out
