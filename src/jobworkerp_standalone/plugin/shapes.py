"""Dataclasses and pydantic models as messages: which field has which number and type."""

from __future__ import annotations

import dataclasses
import enum
import re
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Final, Literal, Union, cast, get_args, get_origin, get_type_hints

from jobworkerp_standalone.plugin.errors import BadInput, PluginMistake

SCALARS: Final = {str: "string", int: "int64", float: "double", bool: "bool", bytes: "bytes"}
ZEROS: Final[dict[str, Any]] = {"string": "", "int64": 0, "double": 0.0, "bool": False, "bytes": b""}
_MAP_KEYS: Final = ("string", "int64", "bool")
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_KNOWN: Final = (
    "use str, int, float, bool, bytes, an Enum, a Literal of texts, a dataclass or pydantic model, "
    "list[...] or dict[str, ...] of these, or ... | None"
)


class _Missing(enum.Enum):
    MISSING = enum.auto()


MISSING: Final = _Missing.MISSING


@dataclass(frozen=True, slots=True)
class Kind:
    """Type of one value: a scalar by its proto name, or ``enum`` or ``message`` with its class."""

    name: str
    type: Any = None
    choices: tuple[str, ...] = ()
    """Of a Literal."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message."""

    name: str
    number: int
    kind: Kind
    repeated: bool = False
    map_key: str = ""
    """Proto type of the keys of a map."""
    nullable: bool = False
    default: Any = MISSING
    """What makes the default."""
    comment: str = ""
    container: Any = list
    """What the values of a repeated field come in."""

    @property
    def single(self) -> bool:
        """Whether it holds one value."""
        return not self.repeated and not self.map_key

    @property
    def optional(self) -> bool:
        """Whether absence means something else than the zero value."""
        if not self.single or self.kind.name == "message":
            return False
        if self.nullable or self.kind.name == "enum":
            return True
        return self.default is not MISSING and self.default() != ZEROS[self.kind.name]

    def value_if_absent(self) -> Any:
        """Return what the field is where a message does not carry it."""
        if self.default is not MISSING:
            return self.default()
        if self.nullable:
            return None
        if not self.single:
            return {} if self.map_key else self.container()
        if self.kind.name in ZEROS and not self.kind.choices:
            return ZEROS[self.kind.name]
        raise BadInput(f"{self.name} is missing{_one_of(self.kind)}")


@dataclass(frozen=True, slots=True)
class Shape:
    """A class as a message."""

    type: Any
    fields: tuple[Field, ...]
    comment: str

    @property
    def name(self) -> str:
        """Name of the message."""
        return self.type.__name__

    def build(self, values: Mapping[str, Any]) -> Any:
        """Make an instance.

        Raises:
            BadInput: the class does not accept the values.
        """
        try:
            return self.type.model_validate(values) if is_model(self.type) else self.type(**values)
        except (ValueError, TypeError) as error:
            raise BadInput(f"{self.name}: {_one_line(error)}") from error


def is_message(type_: Any) -> bool:
    """Whether a class can be a message."""
    return isinstance(type_, type) and (dataclasses.is_dataclass(type_) or is_model(type_))


def is_model(type_: Any) -> bool:
    """Whether a class is a pydantic model; the library is not needed to find that out."""
    return isinstance(type_, type) and hasattr(type_, "model_fields") and hasattr(type_, "model_validate")


@cache
def shape_of(type_: Any) -> Shape:
    """Return a class as a message.

    Raises:
        PluginMistake: it has a field that no message can have.
    """
    try:
        hints = get_type_hints(type_, include_extras=True)
    except NameError as error:
        raise PluginMistake(f"{type_.__name__}: {error}; annotations must name what the module defines") from error
    declared = _model_fields(type_) if is_model(type_) else _dataclass_fields(type_)
    fields = [
        _field(f"{type_.__name__}.{name}", name, number, hints[name], default, comment)
        for number, (name, default, comment) in enumerate(declared, 1)
    ]
    return Shape(type_, tuple(fields), _docstring(type_))


@cache
def enum_values(type_: type[enum.Enum]) -> dict[Any, int]:
    """Return the number of each member: its own value where that is one, else its place, from 1."""
    members = list(type_)
    own = [member.value for member in members]
    if all(isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31 for value in own):
        return dict(zip(members, own, strict=True))
    return {member: place for place, member in enumerate(members, 1)}


def _dataclass_fields(type_: Any) -> Iterable[tuple[str, Any, str]]:
    for field in dataclasses.fields(type_):
        default: Any = MISSING
        if field.default is not dataclasses.MISSING:
            default = _constant(field.default)
        elif field.default_factory is not dataclasses.MISSING:
            default = field.default_factory
        if field.init:
            yield field.name, default, str(field.metadata.get("doc", ""))


def _model_fields(type_: Any) -> Iterable[tuple[str, Any, str]]:
    for name, info in type_.model_fields.items():
        default: Any = MISSING
        if not info.is_required():
            default = info.default_factory or _constant(info.default)
        yield name, default, info.description or ""


def _constant(value: Any) -> Any:
    return lambda: value


def _field(where: str, name: str, number: int, hint: Any, default: Any, comment: str) -> Field:
    if not _NAME.fullmatch(name):
        raise PluginMistake(f"{where}: a field name begins with a letter and has only letters, digits and _")
    if get_origin(hint) is Annotated:
        hint, *notes = get_args(hint)
        comment = comment or next((note for note in notes if isinstance(note, str)), "")
    inner = _without_none(hint)
    nullable = inner is not hint
    arguments = get_args(inner)
    origin = get_origin(inner)
    repeated = origin in (list, tuple, set, frozenset) or (origin is not None and origin in (Sequence, Iterable))
    if repeated:
        if origin is tuple and (len(arguments) != 2 or arguments[1] is not ...):  # noqa: PLR2004 - type and ellipsis
            raise PluginMistake(f"{where}: a tuple must have one type and any length, like tuple[str, ...]")
        container: Any = origin if origin in (tuple, set, frozenset) else list
        return Field(name, number, _kind(where, arguments[0]), True, "", False, default, comment, container)
    if origin is not None and origin in (dict, Mapping):
        key = _kind(where, arguments[0]).name
        if key not in _MAP_KEYS:
            raise PluginMistake(f"{where}: the keys of a map are str, int or bool")
        return Field(name, number, _kind(where, arguments[1]), False, key, False, default, comment)
    return Field(name, number, _kind(where, inner), False, "", nullable, default, comment)


def _without_none(hint: Any) -> Any:
    if get_origin(hint) not in (Union, types.UnionType):
        return hint
    others = [each for each in get_args(hint) if each is not type(None)]
    return others[0] if len(others) == 1 and len(others) < len(get_args(hint)) else hint


def _kind(where: str, hint: Any) -> Kind:
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    if get_origin(hint) is Literal and all(isinstance(each, str) for each in get_args(hint)):
        return Kind("string", choices=get_args(hint))
    if hint in SCALARS:
        return Kind(SCALARS[hint])
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return Kind("enum", hint)
    if is_message(hint):
        return Kind("message", hint)
    raise PluginMistake(f"{where}: {_shown(hint)} cannot be part of a message; {_KNOWN}")


def _shown(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint)


def _one_of(kind: Kind) -> str:
    if kind.choices:
        return f": give one of {', '.join(kind.choices)}"
    if kind.name == "enum":
        return f": give one of {', '.join(member.name for member in cast('type[enum.Enum]', kind.type))}"
    return ""


def _docstring(type_: Any) -> str:
    text: str = (type_.__doc__ or "").strip()
    name: str = type_.__name__
    made_up = dataclasses.is_dataclass(type_) and text.startswith(f"{name}(")
    return "" if made_up else text


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
