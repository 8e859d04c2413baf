"""A case: a document, an input, and what comes out of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest

from jobworkerp_standalone.workflow.load import load_text
from tests.workflow.stage import Stage, document

STANDARD = "https://serverlessworkflow.io/spec/1.0.0/errors/"
_NOTHING: Any = object()
_MISTAKES = re.compile(
    "is a text|begins as jq|is no expression|is not closed|sets a member|what 'not' gives|what jq calls"
)
"""What ``check`` says of expressions that are nearly always meant otherwise."""


@dataclass(frozen=True)
class Fault:
    """How a run fails: status, last word of the type, instance, words of the text; None and () are not looked at."""

    status: int
    type: str | None = None
    at: str | None = None
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """One line of a specification."""

    name: str
    document: str
    given: Any
    output: Any = _NOTHING
    fault: Fault | None = None
    status: str = "Completed"
    odd: bool = False
    """Whether ``check`` takes an expression in it for a mistake."""

    async def holds(self, stage: Stage) -> None:
        """Run it and look at what comes out; what is meant as it is written is no mistake."""
        loaded = load_text(document(self.document))
        assert any(_MISTAKES.search(each.message) for each in loaded.warnings) == self.odd, loaded.warnings
        end = await stage.run(self.document, self.given)
        if self.fault is None:
            assert end.status == self.status, end
            assert end.output == self.output
            return
        assert end.status == "Faulted", end
        assert end.error["status"] == self.fault.status, end.error
        if self.fault.type is not None:
            assert end.error["type"] == STANDARD + self.fault.type
        if self.fault.at is not None:
            assert end.error["instance"] == self.fault.at
        for word in self.fault.words:
            assert word in end.text


def expression(at: str | None = None, *words: str) -> Fault:
    """Return the fault of an expression."""
    return Fault(400, "expression", at, words)


def table(*cases: Case) -> Any:
    """Make one test of each case."""
    return pytest.mark.parametrize("case", cases, ids=[case.name.replace(" ", "_") for case in cases])
