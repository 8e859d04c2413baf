"""An agent that speaks A2A, for tests: 0.3 at ``/a2a``, 1.0 at ``/a2a/v1``, JSON-RPC and streams of events.

What it does is what the text of a message says; without such a word it says the text again.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio

from tests.support.web import Reply, WebServer, open_web
from tests.support.web_values import Seen

CARD = "/.well-known/agent-card.json"
JSON = [("Content-Type", "application/json")]
EVENTS = [("Content-Type", "text/event-stream; charset=utf-8")]
OLD_NAMES = {
    "SendMessage": "message/send",
    "SendStreamingMessage": "message/stream",
    "GetTask": "tasks/get",
    "ListTasks": "tasks/list",
    "CancelTask": "tasks/cancel",
    "SubscribeToTask": "tasks/resubscribe",
    "CreateTaskPushNotificationConfig": "tasks/pushNotificationConfig/set",
    "GetTaskPushNotificationConfig": "tasks/pushNotificationConfig/get",
    "ListTaskPushNotificationConfigs": "tasks/pushNotificationConfig/list",
    "DeleteTaskPushNotificationConfig": "tasks/pushNotificationConfig/delete",
    "GetExtendedAgentCard": "agent/getAuthenticatedExtendedCard",
}


class Refused(Exception):
    """An error of JSON-RPC."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.error = {"code": code, "message": message, **({"data": data} if data else {})}


@dataclass
class Agent:
    """The agent, and what it was asked."""

    web: WebServer
    asked: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """The JSON-RPC requests."""
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    token: str = ""
    """What requests must carry as a bearer token, if anything."""
    hanging: anyio.Event = field(default_factory=anyio.Event)
    left: anyio.Event = field(default_factory=anyio.Event)
    """The client of a stream that hangs has gone."""

    @property
    def card(self) -> str:
        return self.web.url + CARD

    def old_card(self, **more: Any) -> dict[str, Any]:
        return {"name": "t", "protocolVersion": "0.3.0", "url": f"{self.web.url}/a2a", "capabilities": {}, **more}

    def new_card(self) -> dict[str, Any]:
        rest = {"url": f"{self.web.url}/rest", "protocolBinding": "HTTP+JSON", "protocolVersion": "1.0"}
        rpc = {"url": f"{self.web.url}/a2a/v1", "protocolBinding": "JSONRPC", "protocolVersion": "1.0", "tenant": "me"}
        return {"name": "t", "supportedInterfaces": [rest, rpc], "capabilities": {"streaming": True}}

    def show(self, card: Any) -> None:
        """Have this card."""
        self.web.routes[CARD] = self._guarded_card(card if isinstance(card, str) else json.dumps(card))

    def cancelled(self) -> list[str]:
        return [each["params"]["id"] for each in self.asked if each["method"] in {"tasks/cancel", "CancelTask"}]

    def _guarded_card(self, text: str) -> Any:
        async def route(seen: Seen, reply: Reply) -> None:
            if self._knows(seen):
                await reply.answer(200, text.encode(), JSON)
            else:
                await reply.answer(401, b"who are you")

        return route

    def _knows(self, seen: Seen) -> bool:
        return not self.token or seen.all("authorization") == [f"Bearer {self.token}"]

    async def talk(self, seen: Seen, reply: Reply) -> None:
        """Answer one request of JSON-RPC."""
        new = seen.target.startswith("/a2a/v1")
        request = json.loads(seen.body)
        self.asked.append(request)
        if not self._knows(seen):
            await reply.answer(401, b"who are you")
            return
        about = {"jsonrpc": "2.0", "id": request["id"]}
        try:
            if new and seen.all("a2a-version") != ["1.0"]:
                raise Refused(-32009, "this is 1.0")
            name = OLD_NAMES.get(request["method"]) if new else request["method"]
            await self._act(name, new, request.get("params") or {}, about, reply)
        except Refused as error:
            await reply.answer(200, json.dumps({**about, "error": error.error}).encode(), JSON)

    async def _act(self, name: str | None, new: bool, params: dict[str, Any], about: Any, reply: Reply) -> None:
        answers = {
            "message/send": self._send,
            "tasks/get": self._get,
            "tasks/list": lambda _new, _params: {"tasks": list(self.tasks.values())},
            "tasks/cancel": self._cancel,
            "agent/getAuthenticatedExtendedCard": lambda _new, _params: {"name": "t", "extended": True},
        }
        if name in {"message/stream", "tasks/resubscribe"}:
            await self._stream(name, new, params, about, reply)
        elif name == "message/send" and text_of(params) == "hang":
            self.hanging.set()
            await reply.gone()
        elif name == "message/send" and text_of(params) == "broken":
            await reply.answer(500, b"out of order")
        elif name == "message/send" and text_of(params) == "nonsense":
            await reply.answer(200, b'{"jsonrpc": "2.0"}', JSON)
        elif name == "message/send" and text_of(params) == "cut":
            reply.cut()
        elif name in answers:
            await reply.answer(200, json.dumps({**about, "result": answers[name](new, params)}).encode(), JSON)
        elif name and name.startswith("tasks/pushNotificationConfig/"):
            await reply.answer(200, json.dumps({**about, "result": {"did": name, **params}}).encode(), JSON)
        else:
            raise Refused(-32601, "no such method", {"method": name})

    def _send(self, new: bool, params: dict[str, Any]) -> Any:
        text = text_of(params)
        if text == "work":
            return self._event(new, "task", self._task(new, "completed"))
        answer = {"messageId": "m", "parts": [{"text": text} if new else {"kind": "text", "text": text}]}
        return self._event(new, "message", {**answer, "role": "ROLE_AGENT" if new else "agent"})

    def _task(self, new: bool, state: str) -> dict[str, Any]:
        number = str(len(self.tasks) + 1)
        task: dict[str, Any] = {"id": f"task-{number}", "contextId": "c", "status": {"state": state_of(new, state)}}
        self.tasks[task["id"]] = task
        return task

    def _get(self, _new: bool, params: dict[str, Any]) -> Any:
        if params.get("id") not in self.tasks:
            raise Refused(-32001, "Task not found", {"id": params.get("id")})
        return self.tasks[params["id"]]

    def _cancel(self, new: bool, params: dict[str, Any]) -> Any:
        task = self._get(new, params)
        task["status"] = {"state": state_of(new, "canceled")}
        return task

    async def _stream(self, name: str, new: bool, params: dict[str, Any], about: Any, reply: Reply) -> None:
        text = text_of(params) if name == "message/stream" else "again"
        if text == "refuse":
            raise Refused(-32004, "no streams here")

        async def send(result: Any) -> None:
            data = json.dumps({**about, **result}, ensure_ascii=False)
            await reply.piece(f": beat\r\nevent: x\r\ndata: {data}\r\n\r\n".encode())

        await reply.begin(200, EVENTS)
        if text == "nothing":
            await reply.end()
            return
        if text == "chat":
            await send({"result": self._event(new, "message", {"messageId": "m", "parts": []})})
            await reply.gone()  # the client does not wait for the end
            return
        task = self.tasks[params["id"]] if text == "again" else self._task(new, "submitted")
        await send({"result": self._event(new, "task", task)})
        if text == "hang":
            self.hanging.set()
            await reply.gone()
            self.left.set()
        elif text == "cut":
            reply.cut()
        elif text == "garbage":
            await reply.piece(b"data: {nope\n\n")
            await reply.gone()
        elif text == "fail":
            await send({"error": {"code": -32603, "message": "lost the thread"}})
            await reply.gone()
        else:
            await self._work(new, task, send, "input-required" if text == "question" else "completed")
            await reply.gone()

    async def _work(self, new: bool, task: dict[str, Any], send: Any, end: str) -> None:
        about = {"taskId": task["id"], "contextId": "c"}
        artifact = {"artifactId": "a", "parts": [{"text": "one\u2028two"}]}
        await send({"result": self._event(new, "artifact-update", {**about, "artifact": artifact})})
        task["status"] = {"state": state_of(new, end)}
        final = {} if new else {"final": True}
        await send({"result": self._event(new, "status-update", {**about, "status": task["status"], **final})})

    @staticmethod
    def _event(new: bool, kind: str, value: dict[str, Any]) -> dict[str, Any]:
        first, *rest = kind.split("-")
        return {first + "".join(map(str.title, rest)): value} if new else {"kind": kind, **value}


def text_of(params: dict[str, Any]) -> str:
    return params["message"]["parts"][0]["text"]


def state_of(new: bool, state: str) -> str:
    return f"TASK_STATE_{state.upper().replace('-', '_')}" if new else state


@asynccontextmanager
async def open_agent() -> AsyncIterator[Agent]:
    """Start the agent, with a card of 0.3."""
    async with open_web() as web:
        agent = Agent(web)
        web.routes["/a2a"] = web.routes["/a2a/v1"] = agent.talk
        agent.show(agent.old_card())
        yield agent
