"""Sends the HTTP requests of tasks, each as a job of HTTP_REQUEST."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import httpx

from jobworkerp_standalone.workflow.calls.asking import Asking
from jobworkerp_standalone.workflow.calls.credentials import Credentials, User
from jobworkerp_standalone.workflow.calls.http_answer import HttpAnswer
from jobworkerp_standalone.workflow.calls.http_order import HttpOrder
from jobworkerp_standalone.workflow.calls.tokens import Tokens
from jobworkerp_standalone.workflow.errors import Standard
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.jobs import Work, on_runner, result_of
from jobworkerp_standalone.workflow.model.calls import HttpOutput

_UNAUTHORIZED: Final = 401
_AUTHORIZATION: Final = "Authorization"


@dataclass(frozen=True, slots=True)
class Request:
    """A request, and the same with what is secret masked."""

    order: HttpOrder
    shown: HttpOrder

    def with_authorization(self, header: str) -> Request:
        """Return the request with credentials."""
        order = self.order.with_header(_AUTHORIZATION, header)
        return Request(order, self.shown.with_header(_AUTHORIZATION, header).masked())


async def output_of(
    asking: Asking, request: Request, credentials: Credentials | None, form: HttpOutput, *, redirect: bool
) -> JSON:
    """Send a request and return what the task outputs.

    Raises:
        WorkflowError: there was no answer, or its status is no success.
    """
    if credentials is not None and credentials.header is not None:
        request = request.with_authorization(credentials.header)
    answer = await _sent(asking, request)
    if answer.status == _UNAUTHORIZED and credentials is not None:
        if credentials.digest is not None:
            request = _answering(request, answer, credentials.digest)
            answer = await _sent(asking, request)
        elif credentials.grant is not None:
            asking.run.tools.host.shared(Tokens).forget(credentials.grant, credentials.parameter)
    answer.check(redirect=redirect)
    return answer.output(form, request.shown)


async def _sent(asking: Asking, request: Request) -> HttpAnswer:
    worker, method = await on_runner(asking.run, "HTTP_REQUEST", None)
    spec = asking.run.tools.children.runner("HTTP_REQUEST")
    assert spec is not None, "it is built in"
    args, shown = request.order.args(), request.shown.masked().args()
    work = Work(worker, spec, method, shown, None if args == shown else args)
    result = await result_of(asking.run, asking.state, work)
    assert result is not None, "calls are waited for"
    return HttpAnswer.read(result.output or b"")


def _answering(request: Request, answer: HttpAnswer, user: User) -> Request:
    """Return the request with the answer to a server's challenge (RFC 7616)."""
    order = request.order
    try:
        first = httpx.Request(order.method, httpx.URL(order.url), params=order.query or None)
        flow = httpx.DigestAuth(user.name, user.password).auth_flow(first)
        next(flow)
        challenged = flow.send(httpx.Response(answer.status, headers=list(answer.headers), request=first))
    except (StopIteration, NotImplementedError, ValueError, KeyError, httpx.ProtocolError) as error:
        reason = str(error) or "the server does not ask for digest"
        raise Standard.AUTHENTICATION.error("The server's challenge cannot be answered", reason) from error
    return request.with_authorization(challenged.headers[_AUTHORIZATION])
