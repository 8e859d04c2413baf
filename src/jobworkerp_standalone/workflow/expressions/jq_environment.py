"""``env.NAME`` and ``$ENV.NAME``: variables of the environment, by name only, as a variable of our own."""

from __future__ import annotations

import json
from typing import Final, NamedTuple

from jobworkerp_standalone.workflow.expressions.jq_tokens import Kind, NotJq, Token, tokens_of

VARIABLE: Final = "__environment"
_BRACKETED: Final = 5
"""Tokens of ``["NAME"]``."""
_OPENING: Final = frozenset({"(", "[", "{", "\\("})
_CLOSING: Final = frozenset({")", "]", "}"})


class Rewritten(NamedTuple):
    """A text without ``env`` and the names of the environment's variables that it reads."""

    text: str
    tokens: list[Token]
    names: frozenset[str]


def without_environment(text: str) -> Rewritten:
    """Return jq that reads the environment from `VARIABLE`.

    Raises:
        NotJq: as `tokens_of`, and where the environment is used as a whole.
    """
    tokens = tokens_of(text)
    names: set[str] = set()
    pieces: list[str] = []
    at = 0
    for number, token in enumerate(tokens):
        if token.text == f"${VARIABLE}" and token.kind is Kind.VARIABLE:
            raise NotJq(f"`{token.text}` is refused: write env.NAME", token.start)
        if not _is_environment(tokens, number):
            continue
        names.add(_name_after(tokens, number))
        pieces += (text[at : token.start], f"${VARIABLE}")
        at = token.end
    if not names:
        return Rewritten(text, tokens, frozenset())
    rewritten = "".join(pieces) + text[at:]
    return Rewritten(rewritten, tokens_of(rewritten), frozenset(names))


def _is_environment(tokens: list[Token], number: int) -> bool:
    token = tokens[number]
    if token.kind is Kind.VARIABLE:
        return token.text == "$ENV"
    if token.kind is not Kind.NAME or token.text != "env":
        return False
    follows = number > 0 and tokens[number - 1].text in ("{", ",") and tokens[number + 1].text in (":", ",", "}")
    return not (follows and _bracket_around(tokens, number) == "{")


def _bracket_around(tokens: list[Token], number: int) -> str:
    """Return the bracket in which a token stands; empty where it stands in none."""
    closed = 0
    for token in reversed(tokens[:number]):
        if token.kind not in {Kind.SYMBOL, Kind.INTERPOLATION}:
            continue
        if token.text in _CLOSING:
            closed += 1
        elif token.text in _OPENING:
            if closed == 0:
                return token.text
            closed -= 1
    return ""


def _name_after(tokens: list[Token], number: int) -> str:
    following = tokens[number + 1 : number + 1 + _BRACKETED + 1]
    if following[0].kind is Kind.FIELD:
        return following[0].text[1:]
    if following[0].text == ".":
        following = following[1:]
    texts = [token.text for token in following[:_BRACKETED]]
    if len(texts) == _BRACKETED and texts[0] == "[" and texts[4] == "]" and following[2].kind is Kind.PIECE:
        return json.loads(f'"{texts[2]}"')
    raise NotJq(
        f"`{tokens[number].text}` as a whole is refused: name one variable, for example env.HOME", tokens[number].start
    )
