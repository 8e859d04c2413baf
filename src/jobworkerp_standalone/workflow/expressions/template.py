"""Values of a document, compiled: what may be evaluated in them is found and checked once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeAlias, cast

from jobworkerp_standalone.workflow.expressions import jq_program, liquid_program
from jobworkerp_standalone.workflow.expressions.errors import ExpressionSyntaxError
from jobworkerp_standalone.workflow.expressions.jq_program import JqProgram
from jobworkerp_standalone.workflow.expressions.jq_tokens import NotJq
from jobworkerp_standalone.workflow.expressions.liquid_engine import NotLiquid
from jobworkerp_standalone.workflow.expressions.liquid_program import LiquidProgram
from jobworkerp_standalone.workflow.expressions.paths import Path, parse_path
from jobworkerp_standalone.workflow.expressions.places import Language, Place, enclosed, is_clearly_jq, looks_like_jq
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.pointers import escaped

_CACHED: Final = 2_048
_MAX_DEPTH: Final = 128

Program: TypeAlias = Path | JqProgram | LiquidProgram


@dataclass(frozen=True, slots=True)
class Leaf:
    """One expression in a value."""

    text: str
    """As the document has it."""
    program: Program
    path: str = ""
    """Where it is in the value, as a JSON pointer."""

    @property
    def names(self) -> frozenset[str]:
        """Return the variables that it refers to; members of ``secrets`` as ``secrets.NAME`` too."""
        if isinstance(self.program, Path):
            return _names_of_path(self.program)
        return self.program.names | {f"secrets.{name}" for name in self.program.secrets}


@dataclass(frozen=True, slots=True)
class _Slot:
    """Where the next output goes."""


_SLOT: Final = _Slot()
_Shape: TypeAlias = "_Slot | JSON | list[_Shape] | dict[str, _Shape]"


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled value: immutable, may be used by many runs at once."""

    raw: JSON
    """The value as the document has it."""
    leaves: tuple[Leaf, ...]
    names: frozenset[str]
    """Variables that its expressions refer to, without ``$``; ``secrets.NAME`` for each member that they name."""
    _shape: _Shape

    @property
    def constant(self) -> bool:
        """Return whether it is `raw` whatever the scope is."""
        return not self.leaves

    def filled(self, outputs: Sequence[JSON]) -> JSON:
        """Return the value with the output of each leaf, in their order."""
        return _filled(self._shape, iter(outputs))


def compile_template(value: JSON, place: Place = Place.TEXT) -> Template:
    """Compile a value: a string, or anything whose strings may be expressions; keys never are.

    Raises:
        ExpressionSyntaxError: a string in it can never be evaluated.
    """
    leaves: list[Leaf] = []
    shape = _compiled(value, place, "", leaves)
    if not leaves:
        shape = value
    names = frozenset[str]().union(*(leaf.names for leaf in leaves))
    return Template(value, tuple(leaves), names, shape)


def _compiled(value: JSON, place: Place, path: str, leaves: list[Leaf]) -> _Shape:
    if isinstance(value, str):
        try:
            program = _program(value, place)
        except ExpressionSyntaxError as error:
            raise error.at(path) from error.__cause__
        if program is None:
            return value
        leaves.append(Leaf(value, program, path))
        return _SLOT
    if isinstance(value, (dict, list)) and path.count("/") >= _MAX_DEPTH:
        raise ExpressionSyntaxError("...", f"the value is nested deeper than {_MAX_DEPTH} levels", path)
    place = Place.MEMBER if place is Place.TRANSFORM else place
    if isinstance(value, dict):
        return {key: _compiled(item, place, f"{path}/{escaped(str(key))}", leaves) for key, item in value.items()}
    if isinstance(value, list):
        return [_compiled(item, place, f"{path}/{number}", leaves) for number, item in enumerate(value)]
    return value


@lru_cache(_CACHED)
def _program(text: str, place: Place) -> Program | None:
    """Return what a string is compiled to, None for a literal."""
    body = enclosed(text)
    if body is None:
        literal = place is Place.TEXT or (place is Place.MEMBER and not is_clearly_jq(text)) or not text.strip()
        return None if literal else _unwrapped(text, place)
    if body.language is Language.LIQUID:
        return _liquid(text, body.text, body.offset)
    return _jq(text, body.text, body.offset)


def _unwrapped(text: str, place: Place) -> Program | None:
    try:
        program = _jq(text, text, 0)
    except ExpressionSyntaxError:
        if place is Place.LOOSE or (place is Place.TRANSFORM and not looks_like_jq(text)):
            return None
        raise
    if place is Place.LOOSE:
        return _jq(text, f"try ({text}\n) catch {json.dumps(text)}", 0)
    return program


def _jq(text: str, body: str, offset: int) -> Program:
    path = parse_path(body)
    if path is not None:
        return path
    if not body.strip():
        raise ExpressionSyntaxError(text, "it is empty")
    try:
        return jq_program.analyse(body)
    except NotJq as error:
        line, column = _position(text, offset + error.at)
        raise ExpressionSyntaxError(text, error.reason, "", line, column) from error


def _liquid(text: str, body: str, offset: int) -> Program:
    try:
        return liquid_program.analyse(body)
    except NotLiquid as error:
        line = None if error.line is None else error.line + text.count("\n", 0, offset)
        raise ExpressionSyntaxError(text, error.reason, "", line) from error


def _position(text: str, at: int) -> tuple[int, int]:
    before = text[:at]
    return before.count("\n") + 1, at - before.rfind("\n")


def _names_of_path(path: Path) -> frozenset[str]:
    if path.variable is None:
        return frozenset()
    if path.variable == "secrets" and path.steps:
        return frozenset({"secrets", f"secrets.{path.steps[0].key}"})
    return frozenset({path.variable})


def _filled(shape: _Shape, outputs: Iterator[JSON]) -> JSON:
    if shape is _SLOT:
        return next(outputs)
    if isinstance(shape, dict):
        return {key: _filled(item, outputs) for key, item in shape.items()}
    if isinstance(shape, list):
        return [_filled(item, outputs) for item in shape]
    return cast("JSON", shape)
