"""Options that make one value together: a command takes the value, its command line has each of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import Any, TypeVar, get_type_hints

R = TypeVar("R")


def gathered(command: Callable[..., R]) -> Callable[..., R]:
    """Let each parameter of a command that is a ``NamedTuple`` stand for its members, which are options of Typer."""
    hints = get_type_hints(command, include_extras=True)
    values: dict[str, Any] = {}
    shown: list[Parameter] = []
    for name, parameter in signature(command).parameters.items():
        kind: Any = hints[name]
        if not hasattr(kind, "_field_defaults"):
            shown.append(parameter.replace(kind=Parameter.KEYWORD_ONLY, annotation=kind))
            continue
        values[name] = kind
        for member, annotation in get_type_hints(kind, include_extras=True).items():
            default = kind._field_defaults.get(member, Parameter.empty)
            shown.append(Parameter(member, Parameter.KEYWORD_ONLY, annotation=annotation, default=default))

    @wraps(command)
    def with_values(**given: Any) -> R:
        for name, kind in values.items():
            given[name] = kind(*map(given.pop, kind._fields))
        return command(**given)

    with_values.__annotations__ = {}
    vars(with_values)["__signature__"] = Signature(shown)
    return with_values
