"""Which agent is asked: where it is, and which version of A2A it speaks there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.model.calls import A2A_METHODS, A2aVersion

_JSON_RPC: Final = "JSONRPC"
_CANCEL: Final = "tasks/cancel"
_OVER: Final = frozenset({"COMPLETED", "FAILED", "CANCELED", "REJECTED", "INPUT_REQUIRED"})
"""States in which nothing more comes from an agent of 1.0 by itself."""


class BadCard(ValueError):
    """A card from which no agent can be had."""


@dataclass(frozen=True, slots=True)
class Agent:
    """An interface of an agent, and how that version of the protocol says things."""

    url: str
    version: A2aVersion
    tenant: str = ""

    @property
    def headers(self) -> dict[str, str]:
        """Return what tells the version; without it agents take it for 0.3."""
        return {} if self._old else {"A2A-Version": self.version}

    def method(self, name: str) -> str:
        """Return what this version calls a method of the DSL, whose names are those of 0.3."""
        return name if self._old else A2A_METHODS[name]

    def parameters(self, given: Mapping[str, JSON]) -> dict[str, JSON]:
        """Return the parameters of a request."""
        return {"tenant": self.tenant, **given} if self.tenant else dict(given)

    def message(self, given: Mapping[str, JSON], message_id: str) -> dict[str, JSON]:
        """Return a message with what must be there and the document may leave out."""
        about = {"role": "user", "kind": "message"} if self._old else {"role": "ROLE_USER"}
        return {"messageId": message_id, **about, **given}

    def cancellation(self, task: str) -> tuple[str, dict[str, JSON]]:
        """Return the method and the parameters that end a task."""
        return self.method(_CANCEL), self.parameters({"id": task})

    def task_of(self, event: JSON) -> str | None:
        """Return the task that an event of a stream is about."""
        kind, value = self._taken_apart(event)
        found = value.get("id" if kind == "task" else "taskId")
        return found if isinstance(found, str) and found else None

    def is_last(self, event: JSON) -> bool:
        """Whether no event follows this one."""
        kind, value = self._taken_apart(event)
        if kind == "message":
            return True
        if self._old:
            return value.get("final") is True
        status = value.get("status")
        state = status.get("state") if isinstance(status, dict) else None
        return isinstance(state, str) and state.removeprefix("TASK_STATE_") in _OVER

    @property
    def _old(self) -> bool:
        return self.version == "0.3"

    def _taken_apart(self, event: JSON) -> tuple[str, dict[str, JSON]]:
        """Return the kind of an event and what it holds: a member tells it in 0.3, the one name of a member in 1.0."""
        if not isinstance(event, dict):
            return "", {}
        if self._old:
            return str(event.get("kind")), event
        kind, value = next(iter(event.items()), ("", None))
        return kind, value if isinstance(value, dict) else {}


def agent_of(card: str, wanted: A2aVersion | None) -> Agent:
    """Return the interface of an agent that is asked.

    Args:
        card: the agent card.
        wanted: the version that it must speak; without it 0.3 is preferred, whose methods the DSL has.

    Raises:
        BadCard: there is none.
    """
    try:
        read: Any = json.loads(card)
    except ValueError as error:
        raise BadCard(f"it is no JSON: {error}") from error
    if not isinstance(read, dict):
        raise BadCard("it is no JSON object")
    offered = list(_interfaces(cast("dict[str, Any]", read)))
    fitting = [
        Agent(each["url"], version, each.get("tenant") or "")
        for each in offered
        if each["binding"].upper() == _JSON_RPC
        and (version := _version(each["version"])) is not None
        and wanted in {None, version}
    ]
    if not fitting:
        names = ", ".join(f"{each['binding']} of A2A {each['version']} at {each['url']}" for each in offered)
        needed = f"JSON-RPC interface of A2A {wanted or '0.3 or 1.0'}"
        raise BadCard(f"it names no {needed}; it names {names or 'no interface at all'}")
    return min(fitting, key=lambda each: each.version)


def _interfaces(card: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """Yield what a card offers, in the form of 1.0 and in that of 0.3."""
    for each in _objects(card.get("supportedInterfaces")):
        yield from _interface(each, "protocolBinding", each.get("protocolVersion") or "1.0")
    version = card.get("protocolVersion") or "0.3"
    yield from _interface({"preferredTransport": _JSON_RPC, **card}, "preferredTransport", version)
    for each in _objects(card.get("additionalInterfaces")):
        yield from _interface(each, "transport", version)


def _interface(found: Mapping[str, Any], binding: str, version: Any) -> Iterator[dict[str, str]]:
    interface: dict[str, Any] = {"url": found.get("url"), "binding": found.get(binding), "version": version}
    if all(isinstance(each, str) and each for each in interface.values()):
        yield {**interface, "tenant": tenant if isinstance(tenant := found.get("tenant"), str) else ""}


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in cast("list[Any]", value) if isinstance(each, dict)] if isinstance(value, list) else []


def _version(text: str) -> A2aVersion | None:
    major = text.partition(".")[0]
    return {"0": "0.3", "1": "1.0"}.get(major)  # pyright: ignore[reportReturnType]
