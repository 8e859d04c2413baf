"""The words of jq, and what no expression may use."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

MAX_TEXT: Final = 65_536
MAX_DEPTH: Final = 200


class Kind(Enum):
    """What a token is."""

    FIELD = auto()
    """``.name``"""
    VARIABLE = auto()
    """``$name``"""
    NAME = auto()
    FORMAT = auto()
    """``@name``"""
    NUMBER = auto()
    QUOTE = auto()
    """The quote that begins or ends a string."""
    PIECE = auto()
    """Text of a string, escapes included."""
    INTERPOLATION = auto()
    """The ``\\(`` in a string; a closing parenthesis ends it."""
    SYMBOL = auto()
    END = auto()


@dataclass(frozen=True, slots=True)
class Token:
    """A word with its place in the text."""

    kind: Kind
    text: str
    start: int
    end: int


class NotJq(Exception):
    """The text is no jq. ``at`` is the place of the mistake in it."""

    def __init__(self, reason: str, at: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.at = at


_WORD: Final = re.compile(
    r"(?P<BLANK>[ \t\r\n]+|\#[^\n\r]*)"
    r"|(?P<FIELD>\.[A-Za-z_]\w*)"
    r"|(?P<VARIABLE>\$(?:[A-Za-z_]\w*::)*[A-Za-z_]\w*)"
    r"|(?P<NAME>(?:[A-Za-z_]\w*::)*[A-Za-z_]\w*)"
    r"|(?P<FORMAT>@\w+)"
    r"|(?P<NUMBER>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)"
    r'|(?P<QUOTE>")'
    r"|(?P<SYMBOL>\?//=|\?//|//=|[!=<>|+\-*/%]=|\.\.|//|[\][(){}.,:;|=+\-*/%?<>$])",
    re.ASCII,
)
_PIECE: Final = re.compile(r'(?:[^"\\]|\\[^(])+')
_CLOSES: Final = {"(": ")", "[": "]", "{": "}"}
_REFUSED: Final = {
    "import": "modules cannot be loaded",
    "include": "modules cannot be loaded",
    "input": "there is no other input: use `.` or a variable",
    "inputs": "there is no other input: use `.` or a variable",
    "input_filename": "there is no input file",
    "input_line_number": "there is no input file",
    "modulemeta": "modules cannot be loaded",
    "get_search_list": "modules cannot be loaded",
    "halt": "an expression cannot end the program: use `error`",
    "halt_error": "an expression cannot end the program: use `error`",
}
_LOC: Final = "$__loc__"


def tokens_of(text: str) -> list[Token]:
    """Return the words of a text, the last of kind END. Brackets are balanced, refused words are not in it.

    Raises:
        NotJq: the text is too long or nested too deep, holds what is no jq, or what is refused.
    """
    if len(text) > MAX_TEXT:
        raise NotJq(f"it is longer than {MAX_TEXT:,} characters", 0)
    found = list(_scan(text))
    _check_words(found)
    return found


def _scan(text: str) -> Iterator[Token]:
    at = 0
    open_brackets: list[str] = []
    in_string = False
    while at < len(text):
        if len(open_brackets) > MAX_DEPTH:
            raise NotJq(f"it is nested deeper than {MAX_DEPTH} levels", at)
        token = _in_string(text, at) if in_string else _word(text, at)
        at = token.end
        if token.kind is Kind.END:
            continue
        if token.kind is Kind.QUOTE:
            in_string = not in_string
            if in_string:
                open_brackets.append('"')
            else:
                open_brackets.pop()
        elif token.kind is Kind.INTERPOLATION:
            open_brackets.append("\\(")
            in_string = False
        elif token.kind is Kind.SYMBOL:
            in_string = _bracket(token, open_brackets)
        yield token
    if open_brackets:
        raise NotJq(f"{open_brackets[-1].lstrip(chr(92))!r} is not closed", len(text))
    yield Token(Kind.END, "", len(text), len(text))


def _word(text: str, at: int) -> Token:
    """Return the word at a place; for blanks and comments one of kind END."""
    found = _WORD.match(text, at)
    if found is None:
        raise NotJq(f"unexpected {text[at]!r}", at)
    if found.lastgroup == "BLANK":
        if "\\" in found[0]:
            raise NotJq("a comment must not hold a backslash", at)
        return Token(Kind.END, "", at, found.end())
    return Token(Kind[found.lastgroup or "END"], found[0], at, found.end())


def _in_string(text: str, at: int) -> Token:
    if text[at] == '"':
        return Token(Kind.QUOTE, '"', at, at + 1)
    if text.startswith("\\(", at):
        return Token(Kind.INTERPOLATION, "\\(", at, at + 2)
    found = _PIECE.match(text, at)
    if found is None:
        raise NotJq("a string is not closed", at)
    return Token(Kind.PIECE, found[0], at, found.end())


def _bracket(token: Token, open_brackets: list[str]) -> bool:
    """Keep account of brackets; return whether a string goes on after this one."""
    if token.text in _CLOSES:
        open_brackets.append(token.text)
    elif token.text in _CLOSES.values():
        opening = open_brackets.pop() if open_brackets else ""
        if token.text != _CLOSES.get(opening.lstrip("\\")):
            raise NotJq(f"unexpected {token.text!r}", token.start)
        return opening.startswith("\\")
    return False


def _check_words(found: list[Token]) -> None:
    brackets: list[str] = []
    for number, token in enumerate(found):
        if token.kind is Kind.SYMBOL and token.text in _CLOSES:
            brackets.append(token.text)
        elif token.kind is Kind.INTERPOLATION:
            brackets.append("(")
        elif token.kind is Kind.SYMBOL and token.text in _CLOSES.values():
            brackets.pop()
        elif token.kind is Kind.NAME and token.text in _REFUSED:
            if not (_after_key_mark(found, number) and brackets and brackets[-1] == "{"):
                raise NotJq(f"`{token.text}` is refused: {_REFUSED[token.text]}", token.start)
        elif token.text == _LOC:
            raise NotJq("`$__loc__` is refused: it says nothing about the document", token.start)


def _after_key_mark(found: list[Token], number: int) -> bool:
    return number > 0 and found[number - 1].text in ("{", ",")
