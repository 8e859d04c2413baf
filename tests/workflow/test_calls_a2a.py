"""``call: a2a``: agents by their card or their address, in both versions of the protocol."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.support.agent import Agent, open_agent
from tests.support.patience import PATIENCE_SEC, longer_and_longer
from tests.support.token_server import open_authority
from tests.support.web import Reply, open_web, text
from tests.support.web_values import Seen
from tests.support.wire_client import build
from tests.workflow.stage import Ended, Stage, open_stage

METHODS = [
    "tasks/pushNotificationConfig/set",
    "tasks/pushNotificationConfig/get",
    "tasks/pushNotificationConfig/list",
    "tasks/pushNotificationConfig/delete",
]


@pytest.fixture(scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with open_stage(tmp_path_factory.mktemp("stage"), WORKFLOW_ALLOWED_HOSTS="127.0.0.1") as opened:
        yield opened


@pytest.fixture
async def agent() -> AsyncIterator[Agent]:
    async with open_agent() as opened:
        yield opened


def says(words: str) -> dict[str, Any]:
    return {"message": {"parts": [{"kind": "text", "text": words}]}}


def document(agent: Agent, method: str, parameters: Any = None, task: Any = None, **members: Any) -> dict[str, Any]:
    """Return a document with one call of the agent, by its card unless ``members`` say otherwise."""
    given = {"method": method, **({} if "server" in members else {"agentCard": {"endpoint": agent.card}}), **members}
    if parameters is not None:
        given["parameters"] = parameters
    return {"do": [{"ask": {"call": "a2a", "with": given, **(task or {})}}]}


async def asked(stage: Stage, agent: Agent, method: str, parameters: Any = None, **members: Any) -> Any:
    """Return the output of a call."""
    end = await stage.run(document(agent, method, parameters, **members), {"word": "hi"})
    assert end.status == "Completed", end.text
    return end.output


async def refused(stage: Stage, agent: Agent, method: str, parameters: Any = None, **members: Any) -> Ended:
    """Return how a call failed."""
    end = await stage.run(document(agent, method, parameters, **members), {})
    assert end.status == "Faulted"
    return end


async def test_a_message_is_sent_with_what_the_document_leaves_out(stage: Stage, agent: Agent) -> None:
    output = await asked(stage, agent, "message/send", says("${ .word }"))
    assert output == {"kind": "message", "messageId": "m", "role": "agent", "parts": [{"kind": "text", "text": "hi"}]}
    (request,) = agent.asked
    message = request["params"]["message"]
    assert (request["jsonrpc"], request["method"]) == ("2.0", "message/send")
    assert (message["role"], message["kind"], len(message["messageId"])) == ("user", "message", 36)


async def test_what_the_document_says_of_a_message_stays(stage: Stage, agent: Agent) -> None:
    message = {"messageId": "mine", "role": "agent", "parts": [{"text": "x"}], "metadata": {"a": 1}}
    await asked(stage, agent, "message/send", {"message": message, "configuration": {"blocking": True}})
    assert agent.asked[0]["params"] == {"message": {"kind": "message", **message}, "configuration": {"blocking": True}}


async def test_parameters_may_be_an_expression(stage: Stage, agent: Agent) -> None:
    output = await asked(stage, agent, "message/send", "${ {message: {parts: [{text: .word}]}} }")
    assert output["parts"][0]["text"] == "hi"


async def test_an_agent_may_be_named_by_its_address(stage: Stage, agent: Agent) -> None:
    server = {"uri": f"{agent.web.url}/a2a"}
    assert (await asked(stage, agent, "message/send", says("x"), server=server))["kind"] == "message"
    assert not [seen for seen in agent.web.seen if "agent-card" in seen.target]


async def test_a_stream_gives_an_array_of_its_events(stage: Stage, agent: Agent) -> None:
    output = await asked(stage, agent, "message/stream", says("work"))
    assert [event["kind"] for event in output] == ["task", "artifact-update", "status-update"]
    assert output[1]["artifact"]["parts"] == [{"text": "one\u2028two"}], "a line separator is no end of a line"
    assert output[2]["status"]["state"] == "completed"
    assert agent.cancelled() == [], "it came to its end"


async def test_a_stream_of_one_message_ends_with_it(stage: Stage, agent: Agent) -> None:
    assert [event["kind"] for event in await asked(stage, agent, "message/stream", says("chat"))] == ["message"]


async def test_a_task_is_asked_about_and_listened_to_again(stage: Stage, agent: Agent) -> None:
    task = await asked(stage, agent, "message/send", says("work"))
    assert {"kind": "task", **(await asked(stage, agent, "tasks/get", {"id": task["id"]}))} == task
    assert (await asked(stage, agent, "tasks/list", {}))["tasks"][0]["id"] == task["id"]
    again = await asked(stage, agent, "tasks/resubscribe", {"id": task["id"]})
    assert [event["kind"] for event in again] == ["task", "artifact-update", "status-update"]
    assert (await asked(stage, agent, "tasks/cancel", {"id": task["id"]}))["status"]["state"] == "canceled"


@pytest.mark.parametrize("method", METHODS)
async def test_push_notifications_are_configured(stage: Stage, agent: Agent, method: str) -> None:
    assert await asked(stage, agent, method, {"id": "t", "url": "u"}) == {"did": method, "id": "t", "url": "u"}


async def test_the_extended_card_is_asked_for(stage: Stage, agent: Agent) -> None:
    agent.token = "sesame"
    endpoint = {"uri": agent.card, "authentication": {"bearer": {"token": "sesame"}}}
    method = "agent/getAuthenticatedExtendedCard"
    output = await asked(stage, agent, method, agentCard={"endpoint": endpoint})
    assert output == {"name": "t", "extended": True}


# Versions


async def test_an_agent_of_1_0_is_asked_in_its_own_words(stage: Stage, agent: Agent) -> None:
    agent.show(agent.new_card())
    output = await asked(stage, agent, "message/send", {"message": {"parts": [{"text": "hi"}]}})
    assert output["message"]["parts"] == [{"text": "hi"}]
    params = agent.asked[0]["params"]
    assert (agent.asked[0]["method"], params["tenant"]) == ("SendMessage", "me")
    assert (params["message"]["role"], "kind" in params["message"]) == ("ROLE_USER", False)


@pytest.mark.parametrize(("words", "state"), [("work", "COMPLETED"), ("question", "INPUT_REQUIRED")])
async def test_a_stream_of_1_0_ends_with_its_task(stage: Stage, agent: Agent, words: str, state: str) -> None:
    agent.show(agent.new_card())
    output = await asked(stage, agent, "message/stream", {"message": {"parts": [{"text": words}]}})
    assert [next(iter(event)) for event in output] == ["task", "artifactUpdate", "statusUpdate"]
    assert output[-1]["statusUpdate"]["status"]["state"] == f"TASK_STATE_{state}"
    assert agent.cancelled() == []


async def test_every_method_has_its_name_in_1_0(stage: Stage, agent: Agent) -> None:
    agent.show(agent.new_card())
    for method in METHODS:
        assert (await asked(stage, agent, method, {"id": "t"}))["did"] == method
    task = (await asked(stage, agent, "message/send", {"message": {"parts": [{"text": "work"}]}}))["task"]
    for method in ("tasks/get", "tasks/list", "tasks/cancel", "tasks/resubscribe"):
        await asked(stage, agent, method, {"id": task["id"]})
    await asked(stage, agent, "agent/getAuthenticatedExtendedCard")


async def test_of_two_versions_0_3_is_preferred_and_the_document_may_choose(stage: Stage, agent: Agent) -> None:
    agent.show({**agent.new_card(), **agent.old_card()})
    await asked(stage, agent, "message/send", says("x"))
    await asked(stage, agent, "message/send", {"message": {"parts": [{"text": "x"}]}}, protocolVersion="1.0")
    server = {"uri": f"{agent.web.url}/a2a/v1"}
    parameters = {"message": {"parts": [{"text": "x"}]}}
    await asked(stage, agent, "message/send", parameters, server=server, protocolVersion="1.0")
    assert [request["method"] for request in agent.asked] == ["message/send", "SendMessage", "SendMessage"]


async def test_another_interface_of_0_3_may_speak_json_rpc(stage: Stage, agent: Agent) -> None:
    other = [{"url": f"{agent.web.url}/a2a", "transport": "JSONRPC"}]
    card = agent.old_card(url="http://127.0.0.1:1/", preferredTransport="GRPC", additionalInterfaces=other)
    agent.show(card)
    assert (await asked(stage, agent, "message/send", says("x")))["kind"] == "message"


@pytest.mark.parametrize(
    ("card", "word"),
    [
        ("<html>", "no JSON"),
        ("[]", "no JSON object"),
        ("{}", "no interface at all"),
        ('{"url": "http://127.0.0.1:1/", "preferredTransport": "GRPC"}', "it names GRPC of A2A 0.3"),
        ('{"supportedInterfaces": [{"url": "x", "protocolBinding": "JSONRPC", "protocolVersion": "2.0"}]}', "A2A 2.0"),
        ('{"supportedInterfaces": 1, "url": "", "additionalInterfaces": [1, {}]}', "no interface at all"),
    ],
)
async def test_a_card_that_is_of_no_use(stage: Stage, agent: Agent, card: str, word: str) -> None:
    agent.show(card)
    error = (await refused(stage, agent, "message/send", says("x"))).error
    assert (error["status"], error["instance"]) == (400, "/do/0/ask/with/agentCard")
    assert word in error["detail"]


async def test_an_address_that_is_none(stage: Stage, agent: Agent) -> None:
    agent.show(agent.old_card(url="ftp://x/"))
    assert (await refused(stage, agent, "message/send", says("x"))).error["status"] == 400
    server = {"uri": '${ "http://[::1" }'}
    assert (await refused(stage, agent, "message/send", says("x"), server=server)).error["status"] == 400


# Who asks


async def test_the_credentials_of_the_card_are_those_of_its_host(stage: Stage, agent: Agent) -> None:
    agent.token = "sesame"
    endpoint = {"uri": agent.card, "authentication": {"bearer": {"token": "sesame"}}}
    assert (await asked(stage, agent, "message/send", says("x"), agentCard={"endpoint": endpoint}))["kind"] == "message"
    error = (await refused(stage, agent, "message/send", says("x"))).error
    assert "401" in error["detail"]


async def test_another_host_than_that_of_the_card_is_not_given_its_credentials(stage: Stage, agent: Agent) -> None:
    async with open_web() as web:
        web.routes["/card"] = text(json.dumps(agent.old_card()), "application/json")
        card = {"endpoint": {"uri": f"{web.url}/card", "authentication": {"bearer": {"token": "sesame"}}}}
        await asked(stage, agent, "message/send", says("x"), agentCard=card)
        assert web.seen[0].one("authorization") == "Bearer sesame"
        assert agent.web.seen[0].all("authorization") == []
        agent.token = "other"
        own = {"bearer": {"token": "other"}}
        await asked(stage, agent, "message/send", says("x"), agentCard=card, authentication=own)


async def test_a_card_leads_to_no_host_that_may_not_be_read(tmp_path: Path, agent: Agent) -> None:
    async with open_stage(tmp_path, WORKFLOW_ALLOWED_HOSTS="127.0.0.1") as stage:
        agent.show(agent.old_card(url=f"http://127.0.0.2:{agent.web.port}/a2a"))
        error = (await refused(stage, agent, "message/send", says("x"))).error
    assert error["type"].endswith("/configuration")
    assert "127.0.0.2" in error["detail"]
    assert agent.asked == []


async def test_a_card_in_a_file_is_as_good_as_the_document(
    tmp_path_factory: pytest.TempPathFactory, agent: Agent
) -> None:
    folder = tmp_path_factory.mktemp("cards")
    (folder / "card.json").write_text(json.dumps(agent.old_card()))
    async with open_stage(tmp_path_factory.mktemp("stage"), WORKFLOW_ALLOWED_ROOTS=str(folder)) as stage:
        card = {"endpoint": f"file://{folder}/card.json"}
        assert (await asked(stage, agent, "message/send", says("x"), agentCard=card))["kind"] == "message"
        error = (await refused(stage, agent, "message/send", says("x"), agentCard={"endpoint": "/etc/passwd"})).error
    assert error["instance"] == "/do/0/ask/with/agentCard"


@pytest.mark.parametrize(("method", "words"), [("message/send", "x"), ("message/stream", "chat")])
async def test_a_token_that_is_refused_is_asked_for_anew(stage: Stage, agent: Agent, method: str, words: str) -> None:
    async with open_authority() as authority:

        async def guarded(seen: Seen, reply: Reply) -> None:
            agent.token = authority.given[-1]
            await agent.talk(seen, reply)

        agent.web.routes["/guarded"] = guarded
        client = {"id": "me", "secret": "hush-hush"}
        policy = {"oauth2": {"authority": authority.url, "grant": "client_credentials", "client": client}}
        server = {"uri": f"{agent.web.url}/guarded", "authentication": policy}
        await asked(stage, agent, method, says(words), server=server)
        authority.given.append("revoked all others")
        await asked(stage, agent, method, says(words), server=server)
        assert (len(authority.asked), len(agent.asked)) == (2, 3)


async def test_digest(stage: Stage, agent: Agent) -> None:
    async def guarded(seen: Seen, reply: Reply) -> None:
        if any(value.startswith("Digest ") for value in seen.all("authorization")):
            await agent.talk(seen, reply)
        else:
            await reply.answer(401, headers=[("WWW-Authenticate", 'Digest realm="r", qop="auth", nonce="n"')])

    agent.web.routes["/guarded"] = guarded
    policy = {"digest": {"username": "ann", "password": "secret"}}
    output = await asked(
        stage, agent, "message/stream", says("work"), server=f"{agent.web.url}/guarded", authentication=policy
    )
    assert len(output) == 3


async def test_a_certificate_is_shown_over_https_only(stage: Stage, agent: Agent, tmp_path: Path) -> None:
    policy = {"certificate": {"certificate": "x.pem", "key": "y.pem"}}
    error = (await refused(stage, agent, "message/send", says("x"), authentication=policy)).error
    assert (error["status"], error["instance"].startswith("/do/0/ask/with/authentication")) == (400, True)
    assert agent.asked == []


async def test_headers_carry_keys_that_nobody_else_sees(
    stage: Stage, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKFLOW_SECRET_AGENT_KEY", "abc-123")
    flow = document(agent, "message/send", says("broken"), headers={"X-API-Key": "${ $secrets.AGENT_KEY }"})
    error = (await stage.run({"use": {"secrets": ["AGENT_KEY"]}, **flow}, {})).error
    assert agent.web.seen[-1].one("x-api-key") == "abc-123"
    assert (error["status"], "abc-123" in str(error)) == (500, False)


# What goes wrong


@pytest.mark.parametrize(
    ("method", "parameters", "kind", "status", "word"),
    [
        ("tasks/get", {"id": "none"}, "runtime", 404, 'Task not found (code -32001): {"id":"none"}'),
        ("message/stream", says("refuse"), "runtime", 501, "no streams here"),
        ("message/stream", says("fail"), "runtime", 500, "lost the thread"),
        ("message/stream", says("garbage"), "runtime", 500, "{nope"),
        ("message/stream", says("nothing"), "runtime", 500, "without an event"),
        ("message/stream", says("cut"), "communication", 503, "/a2a"),
        ("message/send", says("cut"), "communication", 503, "/a2a"),
        ("message/send", says("broken"), "communication", 500, "out of order"),
        ("message/send", says("nonsense"), "runtime", 500, "no JSON-RPC response"),
        ("message/send", {"message": "hi"}, "validation", 400, "needs the object 'message'"),
        ("message/send", None, "validation", 400, "needs the object 'message'"),
    ],
)
async def test_errors(
    stage: Stage, agent: Agent, method: str, parameters: Any, kind: str, status: int, word: str
) -> None:
    error = (await refused(stage, agent, method, parameters)).error
    assert (error["type"].rpartition("/")[2], error["status"]) == (kind, status)
    assert word in error["detail"]


async def test_an_agent_that_is_not_there(stage: Stage, agent: Agent) -> None:
    error = (await refused(stage, agent, "message/send", says("x"), server="http://127.0.0.1:1/")).error
    assert (error["type"].rpartition("/")[2], error["status"]) == ("communication", 503)


async def test_an_error_can_be_caught_by_its_status(stage: Stage, agent: Agent) -> None:
    inner = document(agent, "tasks/get", {"id": "none"})["do"]
    caught = {"errors": {"with": {"status": 404}}, "do": [{"none": {"set": {"found": False}}}]}
    end = await stage.run({"do": [{"t": {"try": inner, "catch": caught}}]}, {})
    assert end.output == {"found": False}


async def test_a_task_that_a_call_began_ends_with_its_time_limit(stage: Stage, agent: Agent) -> None:
    await run_out_of_time(stage, agent, "message/stream", says("hang"))
    assert agent.cancelled() == ["task-1"]
    assert await gone(agent)


async def test_a_task_that_a_call_began_ends_with_its_job(stage: Stage, agent: Agent) -> None:
    job = await stage.start(document(agent, "message/stream", says("hang")), {})
    with anyio.fail_after(PATIENCE_SEC):
        await agent.hanging.wait()
        await stage.house.client.call("JobService.Delete", build("jobworkerp.data.JobId", value=job))
        assert (await stage.result(job)).job_status == "CANCELLED"
    assert agent.cancelled() == ["task-1"]


async def test_a_task_that_somebody_else_began_goes_on(stage: Stage, agent: Agent) -> None:
    message = {"taskId": "theirs", **says("hang")["message"]}
    await run_out_of_time(stage, agent, "message/stream", {"message": message})
    assert await gone(agent)
    assert agent.cancelled() == []


async def test_a_message_that_is_not_answered_is_given_up(stage: Stage, agent: Agent) -> None:
    await run_out_of_time(stage, agent, "message/send", says("hang"))


async def run_out_of_time(stage: Stage, agent: Agent, method: str, parameters: Any) -> None:
    """Make a call whose task has a time limit, which is over when the agent hangs."""
    for limit in longer_and_longer(300):
        flow = document(agent, method, parameters, task={"timeout": {"after": {"milliseconds": limit}}})
        assert (await stage.run(flow, {})).error["status"] == 408
        if agent.hanging.is_set():
            return


async def gone(agent: Agent) -> bool:
    with anyio.fail_after(PATIENCE_SEC):
        await agent.left.wait()
    return True


# What the document says


async def test_mistakes_are_found_when_it_is_read(stage: Stage) -> None:
    calls = [
        {"method": "message/sent", "server": "http://x/"},
        {"method": "message/send"},
        {"method": "tasks/get", "server": "http://x/", "protocolVersion": "0.9"},
    ]
    end = await stage.run({"do": [{f"t{n}": {"call": "a2a", "with": each}} for n, each in enumerate(calls)]}, {})
    for word in ("'message/sent' is no method", "message/send", "'agentCard' or 'server'", "0.3, 1.0"):
        assert word in end.text
