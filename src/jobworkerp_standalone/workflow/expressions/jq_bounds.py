"""How much work a jq expression can be, and how large what it makes, as a function of its input's size.

Every node gets bounds of the form ``fixed + factor * size ** power``: how many outputs it has, how large each is and
all are together, how many steps it takes. They hold whatever the input is; an expression runs in the daemon only
where they are small.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Final, NamedTuple, cast

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


class Bound(NamedTuple):
    """``fixed + factor * size ** power``, for sizes from 1."""

    fixed: float
    factor: float = 0
    power: int = 0

    def plus(self, other: Bound) -> Bound:
        """Bound a sum."""
        return Bound(self.fixed + other.fixed, self.factor + other.factor, max(self.power, other.power))

    def times(self, other: Bound) -> Bound:
        """Bound a product."""
        mixed = self.fixed * other.factor + self.factor * other.fixed + self.factor * other.factor
        return Bound(self.fixed * other.fixed, mixed, self.power + other.power)

    def of(self, size: Bound) -> Bound:
        """Bound what depends on something of a bounded size."""
        spread = 2.0 ** max(self.power - 1, 0) * self.factor
        fixed = self.fixed + (spread * size.fixed**self.power if self.power else self.factor)
        return Bound(fixed, spread * size.factor**self.power if self.power else 0, size.power * self.power)

    def over(self, whole: Bound) -> Bound:
        """Bound the sum over all items of something: together they are no larger than it, and each counts 1."""
        grown = Bound(0, self.factor, max(self.power, 1)).of(whole)
        return whole.times(Bound(self.fixed)).plus(grown)

    def at(self, size: int) -> float:
        """Return the bound for an input of this size."""
        return self.fixed + self.factor * float(size) ** self.power


class Cost(NamedTuple):
    """What a node gives and takes."""

    outputs: Bound
    size: Bound
    total: Bound
    work: Bound


class Unbounded(Exception):
    """Nothing is known of the cost."""


ONE: Final = Bound(1)
SIZE: Final = Bound(0, 1, 1)
_SMALL: Final = Bound(32)
_REPEATS: Final = 100
"""Largest factor of a text that is repeated."""
_SAME: Final = frozenset({
    "abs", "add", "any", "all", "ascii_downcase", "ascii_upcase", "ceil", "empty", "error", "false", "fabs",
    "first", "floor", "from_entries", "fromjson", "infinite", "isinfinite", "isnan", "isnormal", "keys",
    "keys_unsorted", "last", "length", "ltrim", "max", "min", "nan", "not", "now", "null", "reverse", "round",
    "rtrim", "sort", "sqrt", "tonumber", "trim", "true", "type", "unique", "utf8bytelength", "values", "nulls",
    "booleans", "numbers", "strings", "arrays", "objects", "iterables", "scalars", "todate", "fromdate", "join",
    "has", "startswith", "endswith", "ltrimstr", "rtrimstr", "contains", "inside", "index", "rindex", "trunc",
})  # fmt: skip
"""Builtins whose one output is no larger than a few times what goes in."""
_LARGER: Final[Mapping[str, int]] = {
    "tostring": 6, "tojson": 6, "@": 12, "explode": 4, "implode": 6, "to_entries": 24, "split": 4, "ascii": 6,
    "indices": 8,
}  # fmt: skip
"""Builtins whose output may be larger by this factor."""
_PAIRWISE: Final = frozenset({"contains", "inside", "index", "rindex", "indices", "split"})
"""Builtins that compare everything with everything."""
_BY: Final = frozenset({"sort_by", "group_by", "unique_by", "min_by", "max_by", "map", "map_values", "with_entries"})
"""Builtins that take an expression for each item."""
_ARITIES: Final[Mapping[str, tuple[int, ...]]] = {
    "add": (0,), "any": (0, 1), "all": (0, 1), "first": (0, 1), "last": (0, 1), "error": (0, 1), "select": (1,),
    "has": (1,), "join": (1,), "split": (1,), "startswith": (1,), "endswith": (1,), "ltrimstr": (1,), "rtrimstr": (1,),
    "contains": (1,), "inside": (1,), "index": (1,), "rindex": (1,), "indices": (1,), "isvalid": (1,), "isempty": (1,),
    **dict.fromkeys(_BY, (1,)),
}  # fmt: skip
_STEPS: Final = 24
"""Steps for each character of input that a builtin written in jq may take."""


def cost_of(tree: Node) -> Cost:
    """Bound an expression on ``.`` and variables of together the input's size.

    Raises:
        Unbounded: it uses what is not on the list.
    """
    return _cost(tree, SIZE, {})


def _cost(node: Node, dot: Bound, bound: Mapping[str, Bound]) -> Cost:  # noqa: C901, PLR0911, PLR0912 - one line for each kind
    match node:
        case Dot():
            return _single(dot)
        case Variable(name):
            return _single(bound.get(name, SIZE))
        case Literal():
            return _single(Bound(node.size + 8))
        case Text(fixed, parts):
            return _text(fixed, [_cost(part, dot, bound) for part in parts])
        case Index(Each() as source, (Literal() as key,)):
            return _cost(Pipe(source, Index(Dot(), (key,))), dot, bound)
        case Index(source, keys):
            return _index(_cost(source, dot, bound), [_cost(key, dot, bound) for key in keys])
        case Each(source):
            return _each(_cost(source, dot, bound))
        case Collect(items):
            return _single(Bound(2)) if items is None else _collect(_cost(items, dot, bound))
        case Build(entries):
            return _all_of([_cost(part, dot, bound) for entry in entries for part in entry])
        case Operation(sign, left, right):
            return _operation(node, sign, _cost(left, dot, bound), _cost(right, dot, bound))
        case Pipe(left, right):
            return _pipe(left, right, dot, bound)
        case Bind(source, name, body):
            first = _cost(source, dot, bound)
            return _then(first, _cost(body, dot, {**bound, name: first.size}))
        case Comma(left, right):
            return _either(_cost(left, dot, bound), _cost(right, dot, bound))
        case If(condition, yes, no):
            return _then(_cost(condition, dot, bound), _either(_cost(yes, dot, bound), _cost(no, dot, bound)))
        case Call(name, arguments):
            return _call(name, arguments, dot, bound)


def _single(size: Bound) -> Cost:
    return Cost(ONE, size, size, ONE)


def _each(source: Cost) -> Cost:
    return Cost(source.total, source.size, source.total, source.work.plus(source.total))


def _pipe(left: Node, right: Node, dot: Bound, bound: Mapping[str, Bound]) -> Cost:
    first = _cost(left, dot, bound)
    if isinstance(left, Each) and not _reads_variables(right):
        body = _cost(right, SIZE, {})
        outputs, total, work = (each.over(first.total) for each in (body.outputs, body.total, body.work))
        return Cost(outputs, body.size.of(first.size), total, first.work.plus(work))
    return _then(first, _cost(right, first.size, bound))


def _reads_variables(node: object) -> bool:
    if isinstance(node, (Variable, Bind)):
        return True
    if isinstance(node, tuple):
        return any(_reads_variables(part) for part in cast("tuple[object, ...]", node))
    return is_dataclass(node) and any(_reads_variables(getattr(node, part.name)) for part in fields(node))


def _then(first: Cost, second: Cost) -> Cost:
    """Bound what is done for each output of something."""
    outputs, total, work = (first.outputs.times(each) for each in (second.outputs, second.total, second.work))
    return Cost(outputs, second.size, total, first.work.plus(work).plus(ONE))


def _either(left: Cost, right: Cost) -> Cost:
    return Cost(*(one.plus(other) for one, other in zip(left, right, strict=True)))


def _all_of(costs: list[Cost]) -> Cost:
    """Bound every combination of outputs, put together."""
    outputs, size, work = ONE, Bound(8), ONE
    for cost in costs:
        work = work.plus(outputs.times(cost.work))
        outputs = outputs.times(cost.outputs)
        size = size.plus(cost.size)
    return Cost(outputs, size, outputs.times(size), work.plus(outputs.times(Bound(len(costs)))))


def _made(whole: Cost, size: Bound, work: Bound) -> Cost:
    """Bound what makes something of this size, with so many steps, for each combination."""
    return Cost(whole.outputs, size, whole.outputs.times(size), whole.work.plus(whole.outputs.times(work)))


def _text(fixed: int, parts: list[Cost]) -> Cost:
    whole = _all_of(parts)
    size = whole.size.times(Bound(12)).plus(Bound(fixed))
    return _made(whole, size, size)


def _index(source: Cost, keys: list[Cost]) -> Cost:
    """Bound one step. A key that is no literal may be an array to look for, so both sizes count."""
    whole = _all_of([source, *keys])
    if all(key.size.power == 0 for key in keys):
        return Cost(whole.outputs, source.size, whole.outputs.times(source.size), whole.work)
    return _made(whole, whole.size.times(Bound(8)), whole.size.times(whole.size))


def _collect(items: Cost) -> Cost:
    size = items.total.plus(items.outputs).plus(Bound(2))
    return Cost(ONE, size, size, items.work.plus(items.outputs))


def _operation(node: Operation, sign: str, left: Cost, right: Cost) -> Cost:
    whole = _all_of([left, right])
    if sign == "//":
        return _either(left, right)
    if sign in ("-", "/"):
        return _made(whole, whole.size.times(Bound(4)), left.size.times(right.size).plus(whole.size))
    if sign == "*":
        size = whole.size.times(Bound(_factor(node)))
        return _made(whole, size, size)
    if sign == "+":
        return _made(whole, whole.size, whole.size)
    return _made(whole, Bound(8), whole.size)


def _factor(node: Operation) -> float:
    """Return how often a text may be repeated by a product."""
    if node.left == node.right and _is_path(node.left):
        return 2
    for side in (node.left, node.right):
        if isinstance(side, Literal) and side.number is not None and side.number <= _REPEATS:
            return max(side.number, 1) + 1
    if not (_may_be_text(node.left) or _may_be_text(node.right)):
        return 2
    raise Unbounded("*")


_NUMERIC: Final = frozenset({"length", "utf8bytelength", "tonumber", "floor", "ceil", "round", "sqrt", "fabs", "now"})


def _is_path(node: Node) -> bool:
    """Tell whether something has one output, the same each time: then no number meets a text in a product."""
    if isinstance(node, Index):
        return all(isinstance(key, Literal) for key in node.keys) and _is_path(node.source)
    return isinstance(node, (Dot, Variable))


def _may_be_text(node: Node) -> bool:
    match node:
        case Literal(_, number):
            return number is None
        case Operation(sign, left, right):
            return sign not in ("-", "%") and (_may_be_text(left) or _may_be_text(right))
        case Call(name, _):
            return name not in _NUMERIC
        case Pipe(_, right):
            return _may_be_text(right)
        case _:
            return True


def _call(name: str, arguments: tuple[Node, ...], dot: Bound, bound: Mapping[str, Bound]) -> Cost:
    if len(arguments) not in _ARITIES.get(name, (0,)):
        raise Unbounded(name)
    if name in _BY or (name in ("any", "all") and arguments):
        return _for_each_item(name, arguments[0], dot, bound)
    whole = _all_of([_cost(argument, dot, bound) for argument in arguments])
    if name in ("select", "isempty"):
        return _made(whole, dot, ONE)
    if name in ("first", "last") and arguments:
        return Cost(ONE, whole.size, whole.size, whole.work)
    if name in _SAME or name in _LARGER:
        return _builtin(name, whole, dot)
    raise Unbounded(name)


def _builtin(name: str, arguments: Cost, dot: Bound) -> Cost:
    size = arguments.size.plus(dot).plus(_SMALL)
    work = size.times(Bound(_STEPS))
    if name == "join":
        size = dot.times(arguments.size).plus(dot).plus(_SMALL)
        work = size.times(Bound(_STEPS))
    elif name in _PAIRWISE:
        work = dot.times(arguments.size).plus(work)
    return _made(arguments, size.times(Bound(_LARGER.get(name, 2))), work)


def _for_each_item(name: str, body: Node, dot: Bound, bound: Mapping[str, Bound]) -> Cost:
    whole = dot.times(Bound(_LARGER["to_entries"])) if name == "with_entries" else dot
    looped = _pipe(Each(Dot()), body, whole, bound)
    if name in ("any", "all"):
        size = Bound(8)
    elif name in ("map", "map_values", "with_entries"):
        size = looped.total.plus(looped.outputs).plus(Bound(2))
    else:
        size = dot.plus(Bound(2)).times(Bound(2))
    steps = whole.plus(looped.outputs).plus(looped.total).plus(ONE)
    return Cost(ONE, size, size, looped.work.plus(steps.times(Bound(_STEPS))))
