"""What a script is given, whatever its language."""

from __future__ import annotations

import keyword
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from jobworkerp_standalone.workflow.errors import Standard
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.json_writer import json_text
from jobworkerp_standalone.workflow.model.run_forms import RunScript
from jobworkerp_standalone.workflow.run_forms.words import Words
from jobworkerp_standalone.workflow.source import SourceError, read_source

_DEEPEST: Final = 21


@dataclass(frozen=True, slots=True)
class Given:
    """A script with everything that it is given."""

    code: str
    variables: Mapping[str, JSON]
    arguments: list[str]
    stdin: str | None
    environment: dict[str, str]

    @classmethod
    async def read(cls, form: RunScript, words: Words) -> Self:
        """Evaluate the members of the form.

        Raises:
            WorkflowError: that fails, or the script cannot be read.
        """
        code = await _code(form, words)
        given = await words.value(form.arguments, "arguments") if form.arguments is not None else None
        variables: Mapping[str, JSON] = {}
        arguments: list[str] = []
        if isinstance(given, dict):
            _check_names(given, 0)
            variables = given
        elif isinstance(given, list):
            arguments = [each if isinstance(each, str) else json_text(each) for each in given]
        elif given is not None:
            raise Standard.VALIDATION.error(
                "The arguments of a script are neither object nor array", f"they are {json_text(given)[:200]}"
            )
        stdin = await words.text(form.stdin, "stdin") if form.stdin is not None else None
        return cls(code, variables, arguments, stdin, await words.map_if(form.environment, "environment"))

    @property
    def handed(self) -> dict[str, JSON]:
        """What reaches the script as JSON."""
        return {"variables": dict(self.variables), "arguments": [*self.arguments]}


async def _code(form: RunScript, words: Words) -> str:
    if form.code is not None:
        return form.code
    assert form.source is not None, "a script has code or a source"
    uri = await words.text(form.source.endpoint.uri, "source")
    try:
        return await read_source(uri, words.run.tools.sources)
    except SourceError as error:
        raise error.told("A script cannot be read") from error


def _check_names(value: JSON, depth: int) -> None:
    """Check that every key may be the name of a variable."""
    if depth > _DEEPEST:
        raise Standard.VALIDATION.error("The arguments of a script are nested too deeply", f"at most {_DEEPEST} levels")
    if isinstance(value, list):
        for each in value:
            _check_names(each, depth + 1)
    elif isinstance(value, dict):
        for name, each in value.items():
            if not name.isascii() or not name.isidentifier() or keyword.iskeyword(name) or _is_dunder(name):
                raise Standard.VALIDATION.error(
                    "An argument of a script has no name that a variable can have", f"{name!r} is none"
                )
            _check_names(each, depth + 1)


def _is_dunder(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")
