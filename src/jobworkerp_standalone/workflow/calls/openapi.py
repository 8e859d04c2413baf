"""``call: openapi``."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final, cast

import anyio.to_thread
import httpx

from jobworkerp_standalone.net.addresses import NotPublic
from jobworkerp_standalone.net.pinning import pinned
from jobworkerp_standalone.net.urls import is_same_origin, shown
from jobworkerp_standalone.runners.host import Host
from jobworkerp_standalone.workflow.calls.asking import Asking
from jobworkerp_standalone.workflow.calls.credentials import credentials_of
from jobworkerp_standalone.workflow.calls.http_exchange import Request, output_of
from jobworkerp_standalone.workflow.calls.openapi_document import BadOpenApi, NoOperation, Operation
from jobworkerp_standalone.workflow.calls.openapi_request import order_of
from jobworkerp_standalone.workflow.calls.resources import resource_text
from jobworkerp_standalone.workflow.errors import Standard, WorkflowError
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.model.calls import OpenApiCall
from jobworkerp_standalone.workflow.source import DOCUMENTS

_KEPT: Final = 256


class Operations:
    """Operations of documents that were read before, by the document's text. ``host.shared(Operations)``."""

    def __init__(self, _host: Host) -> None:
        self._known: OrderedDict[tuple[str, str, int], Operation] = OrderedDict()

    async def find(self, text: str, source: str, operation_id: str) -> Operation:
        """Return an operation of a document.

        Raises:
            NoOperation: it is not there.
            BadOpenApi: the document cannot be read.
        """
        key = (source, operation_id, hash(text))
        if key not in self._known:
            self._known[key] = await anyio.to_thread.run_sync(Operation.find, text, source, operation_id)
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]


async def output(asking: Asking, call: Any) -> JSON:
    """Send the request of the operation and return what the task outputs."""
    form = cast("OpenApiCall", call)
    source, text = await resource_text(asking, form.document, "document", DOCUMENTS)
    credentials = await credentials_of(form.authentication, asking, "authentication")
    operation_id = await asking.plain(form.operation_id, "operationId")
    try:
        operation = await asking.run.tools.host.shared(Operations).find(text, source, operation_id)
    except (BadOpenApi, NoOperation) as error:
        member = "operationId" if isinstance(error, NoOperation) else "document"
        raise Standard.CONFIGURATION.error("An OpenAPI document cannot be used", f"{source}: {error}").at(
            asking.pointer(member)
        ) from error
    parameters = await asking.mapping(form.parameters, "parameters")
    try:
        orders = [order_of(operation, each, follow=form.redirect, as_bytes=form.output == "raw") for each in parameters]
    except ValueError as error:
        raise Standard.VALIDATION.error(
            "An operation cannot be called like this", asking.revealed.hidden(f"{operation_id}: {error}")
        ).at(asking.pointer("parameters")) from error
    await _check_server(asking, source, orders[0].url, guarded=credentials is not None or orders[0] != orders[1])
    return await output_of(asking, Request.of(*orders), credentials, form.output, redirect=form.redirect)


async def _check_server(asking: Asking, source: str, url: str, *, guarded: bool) -> None:
    """Look whether a document that came over the network may lead to this server; a file is as good as the workflow.

    Raises:
        WorkflowError: it may not.
    """
    if not source.lower().startswith(("http://", "https://")):
        return
    try:
        home, there = httpx.URL(source), httpx.URL(url)
    except httpx.InvalidURL:
        return  # the request itself says it best
    try:
        if guarded and home.scheme == "https" and there.scheme != "https":
            raise _not_asked(asking, there, "it is not protected, and would be sent credentials; it must be https")
        if not is_same_origin(home, there):
            request = httpx.Request("GET", there)
            await pinned(request, asking.run.tools.sources.fetch, behind_proxy=True)  # the runner connects by itself
    except NotPublic as error:
        raise _not_asked(asking, there, f"{error}; WORKFLOW_ALLOWED_HOSTS allows it") from error
    except OSError:
        return  # as above


def _not_asked(asking: Asking, server: httpx.URL, why: str) -> WorkflowError:
    return Standard.CONFIGURATION.error(
        "A server may not be asked", f"the OpenAPI document names {shown(server)}: {why}"
    ).at(asking.pointer("document"))
