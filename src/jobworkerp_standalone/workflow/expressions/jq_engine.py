"""jq itself, in whichever process it runs. A helper loads this and no more, so that it is there soon."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple, Protocol, cast

from jobworkerp_standalone.workflow.expressions.failure import EvaluationFailed
from jobworkerp_standalone.workflow.expressions.recent import Recent
from jobworkerp_standalone.workflow.expressions.values import JSON, finite

_PLACE: Final = re.compile(r" at <top-level>(?:, line (\d+)(?:, column (\d+))?)?")
_EACH: Final = 5_000
_CHARACTER: Final = 16
"""Bytes of a compiled program, and more for each character of its text: measured."""
MOST_COMPILED: Final = 32 * 1024 * 1024
"""Bytes of all that are kept: jq takes milliseconds to compile what runs in microseconds."""


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


def cost(program: str) -> int:
    """Return about how many bytes a program takes when it is compiled."""
    return _EACH + _CHARACTER * len(program)


def _compiled(program: str) -> Compiled:
    import jq  # noqa: PLC0415 - only where there are expressions

    return cast("_Jq", jq).compile(program)


compiled: Final = Recent(_compiled, cost, MOST_COMPILED)
"""Returns a program ready to run in this process; ValueError: it does not compile."""


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
