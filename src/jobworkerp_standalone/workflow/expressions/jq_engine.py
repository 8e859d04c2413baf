"""jq itself, in whichever process it runs. A helper loads this and no more, so that it is there soon."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final, NamedTuple, Protocol, cast

from jobworkerp_standalone.workflow.expressions.failure import EvaluationFailed
from jobworkerp_standalone.workflow.expressions.values import JSON, finite

_PLACE: Final = re.compile(r" at <top-level>(?:, line (\d+)(?:, column (\d+))?)?")
_CACHED: Final = 1_024


class Compiled(Protocol):
    """What the jq package compiles to."""

    def input_text(self, text: str) -> Any:
        """Return the program with its input."""
        ...


class _Jq(Protocol):
    """The jq package, which carries no types."""

    def compile(self, program: str) -> Compiled:
        """Compile a program."""
        ...


class Message(NamedTuple):
    """What jq says, without what it repeats."""

    text: str
    line: int | None
    column: int | None


@lru_cache(_CACHED)
def compiled(program: str) -> Compiled:
    """Return a program ready to run in this process.

    Raises:
        ValueError: it does not compile.
    """
    import jq  # noqa: PLC0415 - only where there are expressions

    return cast("_Jq", jq).compile(program)


def run(program: str, text: str) -> list[JSON]:
    """Evaluate in this process and return the outputs.

    Raises:
        EvaluationFailed: with jq's message.
    """
    try:
        outputs: list[JSON] = compiled(program).input_text(text).all()
    except (ValueError, RecursionError) as error:
        raise EvaluationFailed(message(str(error)).text) from error
    return [finite(output) for output in outputs]


def message(said: str) -> Message:
    """Return what jq says, with line and column in what stands on the program's second and following lines."""
    first = said.partition("\n")[0].removeprefix("jq: error: ")
    place = _PLACE.search(first)
    if place is None:
        return Message(first or "failed without a message", None, None)
    line = int(place[1]) - 1 if place[1] else None
    column = int(place[2]) if place[2] else None
    return Message(first[: place.start()] + first[place.end() :].rstrip(":"), line, column)
