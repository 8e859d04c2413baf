"""``call: a2a``: a request to another agent.

This is no job of HTTP_REQUEST: a stream is read event by event, to its last one, and a task that the call began is
cancelled with it.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, cast
from uuid import uuid4

import httpx

from jobworkerp_standalone.net.rules import FetchRules
from jobworkerp_standalone.net.urls import is_same_origin, shown
from jobworkerp_standalone.workflow.calls.a2a_agent import Agent, BadCard, agent_of
from jobworkerp_standalone.workflow.calls.a2a_talk import Talk
from jobworkerp_standalone.workflow.calls.asking import Asking
from jobworkerp_standalone.workflow.calls.credentials import Credentials, credentials_of, renewed
from jobworkerp_standalone.workflow.calls.http import pairs_given
from jobworkerp_standalone.workflow.calls.http_order import Pairs
from jobworkerp_standalone.workflow.calls.identity import check_https
from jobworkerp_standalone.workflow.calls.resources import source_text
from jobworkerp_standalone.workflow.calls.uris import check_http_url, uri_of
from jobworkerp_standalone.workflow.errors import Standard, WorkflowError
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.model.calls import A2A_METHODS, A2A_STREAMS, A2aCall
from jobworkerp_standalone.workflow.model.values import Resource

_MESSAGES = frozenset({"message/send", "message/stream"})


async def output(asking: Asking, call: Any) -> JSON:
    """Send the request and return its result: an array of events where a stream answers."""
    form = cast("A2aCall", call)
    method = await asking.plain(form.method, "method")
    if method not in A2A_METHODS:
        raise Standard.CONFIGURATION.error(
            "There is no such A2A method", f"{method!r} is none; use one of {', '.join(A2A_METHODS)}"
        ).at(asking.pointer("method"))
    agent, credentials, rules = await _agent(asking, form)
    if form.authentication is not None:
        credentials = await credentials_of(form.authentication, asking, "authentication")
    given = (await asking.mapping(form.parameters, "parameters"))[0]
    params, begins = _parameters(asking, agent, method, given)
    headers = (await pairs_given(asking, form.headers, "headers"))[0]

    async def told(credentials: Credentials | None) -> JSON:
        talk = _talk(asking, agent, headers, credentials, rules)
        if method in A2A_STREAMS:
            return cast("JSON", await talk.follow(agent.method(method), params, begins=begins))
        return await talk.ask(agent.method(method), params)

    try:
        return await told(credentials)
    except WorkflowError as error:
        refused = credentials if error.status == HTTPStatus.UNAUTHORIZED else None
        others = await renewed(refused, asking) if refused is not None else None
        if others is None:
            raise
    return await told(others)


def _talk(
    asking: Asking, agent: Agent, given: Pairs, credentials: Credentials | None, rules: FetchRules | None
) -> Talk:
    url, headers = httpx.URL(agent.url), {name.lower(): value for name, value in given}
    if credentials is None:
        return Talk(agent, url, headers, rules=rules)
    if credentials.header is not None:
        headers["authorization"] = credentials.header
    if credentials.identity is not None:
        check_https(agent.url, asking.pointer("authentication"))
    user = credentials.digest
    return Talk(agent, url, headers, (user.name, user.password) if user else None, credentials.identity, rules)


def _parameters(asking: Asking, agent: Agent, method: str, given: dict[str, JSON]) -> tuple[dict[str, JSON], bool]:
    """Return what is sent, and whether it may begin a task."""
    if method not in _MESSAGES:
        return agent.parameters(given), False
    message = given.get("message")
    if not isinstance(message, dict):
        raise Standard.VALIDATION.error("A parameter is missing", f"{method} needs the object 'message'").at(
            asking.pointer("parameters")
        )
    whole = agent.message(message, str(uuid4()))
    return agent.parameters({**given, "message": whole}), not message.get("taskId")


async def _agent(asking: Asking, form: A2aCall) -> tuple[Agent, Credentials | None, FetchRules | None]:
    """Return the agent, what it may be told by default, and the rules that its address must keep to."""
    if form.agent_card is not None:
        return await _of_card(asking, form, form.agent_card)
    assert form.server is not None, "there is one or the other"
    credentials = await credentials_of(form.server.authentication, asking, "server/authentication")
    url = str((await uri_of(asking, form.server.uri, "server")).value)
    _check_url(url, asking.pointer("server"))
    return Agent(url, form.version or "0.3"), credentials, None


async def _of_card(
    asking: Asking, form: A2aCall, card: Resource
) -> tuple[Agent, Credentials | None, FetchRules | None]:
    name = "agentCard/endpoint"
    place = str((await uri_of(asking, card.endpoint.uri, name)).value)
    credentials = await credentials_of(card.endpoint.authentication, asking, f"{name}/authentication")
    text = await source_text(asking, place, credentials, "agentCard")
    try:
        agent = agent_of(text, form.version)
    except BadCard as error:
        raise Standard.CONFIGURATION.error("An agent card cannot be used", f"{place}: {error}").at(
            asking.pointer("agentCard")
        ) from error
    _check_url(agent.url, asking.pointer("agentCard"))
    home = httpx.URL(place) if place.lower().startswith(("http://", "https://")) else None
    if home is None:  # a file is as good as the document
        return agent, None, None
    there = httpx.URL(agent.url)
    if home.scheme == "https" and there.scheme != "https":
        raise Standard.CONFIGURATION.error(
            "An agent card cannot be used",
            f"{shown(home)} names {shown(there)}, which is not protected: the card must name an https address",
        ).at(asking.pointer("agentCard"))
    if is_same_origin(home, there):
        return agent, credentials, None
    # Another host gets neither the credentials nor the trust of the one that the document names.
    return agent, None, asking.run.tools.sources.fetch


def _check_url(url: str, pointer: str) -> None:
    check_http_url(url, pointer)
    try:
        httpx.URL(url)
    except httpx.InvalidURL as error:
        raise Standard.CONFIGURATION.error("An endpoint cannot be called", str(error)).at(pointer) from error
