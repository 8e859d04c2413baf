"""Parses the part of jq that may run in the daemon. What it does not know is no mistake: it runs in a helper."""

from __future__ import annotations

from typing import Final

from jobworkerp_standalone.workflow.expressions.jq_tokens import Kind, Token
from jobworkerp_standalone.workflow.expressions.jq_tree import (
    Bind,
    Build,
    Call,
    Collect,
    Comma,
    Dot,
    Each,
    If,
    Index,
    Literal,
    Node,
    Operation,
    Pipe,
    Text,
    Variable,
)


class Unknown(Exception):
    """Something that this parser leaves to jq."""


_KEYWORDS: Final = frozenset({
    "module", "import", "include", "def", "if", "then", "else", "elif", "end", "as", "reduce", "foreach", "try",
    "catch", "label", "break", "and", "or", "__loc__",
})  # fmt: skip
_LEVELS: Final = (
    ("//",),
    ("or",),
    ("and",),
    ("==", "!=", "<", "<=", ">", ">="),
    ("+", "-"),
    ("*", "/", "%"),
)
_ALTERNATIVE, _COMPARISON = 0, 3


def parse(tokens: list[Token]) -> Node:
    """Return the tree.

    Raises:
        Unknown: the text is more than this parser knows, or no jq.
    """
    parser = _Parser(tokens)
    tree = parser.pipe()
    if parser.kind is not Kind.END:
        raise Unknown(parser.text)
    return tree


class _Parser:
    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._last_term = (0, 0)
        """Where the term that was read last begins and ends: only a term can be bound to a variable."""

    @property
    def text(self) -> str:
        return self._tokens[self._at].text

    @property
    def kind(self) -> Kind:
        return self._tokens[self._at].kind

    def take(self) -> Token:
        token = self._tokens[self._at]
        self._at += 1
        return token

    def accept(self, text: str) -> bool:
        if self.text != text or self.kind not in (Kind.SYMBOL, Kind.NAME):
            return False
        self._at += 1
        return True

    def expect(self, text: str) -> None:
        if not self.accept(text):
            raise Unknown(f"{text} instead of {self.text}")

    def pipe(self) -> Node:
        """``a | b``, ``a as $x | b``."""
        start = self._at
        left = self.comma()
        if self.text == "as" and self.kind is Kind.NAME:
            if self._last_term != (start, self._at):
                raise Unknown("binding of more than a term")
            return self._binding(left)
        return Pipe(left, self.pipe()) if self.accept("|") else left

    def _binding(self, source: Node) -> Node:
        self.take()
        if self.kind is not Kind.VARIABLE:
            raise Unknown("destructuring")
        name = self.take().text[1:]
        self.expect("|")
        return Bind(source, name, self.pipe())

    def comma(self) -> Node:
        left = self.operation(_ALTERNATIVE)
        while self.accept(","):
            left = Comma(left, self.operation(_ALTERNATIVE))
        return left

    def operation(self, level: int) -> Node:
        """Parse what binds at least as tightly as this level."""
        if level == len(_LEVELS):
            return self.prefixed()
        left = self.operation(level + 1)
        while self.text in _LEVELS[level] and self.kind in (Kind.SYMBOL, Kind.NAME):
            sign = self.take().text
            right = self.operation(level if level == _ALTERNATIVE else level + 1)
            left = Operation(sign, left, right)
            if level == _COMPARISON and self.text in _LEVELS[level]:
                raise Unknown("comparison of a comparison")
        return left

    def prefixed(self) -> Node:
        if self.accept("-") and self.kind is not Kind.NUMBER:
            raise Unknown("negation")
        return self.term()

    def term(self) -> Node:
        start = self._at
        found = self._primary()
        while True:
            if self.kind is Kind.FIELD:
                found = Index(found, (Literal(self.take().text),))
            elif self.text == "." and self.kind is Kind.SYMBOL:
                self.take()
                found = self._dotted(found)
            elif self.accept("["):
                found = self._bracketed(found)
            elif self.accept("?"):
                pass
            else:
                self._last_term = (start, self._at)
                return found

    def _dotted(self, source: Node) -> Node:
        if self.kind is Kind.QUOTE:
            return Index(source, (self._string(),))
        self.expect("[")
        return self._bracketed(source)

    def _bracketed(self, source: Node) -> Node:
        if self.accept("]"):
            return Each(source)
        if self.accept(":"):
            keys: tuple[Node, ...] = (self.pipe(),)
        else:
            keys = (self.pipe(),)
            if self.accept(":") and self.text != "]":
                keys = (*keys, self.pipe())
        self.expect("]")
        return Index(source, keys)

    def _primary(self) -> Node:
        kind = self.kind
        if kind is Kind.FIELD:
            return Index(Dot(), (Literal(self.take().text),))
        if kind is Kind.VARIABLE:
            return Variable(self.take().text[1:])
        if kind is Kind.NUMBER:
            text = self.take().text
            return Literal(text, float(text))
        if kind is Kind.QUOTE:
            return self._string()
        if kind is Kind.FORMAT:
            self.take()
            return self._string() if self.kind is Kind.QUOTE else Call("@", ())
        return self._named() if kind is Kind.NAME else self._enclosed()

    def _enclosed(self) -> Node:
        if self.accept("."):
            if self.kind is Kind.QUOTE:
                return Index(Dot(), (self._string(),))
            return Dot()
        if self.accept("("):
            inner = self.pipe()
            self.expect(")")
            return inner
        if self.accept("["):
            if self.accept("]"):
                return Collect(None)
            inner = self.pipe()
            self.expect("]")
            return Collect(inner)
        if self.accept("{"):
            return self._object()
        raise Unknown(self.text)

    def _string(self) -> Node:
        self.take()
        fixed = ""
        parts: list[Node] = []
        while self.kind is not Kind.QUOTE:
            token = self.take()
            if token.kind is Kind.INTERPOLATION:
                parts.append(self.pipe())
                self.expect(")")
            else:
                fixed += token.text
        self.take()
        return Text(len(fixed), tuple(parts)) if parts else Literal(f'"{fixed}"')

    def _object(self) -> Node:
        entries: list[tuple[Node, Node]] = []
        while not self.accept("}"):
            if entries:
                self.expect(",")
            entries.append(self._entry())
        return Build(tuple(entries))

    def _entry(self) -> tuple[Node, Node]:
        if self.kind is Kind.VARIABLE:
            value: Node = Variable(self.text[1:])
            key: Node = Literal(self.take().text)
            return key, value
        if self.kind is Kind.QUOTE:
            key = self._string()
        elif self.kind is Kind.NAME or self.kind is Kind.NUMBER:
            key = Literal(self.take().text)
        else:
            self.expect("(")
            key = self.pipe()
            self.expect(")")
            self.expect(":")
            return key, self._entry_value()
        if not self.accept(":"):
            return key, Index(Dot(), (key,))
        return key, self._entry_value()

    def _entry_value(self) -> Node:
        found = self.operation(_ALTERNATIVE)
        while self.accept("|"):
            found = Pipe(found, self.operation(_ALTERNATIVE))
        return found

    def _named(self) -> Node:
        name = self.take().text
        if name == "if":
            return self._if()
        if name in _KEYWORDS:
            raise Unknown(name)
        arguments: list[Node] = []
        if self.accept("("):
            arguments.append(self.pipe())
            while self.accept(";"):
                arguments.append(self.pipe())
            self.expect(")")
        return Call(name, tuple(arguments))

    def _if(self) -> Node:
        condition = self.pipe()
        self.expect("then")
        yes = self.pipe()
        if self.accept("elif"):
            return If(condition, yes, self._if())
        no = self.pipe() if self.accept("else") else Dot()
        self.expect("end")
        return If(condition, yes, no)
