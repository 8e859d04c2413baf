"""``call: http``."""

from __future__ import annotations

from typing import Any, cast

from jobworkerp_standalone.workflow.calls.asking import Asking, Given
from jobworkerp_standalone.workflow.calls.credentials import credentials_of
from jobworkerp_standalone.workflow.calls.http_exchange import Request, output_of
from jobworkerp_standalone.workflow.calls.http_order import HttpOrder, Pairs, body_of, pairs_of
from jobworkerp_standalone.workflow.calls.uris import http_url_of
from jobworkerp_standalone.workflow.errors import Standard
from jobworkerp_standalone.workflow.expressions.template import Template
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.model.calls import HttpCall


async def output(asking: Asking, call: Any) -> JSON:
    """Send the request and return what the task outputs."""
    form = cast("HttpCall", call)
    # First, as other members may refer to $authorization.
    credentials = await credentials_of(form.endpoint.authentication, asking, "endpoint/authentication")
    method = (await asking.plain(form.method, "method")).upper()
    url = await http_url_of(asking, form.endpoint.uri, "endpoint")
    headers = await pairs_given(asking, form.headers, "headers")
    query = await pairs_given(asking, form.query, "query")
    body = await asking.given(form.body, "body")

    def order(*parts: Any) -> HttpOrder:
        url, headers, query, body = parts
        text, headers = body_of(body, headers)
        return HttpOrder(method, url, headers, query, text, follow=form.redirect, as_bytes=form.output == "raw")

    request = Request.of(
        order(url.value, headers[0], query[0], body.value), order(url.shown, headers[1], query[1], _same_kind(body))
    )
    return await output_of(asking, request, credentials, form.output, redirect=form.redirect)


async def pairs_given(asking: Asking, template: Template | None, name: str) -> tuple[Pairs, Pairs]:
    """Return headers or a query, and what others may see of them.

    Raises:
        WorkflowError: they cannot be that.
    """
    try:
        value, shown = (pairs_of(each, name) for each in await asking.mapping(template, name))
    except ValueError as error:
        raise Standard.VALIDATION.error(f"The {name} cannot be sent", asking.revealed.hidden(str(error))).at(
            asking.pointer(name)
        ) from error
    return value, shown


def _same_kind(body: Given) -> JSON:
    """Return the masked body such that it gets the same headers as the real one."""
    if isinstance(body.shown, str) and not isinstance(body.value, (str, type(None))):
        return [body.shown]
    return body.shown
