"""What is wrong with an expression: when it is loaded, and when it is evaluated."""

from __future__ import annotations

from jobworkerp_standalone.jobs.errors import JobworkerpError


class ExpressionSyntaxError(JobworkerpError):
    """An expression that can never be evaluated.

    Args:
        text: the offending string, as the document has it.
        reason: what is wrong with it.
        path: where in the value the string is, as a JSON pointer; empty if it is the value.
        line: line in ``text``, from 1, where known.
        column: column in that line, from 1, where known.
    """

    def __init__(
        self, text: str, reason: str, path: str = "", line: int | None = None, column: int | None = None
    ) -> None:
        super().__init__(text, reason, path, line, column)
        self.text = text
        self.reason = reason
        self.path = path
        self.line = line
        self.column = column

    def at(self, path: str) -> ExpressionSyntaxError:
        """Return the error with its place in the value."""
        return ExpressionSyntaxError(self.text, self.reason, path, self.line, self.column)

    def __str__(self) -> str:
        return f"expression {shown(self.text)}: {self.reason}"


class ExpressionError(JobworkerpError):
    """An expression that failed: the workflow error of type ``expression``, status 400.

    Args:
        text: the expression, as the document has it.
        reason: the engine's message.
        path: where in the value the expression is, as a JSON pointer; empty if it is the value.
    """

    def __init__(self, text: str, reason: str, path: str = "") -> None:
        super().__init__(text, reason, path)
        self.text = text
        self.reason = reason
        self.path = path

    def __str__(self) -> str:
        place = f" at {self.path}" if self.path else ""
        return f"expression {shown(self.text)}{place} failed: {self.reason}"


_LONGEST = 200


def shown(text: str) -> str:
    """Return a text on one line, not too long, in quotes."""
    return repr(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...")
