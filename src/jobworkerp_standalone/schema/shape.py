"""What a JSON Schema says of a value, as far as a proto message can say it too.

Whatever has no counterpart there (a union of several types, an object with open keys, an array of arrays, a schema
that contains itself) is a field that holds **JSON text**, so that no schema is too odd and no value is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from typing import Any, Final, cast

from jobworkerp_standalone.schema.pointer import resolve_pointer

Schema = Mapping[str, Any]
_MAX_DEPTH: Final = 10
_MAX_PARTS: Final = 5000
"""Parts of one schema that are looked at. References make a short one mean millions of fields."""
_CONSTRAINTS: Final = frozenset({"required", "not", "if", "then", "else", "dependentRequired", "description", "title"})
"""What a member of ``anyOf`` may hold and still say nothing about types."""


class Kind(Enum):
    """The kind of one value. The values are the proto types of those that have one."""

    STRING = "string"
    INTEGER = "int64"
    NUMBER = "double"
    BOOLEAN = "bool"
    OBJECT = "message"
    JSON = "json"
    """Anything, as JSON text."""


_SCALARS: Final = {
    "string": Kind.STRING,
    "integer": Kind.INTEGER,
    "number": Kind.NUMBER,
    "boolean": Kind.BOOLEAN,
}


@dataclass(frozen=True, slots=True)
class Shape:
    """One value, or an array of such values (``many``)."""

    kind: Kind
    many: bool = False
    nullable: bool = False
    members: tuple[Member, ...] = ()
    """Of an object."""
    takes_text: bool = False
    """JSON text that is no JSON stands for itself, as a string."""
    note: str = ""
    """For people: the description, and which values are allowed."""


@dataclass(frozen=True, slots=True)
class Member:
    """One property of an object."""

    name: str
    shape: Shape
    required: bool


ANYTHING: Final = Shape(Kind.JSON, takes_text=True)


def read_shape(schema: Schema) -> Shape:
    """Return the shape of the values that ``schema`` allows."""
    return _Reader(schema).shape(schema, (), 0)


class _Reader:
    def __init__(self, root: Schema) -> None:
        self._root = root
        self._left = _MAX_PARTS

    def shape(self, schema: object, seen: tuple[str, ...], depth: int) -> Shape:
        """Read one schema. ``seen`` are the references that led here."""
        self._left -= 1
        if not isinstance(schema, dict) or not schema or depth > _MAX_DEPTH or self._left < 0:
            return ANYTHING
        here = cast("dict[str, Any]", schema)
        if isinstance(here.get("$ref"), str):
            return self._referred(here, seen, depth)
        if isinstance(here.get("allOf"), list):
            merged = _merged(here, cast("list[Any]", here["allOf"]), partial(self._target, seen=seen))
            return _noted(ANYTHING, here) if merged is None else self.shape(merged, seen, depth + 1)
        for key in ("anyOf", "oneOf"):
            if isinstance(here.get(key), list):
                return self._union(here, key, seen, depth)
        return _noted(self._plain(here, seen, depth), here)

    def _referred(self, schema: Schema, seen: tuple[str, ...], depth: int) -> Shape:
        ref: str = schema["$ref"]
        target = resolve_pointer(self._root, ref)
        if ref in seen or not isinstance(target, dict):
            return _noted(Shape(Kind.JSON, takes_text=ref not in seen), schema)
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        return self.shape({**cast("dict[str, Any]", target), **beside}, (*seen, ref), depth + 1)

    def _target(self, part: object, seen: tuple[str, ...]) -> Schema | None:
        """Return what a member of ``allOf`` says, references followed."""
        while isinstance(part, dict) and isinstance(ref := cast("Schema", part).get("$ref"), str):
            if ref in seen:
                return None
            seen = (*seen, ref)
            part = resolve_pointer(self._root, ref)
        return cast("Schema", part) if isinstance(part, dict) else None

    def _union(self, schema: dict[str, Any], key: str, seen: tuple[str, ...], depth: int) -> Shape:
        options = cast("list[Any]", schema[key])
        beside = {name: value for name, value in schema.items() if name != key}
        if all(isinstance(each, dict) and each.keys() <= _CONSTRAINTS for each in options):
            return self.shape(beside, seen, depth + 1)
        real = [each for each in options if not _is_null(each)]
        shapes = [self.shape(each, seen, depth + 1) for each in real]
        nullable = len(real) < len(options) or any(each.nullable for each in shapes)
        kinds = {(each.kind, each.many) for each in shapes}
        if len(shapes) == 1 or (len(kinds) == 1 and shapes[0].kind in _SCALARS.values()):
            return _noted(replace(shapes[0], nullable=nullable), beside)
        text = any((each.kind is Kind.STRING and not each.many) or each.takes_text for each in shapes)
        note = "one of: " + " | ".join(_told(each) for each in shapes) if shapes else ""
        return _noted(Shape(Kind.JSON, nullable=nullable, takes_text=text, note=note), beside)

    def _plain(self, schema: dict[str, Any], seen: tuple[str, ...], depth: int) -> Shape:
        names, nullable = _types(schema)
        if len(names) != 1:
            return Shape(Kind.JSON, nullable=nullable, takes_text=not names or "string" in names)
        name = names[0]
        if name in _SCALARS:
            return Shape(_SCALARS[name], nullable=nullable)
        if name == "array":
            return replace(self._array(schema, seen, depth), nullable=nullable)
        if name == "object":
            return replace(self._object(schema, seen, depth), nullable=nullable)
        return Shape(Kind.JSON, nullable=nullable)

    def _array(self, schema: dict[str, Any], seen: tuple[str, ...], depth: int) -> Shape:
        if not isinstance(schema.get("items"), dict) or "prefixItems" in schema:
            return Shape(Kind.JSON)
        item = self.shape(schema["items"], seen, depth + 1)
        if item.many or item.nullable or item.kind is Kind.JSON:
            return Shape(Kind.JSON)
        return replace(item, many=True)

    def _object(self, schema: dict[str, Any], seen: tuple[str, ...], depth: int) -> Shape:
        properties = schema.get("properties")
        is_open = schema.get("additionalProperties", False) is not False or "patternProperties" in schema
        if depth == 0 and isinstance(properties, dict | None) and (properties or not is_open):
            is_open = False  # what is open at the top is reached by the exact form of the arguments
        elif not isinstance(properties, dict) or not properties:
            return Shape(Kind.JSON)
        if is_open:
            return Shape(Kind.JSON)
        required = _strings(schema.get("required"))
        members = (
            _member(name, self.shape(each, seen, depth + 1), name in required)
            for name, each in cast("dict[str, Any]", properties or {}).items()
        )
        return Shape(Kind.OBJECT, members=tuple(members))


def _member(name: str, shape: Shape, required: bool) -> Member:
    if required and shape.many and shape.nullable:  # no items and no array look the same in a message
        shape = Shape(Kind.JSON, note=shape.note)
    return Member(name, shape, required)


def _types(schema: Schema) -> tuple[list[str], bool]:
    """Return the types that a schema allows but null, and whether null is one of them."""
    declared: Any = schema.get("type")
    values: list[Any] = _allowed(schema)
    if declared is None:
        names = _implied(schema, values)
    else:
        names = [declared] if isinstance(declared, str) else list(dict.fromkeys(_strings(declared)))
    nullable = "null" in names or (declared is None and None in values)
    return [name for name in names if name != "null"], nullable


def _implied(schema: Schema, values: Iterable[Any]) -> list[str]:
    names = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "dict": "object", "list": "array"}
    by_value = [names[type(value).__name__] for value in values if value is not None]
    if by_value:
        return list(dict.fromkeys(by_value))
    return [name for key, name in (("properties", "object"), ("items", "array")) if key in schema]


def _allowed(schema: Schema) -> list[Any]:
    if "const" in schema:
        return [schema["const"]]
    values: Any = schema.get("enum")
    return cast("list[Any]", values) if isinstance(values, list) else []


def _merged(
    schema: dict[str, Any], parts: list[Any], target: Callable[[object], Schema | None]
) -> dict[str, Any] | None:
    """Return an object that says what ``allOf`` says, None where its members disagree."""
    merged = {key: value for key, value in schema.items() if key != "allOf"}
    for each in parts:
        part = target(each)
        if part is None:
            return None
        for key, value in part.items():
            if key == "properties" and isinstance(value, dict):
                merged[key] = {**cast("dict[str, Any]", value), **_table(merged.get(key))}
            elif key == "required":
                merged[key] = [*_strings(merged.get(key)), *_strings(value)]
            elif key == "type" and merged.get(key, value) != value:
                return None
            else:
                merged.setdefault(key, value)
    return merged


def _noted(shape: Shape, schema: Schema) -> Shape:
    """Add what the schema tells people."""
    description = schema.get("description")
    values = _allowed(schema)
    parts = [shape.note] if shape.note else []
    if isinstance(description, str) and description.strip() and description not in shape.note:
        parts.insert(0, description.strip())
    if values:
        parts.append("one of: " + ", ".join(str(value) for value in values))
    return replace(shape, note=" ".join(parts)) if parts else shape


def _told(shape: Shape) -> str:
    name = {Kind.OBJECT: "object", Kind.JSON: "any", Kind.INTEGER: "integer", Kind.NUMBER: "number"}
    return f"{'array of ' if shape.many else ''}{name.get(shape.kind, shape.kind.value)}"


def _is_null(schema: object) -> bool:
    here: dict[str, Any] = cast("dict[str, Any]", schema) if isinstance(schema, dict) else {}
    return here.get("type") == "null" or ("const" in here and here["const"] is None)


def _table(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _strings(values: object) -> list[str]:
    return [each for each in cast("list[Any]", values) if isinstance(each, str)] if isinstance(values, list) else []
