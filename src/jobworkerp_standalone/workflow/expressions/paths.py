"""Pure paths such as ``.a.b[0]`` and ``$v["x"]?``: walked without jq, exact for every number."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from jobworkerp_standalone.workflow.expressions.failure import EvaluationFailed
from jobworkerp_standalone.workflow.expressions.scope import Scope
from jobworkerp_standalone.workflow.expressions.values import JSON

_VARIABLE: Final = re.compile(r"\$([A-Za-z_]\w*)", re.ASCII)
_STRING: Final = r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u(?!d[89a-f])[0-9a-f]{4}))*"'
_STEP: Final = re.compile(
    rf"(?:\s*\.(?:(?P<name>[a-z_]\w*)|\s*(?P<quoted>{_STRING}))"
    rf"|\s*(?P<dotted>\.\s*)?\[\s*(?:(?P<key>{_STRING})|(?P<index>-?\d{{1,9}}))\s*\])(?P<maybe>\s*\?)?",
    re.ASCII | re.IGNORECASE,
)
_SPECIAL: Final = frozenset({"__loc__", "ENV", "__prog_args"})
_BLANK: Final = " \t\r\n"
_TYPES: Final[Mapping[type, str]] = {bool: "boolean", int: "number", float: "number", str: "string"}


@dataclass(frozen=True, slots=True)
class _Step:
    key: str | int
    maybe: bool


@dataclass(frozen=True, slots=True)
class Path:
    """A compiled path."""

    variable: str | None
    steps: tuple[_Step, ...]

    def outputs(self, scope: Scope) -> list[JSON]:
        """Return the one value, or nothing where an optional step cannot be taken.

        Raises:
            EvaluationFailed: a step cannot be taken, or there is no such variable.
        """
        value = scope.dot if self.variable is None else variable(scope, self.variable)
        for step in self.steps:
            try:
                value = _index(value, step.key)
            except EvaluationFailed:
                if step.maybe:
                    return []
                raise
        return [value]


def variable(scope: Scope, name: str) -> JSON:
    """Return a variable.

    Raises:
        EvaluationFailed: there is none of that name.
    """
    try:
        return scope.variables[name]
    except KeyError:
        raise EvaluationFailed(f"variable ${name} is not defined") from None


def parse_path(body: str) -> Path | None:
    """Return the path that an expression is, or None if it is more than a path."""
    text = body.strip(_BLANK)
    if text == ".":
        return Path(None, ())
    found = _VARIABLE.match(text)
    name = found[1] if found else None
    if name in _SPECIAL or not (found or text.startswith(".")):
        return None
    at = found.end() if found else 0
    steps: list[_Step] = []
    while at < len(text):
        step = _STEP.match(text, at)
        if step is None or (not steps and name is None and step["dotted"] is None and step["key"] is not None):
            return None
        if not steps and name is None and step["dotted"] is None and step["index"] is not None:
            return None
        steps.append(_Step(_key(step), step["maybe"] is not None))
        at = step.end()
    return Path(name, tuple(steps))


def _key(step: re.Match[str]) -> str | int:
    if step["name"] is not None:
        return step["name"]
    if step["index"] is not None:
        return int(step["index"])
    return json.loads(step["quoted"] or step["key"])


def _index(value: JSON, key: str | int) -> JSON:
    if value is None:
        return None
    if isinstance(value, dict) and isinstance(key, str):
        return value.get(key)
    if isinstance(value, list) and isinstance(key, int):
        return value[key] if -len(value) <= key < len(value) else None
    shown = f'string ("{key}")' if isinstance(key, str) else f"number ({key})"
    raise EvaluationFailed(f"Cannot index {type_name(value)} with {shown}")


def type_name(value: JSON) -> str:
    """Return what jq calls the type of a value."""
    if value is None:
        return "null"
    return _TYPES.get(type(value)) or ("array" if isinstance(value, list) else "object")
