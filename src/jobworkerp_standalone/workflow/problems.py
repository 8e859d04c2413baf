"""What is wrong with a document."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from jobworkerp_standalone.jobs.errors import JobworkerpError


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake, or one warning."""

    line: int
    """From 1; 0 where the document is meant as a whole."""
    column: int
    """From 1, in characters."""
    pointer: str
    """JSON pointer to the part that is meant; empty is the whole document."""
    message: str
    suggestion: str | None = None
    text: str = ""
    """The line of the document."""

    def __str__(self) -> str:
        place = f"line {self.line}, column {self.column}" if self.line else self.pointer or "document"
        inside = f" ({self.pointer})" if self.line and self.pointer else ""
        hint = f"; {self.suggestion}" if self.suggestion else ""
        return f"{place}{inside}: {self.message}{hint}"


class InvalidDocument(JobworkerpError):
    """A document that cannot run, with every reason."""

    def __init__(self, problems: Sequence[Problem], warnings: Sequence[Problem] = ()) -> None:
        super().__init__(problems, warnings)
        self.problems = tuple(problems)
        self.warnings = tuple(warnings)

    def __str__(self) -> str:
        count = len(self.problems)
        shown = "; ".join(str(each) for each in self.problems[:_SHOWN])
        more = f"; and {count - _SHOWN} more" if count > _SHOWN else ""
        return f"the workflow is not valid: {shown}{more}"


def did_you_mean(word: str, known: Iterable[str], *, alike: float = 0.6) -> str | None:
    """Return a suggestion where something of a similar name is known; ``alike`` says how similar, up to 1."""
    names = {name.lower(): name for name in known}
    close = get_close_matches(word.lower(), names, n=1, cutoff=alike)
    return f"did you mean '{names[close[0]]}'?" if close else None


_SHOWN = 20
