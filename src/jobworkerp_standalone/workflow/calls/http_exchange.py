"""Sends the HTTP requests of tasks, each as a job of HTTP_REQUEST."""

from __future__ import annotations

from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final, Self

import httpx

from jobworkerp_standalone.net.digest import Asked, NoAnswer, answer_to, is_stale
from jobworkerp_standalone.net.identity import Identity
from jobworkerp_standalone.net.urls import with_query
from jobworkerp_standalone.runners.children import Secret
from jobworkerp_standalone.workflow.calls.asking import Asking
from jobworkerp_standalone.workflow.calls.credentials import Credentials, User, renewed
from jobworkerp_standalone.workflow.calls.http_answer import HttpAnswer
from jobworkerp_standalone.workflow.calls.http_order import HttpOrder
from jobworkerp_standalone.workflow.calls.identity import check_https
from jobworkerp_standalone.workflow.child_jobs import Work, on_runner, result_of
from jobworkerp_standalone.workflow.errors import Standard
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.model.calls import HttpOutput

_CHALLENGE: Final = "www-authenticate"


@dataclass(frozen=True, slots=True)
class Request:
    """A request, and the same with what is secret masked."""

    order: HttpOrder
    shown: HttpOrder

    @classmethod
    def of(cls, order: HttpOrder, shown: HttpOrder) -> Self:
        """Return a request. What is secret in it goes to no other host than the one it is made for."""
        secret = {key.lower() for key, _ in set(order.headers) - set(shown.headers)}
        private = {"private_headers": frozenset(secret), "private_body": order.body != shown.body}
        return cls(replace(order, **private), replace(shown, **private))

    def showing(self, identity: Identity, pointer: str) -> Request:
        """Return the request with a client certificate.

        Raises:
            WorkflowError: it does not go by https.
        """
        check_https(self.order.url, pointer)
        return Request(replace(self.order, identity=identity), replace(self.shown, identity=identity))

    def with_authorization(self, header: str) -> Request:
        """Return the request with credentials."""
        order = self.order.authorized(header)
        return Request(order, self.shown.authorized(header).masked())


async def output_of(
    asking: Asking, request: Request, credentials: Credentials | None, form: HttpOutput, *, redirect: bool
) -> JSON:
    """Send a request and return what the task outputs.

    Raises:
        WorkflowError: there was no answer, or its status is no success.
    """
    if credentials is not None and credentials.header is not None:
        request = request.with_authorization(credentials.header)
    if credentials is not None and credentials.identity is not None:
        request = request.showing(credentials.identity, asking.pointer("endpoint"))
    answer = await _sent(asking, request)
    if answer.status == HTTPStatus.UNAUTHORIZED and credentials is not None:
        request, answer = await _sent_again(asking, request, answer, credentials)
    answer.check(redirect=redirect)
    return answer.output(form, request.shown)


async def _sent_again(
    asking: Asking, request: Request, answer: HttpAnswer, credentials: Credentials
) -> tuple[Request, HttpAnswer]:
    """Send a request that was refused with other credentials, where there are some."""
    if credentials.digest is not None:
        request = _answering(request, answer, credentials.digest)
        answer = await _sent(asking, request)
        if answer.status == HTTPStatus.UNAUTHORIZED and is_stale(answer.all(_CHALLENGE)):
            request = _answering(request, answer, credentials.digest)
            answer = await _sent(asking, request)
    elif (others := await renewed(credentials, asking)) is not None:
        request = request.with_authorization(f"{others.scheme} {others.parameter}")
        answer = await _sent(asking, request)
        if answer.status == HTTPStatus.UNAUTHORIZED:
            await renewed(others, asking)
    return request, answer


async def _sent(asking: Asking, request: Request) -> HttpAnswer:
    worker, spec, method = await on_runner(asking.run, "HTTP_REQUEST", None)
    agent = asking.run.tools.sources.fetch.user_agent
    args, shown = (each.asked_by(agent).args() for each in (request.order, request.shown.masked()))
    secret = Secret(args, asking.revealed.hidden) if args != shown else None
    result = await result_of(asking.run, asking.state, Work(worker, spec, method, shown, secret))
    assert result is not None, "calls are waited for"
    return HttpAnswer.read(result.output or b"")


def _answering(request: Request, answer: HttpAnswer, user: User) -> Request:
    """Return the request with the answer to a server's challenge."""
    order = request.order
    url = with_query(httpx.URL(order.url), order.encoded_query)
    asked = Asked(order.method, url.raw_path, (order.body or "").encode())
    try:
        header = answer_to(answer.all(_CHALLENGE), user.name, user.password, asked)
    except NoAnswer as error:
        raise Standard.AUTHENTICATION.error("The server's challenge cannot be answered", str(error)) from error
    return request.with_authorization(header)
