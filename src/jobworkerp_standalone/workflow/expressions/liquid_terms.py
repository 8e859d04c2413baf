"""What our Liquid does otherwise than the library: strict names, and filters as the specification has them."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from liquid import Environment, FalsyStrictUndefined
from liquid.exceptions import FilterArgumentError
from liquid.filter import string_filter

if TYPE_CHECKING:
    from collections.abc import Callable

OUTPUT_BYTES: Final = 16 * 1024 * 1024
_LOOPS: Final = 1_000_000
_NAMESPACE_BYTES: Final = 64 * 1024 * 1024
_DEPTH: Final = 30


class UnknownName(FalsyStrictUndefined):
    """A variable or key that there is not: false in a bare condition, an error everywhere else, before filters too."""

    __slots__ = ()
    allowed_properties = FalsyStrictUndefined.allowed_properties - {"force_liquid_default"}


class OurEnvironment(Environment):
    """Liquid with limits, without files."""

    block_nesting_limit = _DEPTH
    context_depth_limit = _DEPTH
    loop_iteration_limit = _LOOPS
    output_stream_limit = OUTPUT_BYTES
    local_namespace_limit = _NAMESPACE_BYTES

    def setup_tags_and_filters(self, *, extra: bool = False) -> None:
        """Register the tags and filters of the specification."""
        super().setup_tags_and_filters(extra=extra)
        for tag in ("include", "render"):
            del self.tags[tag]
        for name, step in _FILTERS.items():
            self.add_filter(name, step)


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


_FILTERS: Final[dict[str, Callable[..., Any]]] = {
    "newline_to_br": _newline_to_br,
    "strip_newlines": _strip_newlines,
    "split": _split,
    "json_encode": _json_encode,
    "json_decode": _json_decode,
}
