"""Whether an expression reads its input: where it does not, a big one need not be written as JSON for it."""

from __future__ import annotations

from typing import Final

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

_CONSTANTS: Final = frozenset({"true", "false", "null"})


def reads_input(node: Node) -> bool:
    """Tell whether the value of an expression depends on ``.``; a builtin counts as if it did."""
    match node:
        case Dot():
            return True
        case Variable() | Literal():
            return False
        case Call(name):
            return name not in _CONSTANTS
        case Pipe(left):
            return reads_input(left)  # what comes behind the bar reads the output of this
        case _:
            return any(map(reads_input, _parts(node)))


def _parts(node: Text | Index | Each | Collect | Build | Operation | Comma | Bind | If) -> tuple[Node, ...]:
    match node:
        case Text(parts=found):
            pass
        case Index(source, keys):
            found = (source, *keys)
        case Each(source):
            found = (source,)
        case Collect(items):
            found = () if items is None else (items,)
        case Build(entries):
            found = tuple(part for entry in entries for part in entry)
        case If(condition, yes, no):
            found = (condition, yes, no)
        case Bind(source, _, body):
            found = (source, body)
        case Operation(_, left, right) | Comma(left, right):
            found = (left, right)
    return found
