"""What is known of a jq expression before it is evaluated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from jobworkerp_standalone.workflow.expressions import jq_environment
from jobworkerp_standalone.workflow.expressions.jq_bounds import Cost, Unbounded, cost_of
from jobworkerp_standalone.workflow.expressions.jq_check import is_quick, mistake_in
from jobworkerp_standalone.workflow.expressions.jq_engine import message
from jobworkerp_standalone.workflow.expressions.jq_parser import Unknown, parse
from jobworkerp_standalone.workflow.expressions.jq_reads import reads_input
from jobworkerp_standalone.workflow.expressions.jq_tokens import Kind, NotJq, Token
from jobworkerp_standalone.workflow.expressions.paths import variable
from jobworkerp_standalone.workflow.expressions.scope import Scope
from jobworkerp_standalone.workflow.expressions.values import JSON

INLINE_BYTES: Final = 16_384
"""Largest input that is evaluated in the daemon."""
INLINE_STEPS: Final = 100_000
INLINE_SIZE: Final = 400_000
_BINDERS: Final = frozenset({"as", "def", "label"})
_CACHED: Final = 1_024


@dataclass(frozen=True, slots=True)
class JqProgram:
    """What is known of an expression before it is evaluated."""

    body: str
    names: frozenset[str]
    """Variables that it reads, as far as can be told."""
    secrets: frozenset[str]
    """Members of ``$secrets`` that it names."""
    environment: frozenset[str]
    """Variables of the environment that it reads."""
    binds: bool
    """Whether names may be its own: then it says itself which are missing."""
    cost: Cost | None
    """None: unknown, it may run in a helper only."""
    reads: bool = True
    """Whether its value depends on ``.``."""

    def request(self, scope: Scope, environment: Mapping[str, str]) -> tuple[str, JSON]:
        """Return the program with its variables, and its input.

        Raises:
            EvaluationFailed: a variable is missing.
        """
        names = sorted(self.names & scope.variables.keys() if self.binds else self.names)
        variables: dict[str, JSON] = {name: variable(scope, name) for name in names}
        if self.environment:
            names.append(jq_environment.VARIABLE)
            variables[jq_environment.VARIABLE] = {name: environment.get(name) for name in self.environment}
        dot = scope.dot if self.reads else None
        return with_variables(self.body, tuple(names)), {"d": dot, "v": variables} if names else dot

    def may_run_inline(self, size: int) -> bool:
        """Tell whether it is quick and small for an input of this size, whatever the input is."""
        return (
            self.cost is not None
            and size <= INLINE_BYTES
            and self.cost.work.at(size) <= INLINE_STEPS
            and max(self.cost.total.at(size), self.cost.size.at(size)) <= INLINE_SIZE
        )


@lru_cache(_CACHED)
def with_variables(body: str, names: tuple[str, ...]) -> str:
    """Return the program that finds ``.`` in member d of its input and these variables in v.

    The body has lines of its own, so that a comment cannot swallow the end; its brackets are balanced.
    """
    if not names:
        return f"(\n{body}\n)"
    return f".v as {{{','.join(f'${name}' for name in names)}}}|.d|(\n{body}\n)"


def analyse(text: str) -> JqProgram:
    """Return what is known of an expression.

    Raises:
        NotJq: it is no jq, or uses what is refused.
    """
    rewritten = jq_environment.without_environment(text)
    tokens = rewritten.tokens
    found = [token.text[1:] for token in tokens if token.kind is Kind.VARIABLE]
    names = frozenset(name for name in found if "::" not in name and name != jq_environment.VARIABLE)
    binds = any(token.kind is Kind.NAME and token.text in _BINDERS for token in tokens)
    quick = is_quick(tokens)
    cost, reads = _known(tokens) if quick else (None, True)
    program = JqProgram(rewritten.text, names, _secrets(tokens), rewritten.names, binds, cost, reads)
    if program.cost is not None and not program.may_run_inline(len(text)):
        program = replace(program, cost=None)
    _check(program, text, quick=quick)
    return program


def _check(program: JqProgram, text: str, *, quick: bool) -> None:
    """Have jq compile it, with every name there is."""
    names = sorted(program.names) + ([jq_environment.VARIABLE] if program.environment else [])
    mistake = mistake_in(with_variables(program.body, tuple(names)), quick=quick)
    if mistake is not None:
        said = message(mistake)
        raise NotJq(said.text, _offset(text, said.line, said.column))


def _known(tokens: list[Token]) -> tuple[Cost | None, bool]:
    """Return what an expression costs at most, if that can be told, and whether it reads its input."""
    try:
        tree = parse(tokens)
        return cost_of(tree), reads_input(tree)
    except (Unknown, Unbounded, RecursionError, OverflowError):
        return None, True


def _secrets(tokens: list[Token]) -> frozenset[str]:
    found: set[str] = set()
    for number, token in enumerate(tokens):
        if token.text != "$secrets" or token.kind is not Kind.VARIABLE:
            continue
        first, *rest = tokens[number + 1 : number + 6]
        if first.kind is Kind.FIELD:
            found.add(first.text[1:])
            continue
        if first.text == "." and rest:
            first, *rest = rest
        if first.text == "[" and len(rest) > 1 and rest[1].kind is Kind.PIECE:
            found.add(rest[1].text)
        elif first.kind is Kind.QUOTE and rest and rest[0].kind is Kind.PIECE:
            found.add(rest[0].text)
    return frozenset(found)


def _offset(text: str, line: int | None, column: int | None) -> int:
    """Return the place of a line and column (from 1) in a text."""
    lines = text.split("\n")
    if line is None or not 1 <= line <= len(lines):
        return len(text) if line and line > len(lines) else 0
    return sum(len(each) + 1 for each in lines[: line - 1]) + min((column or 1) - 1, len(lines[line - 1]))
