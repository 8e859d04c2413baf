"""What our Liquid does otherwise than the library: strict names, and filters as the specification has them."""

from __future__ import annotations

import json
from functools import cache, wraps
from io import StringIO
from typing import TYPE_CHECKING, Any, Final, TextIO, cast

from liquid import BoundTemplate, Environment, FalsyStrictUndefined, RenderContext
from liquid.builtin.expressions import Path
from liquid.builtin.expressions.logical import LogicalAndExpression, LogicalNotExpression, LogicalOrExpression
from liquid.builtin.output import Output, OutputNode
from liquid.exceptions import FilterArgumentError, UndefinedError
from liquid.expression import Expression
from liquid.filter import string_filter
from liquid.output import LimitedStringIO
from liquid.stringify import to_liquid_string
from liquid.undefined import is_undefined

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

OUTPUT_BYTES: Final = 16 * 1024 * 1024
_LOOPS: Final = 1_000_000
_NAMESPACE_BYTES: Final = 64 * 1024 * 1024
_DEPTH: Final = 30
_COMBINING: Final = (LogicalAndExpression, LogicalOrExpression, LogicalNotExpression)


class UnknownName(FalsyStrictUndefined):
    """A variable or key that there is not: false in a bare condition, an error everywhere else, before filters too."""

    __slots__ = ()
    allowed_properties = FalsyStrictUndefined.allowed_properties - {"force_liquid_default"}


class _Known(Expression):
    """An operand of a comparison, which has to be there."""

    __slots__ = ("operand",)

    def __init__(self, operand: Expression) -> None:
        super().__init__(operand.token)
        self.operand = operand

    def evaluate(self, context: RenderContext) -> object:
        """Return the operand's value."""
        value = self.operand.evaluate(context)
        if is_undefined(value):
            raise UndefinedError(f"'{self.operand}' is undefined", token=self.token)
        return value

    def children(self) -> Iterable[Expression]:
        """Return the operand."""
        return [self.operand]


def check_comparisons(template: BoundTemplate) -> None:
    """Have every comparison fail over a name that there is not: the library takes it for nil."""
    context = RenderContext(template)
    nodes = list(template.nodes)
    while nodes:
        node = nodes.pop()
        nodes.extend(node.children(context))
        expressions = list(node.expressions())
        while expressions:
            expression = expressions.pop()
            expressions.extend(expression.children())
            if not isinstance(expression, _COMBINING):
                _check_operands(expression)


def _check_operands(expression: Expression) -> None:
    for side in ("left", "right"):
        operand = getattr(expression, side, None)
        if isinstance(operand, Path):
            setattr(expression, side, _Known(operand))


def _buffer(written: int = 0) -> LimitedStringIO:
    """Return what is rendered into; the library's own would turn every carriage return into a line feed."""
    return LimitedStringIO(limit=OUTPUT_BYTES - written, newline="")


class _Context(RenderContext):
    def get_buffer(self, buf: TextIO | None = None) -> StringIO:
        """Return the buffer of a block inside another one."""
        return _buffer(buf.size if isinstance(buf, LimitedStringIO) else 0)


class _Template(BoundTemplate):
    context_class = _Context

    def _get_buffer(self) -> StringIO:
        return _buffer()


class _OutputNode(OutputNode):
    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        """Write a value as JSON, where it is no text."""
        return buffer.write(to_liquid_string(_shown(self.expression.evaluate(context)), context.autoescape))


class _Output(Output):
    node_class = _OutputNode


def _shown(value: Any) -> Any:
    """Return objects, booleans and what is in arrays as JSON: the library has Python's forms of them."""
    if isinstance(value, list):
        return [_inside(each) for each in cast("list[Any]", value)]
    return _inside(value) if isinstance(value, (dict, bool)) else value


def _inside(value: Any) -> Any:
    return (
        json.dumps(value, ensure_ascii=False)
        if isinstance(value, (dict, list, bool))
        else ""
        if value is None
        else value
    )


def _of_texts(step: Callable[..., Any]) -> Callable[..., Any]:
    """Return a filter that sees JSON where it makes texts of other values."""

    @wraps(step)
    def shown(value: object, *args: object, **more: object) -> object:
        return step(_inside(value), *(each if each is None else _inside(each) for each in args), **more)

    return shown


class OurEnvironment(Environment):
    """Liquid with limits, without files."""

    block_nesting_limit = _DEPTH
    context_depth_limit = _DEPTH
    loop_iteration_limit = _LOOPS
    template_class = _Template
    local_namespace_limit = _NAMESPACE_BYTES

    def setup_tags_and_filters(self, *, extra: bool = False) -> None:
        """Register the tags and filters of the specification."""
        super().setup_tags_and_filters(extra=extra)
        for tag in ("include", "render"):
            del self.tags[tag]
        for name, step in _FILTERS.items():
            self.add_filter(name, step)
        for name in _OF_TEXTS:
            self.add_filter(name, _of_texts(self.filters[name]))
        self.add_tag(_Output)


@cache
def environment() -> Environment:
    """Return the one environment."""
    return OurEnvironment(undefined=UnknownName)


@string_filter
def _newline_to_br(text: str) -> str:
    return text.replace("\n", "<br />\n")


@string_filter
def _strip_newlines(text: str) -> str:
    return text.replace("\r", "").replace("\n", "")


@string_filter
def _split(text: str, separator: object) -> list[str]:
    if not text:
        return []
    between = str(separator)
    return text.split(between) if between else list(text)


def _json_encode(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


@string_filter
def _json_decode(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise FilterArgumentError(f"json_decode: not JSON: {error}", token=None) from error


_OF_TEXTS: Final = (
    "append", "capitalize", "downcase", "escape", "escape_once", "lstrip", "newline_to_br", "prepend", "remove",
    "remove_first", "replace", "replace_first", "rstrip", "split", "strip", "strip_html", "strip_newlines", "truncate",
    "truncatewords", "upcase", "url_decode", "url_encode",
)  # fmt: skip
_FILTERS: Final[dict[str, Callable[..., Any]]] = {
    "newline_to_br": _newline_to_br,
    "strip_newlines": _strip_newlines,
    "split": _split,
    "json_encode": _json_encode,
    "json_decode": _json_decode,
}
