"""The answer to an HTTP request, and what of it is the task's output."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from typing import Any, Final, Self

from jobworkerp_standalone.jobs.json_in import Unheld, json_value
from jobworkerp_standalone.schema.messages import message_class
from jobworkerp_standalone.workflow.calls.http_order import HttpOrder, Pairs, joined
from jobworkerp_standalone.workflow.errors import Standard, WorkflowError
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.model.calls import HttpOutput

_RESULT: Final[Any] = message_class("jobworkerp.runner.HttpResponseResult")
_REDIRECTION: Final = 300
_ERROR: Final = 400
_QUOTED: Final = 2_000


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """Status, headers (names in lower case) and body."""

    status: int
    headers: Pairs
    body: str | bytes

    @classmethod
    def read(cls, data: bytes) -> Self:
        """Read the result of an HTTP_REQUEST job."""
        result = _RESULT.FromString(data)
        body = result.chunk if result.WhichOneof("response_data") == "chunk" else result.content
        return cls(result.status_code, tuple((each.key, each.value) for each in result.headers), body)

    def header(self, name: str) -> str:
        """Return the first header of that name, or nothing."""
        return next(iter(self.all(name)), "")

    def all(self, name: str) -> list[str]:
        """Return every header of that name."""
        return [value for key, value in self.headers if key == name]

    def check(self, *, redirect: bool) -> None:
        """Look at the status.

        Args:
            redirect: whether 3xx is a success.

        Raises:
            WorkflowError: it is not that of a success.
        """
        if self.status < (_ERROR if redirect else _REDIRECTION):
            return
        if self.status < _ERROR:
            where = self.header("location")
            detail = f"the server redirects to {where}: set redirect to true to follow it" if where else "it redirects"
        else:
            detail = self.body[:_QUOTED] if isinstance(self.body, str) else f"with {len(self.body)} bytes"
        raise failed_with(self.status, detail)

    def output(self, form: HttpOutput, request: HttpOrder) -> JSON:
        """Return the task's output.

        Args:
            form: what the document asks for.
            request: the request as others may see it.
        """
        if form == "raw":
            return b64encode(self.body if isinstance(self.body, bytes) else self.body.encode()).decode()
        content = self._content()
        if form == "content":
            return content
        return {
            "request": request.as_json(),
            "statusCode": self.status,
            "headers": joined(self.headers),
            "content": content,
            "body": content,
        }

    def _content(self) -> JSON:
        if isinstance(self.body, bytes):
            return b64encode(self.body).decode()
        kind = self.header("content-type").partition(";")[0].strip().lower()
        if kind == "application/json" or kind.endswith("+json"):
            try:
                return json_value(self.body)
            except Unheld as error:
                raise Standard.COMMUNICATION.error(
                    "An answer cannot be read", f"its JSON cannot be held: {error}; output: raw gives it as it is"
                ) from error
            except ValueError:  # no JSON, whatever it says
                return self.body
        return self.body


def failed_with(status: int, detail: str) -> WorkflowError:
    """Return the error of an answer with an error status."""
    return Standard.COMMUNICATION.error(f"The server answered {status}", detail or None, status=status)
