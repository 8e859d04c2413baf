"""The runner: one message for each job."""

from __future__ import annotations

import json
import re
import ssl
from functools import cached_property, partial
from typing import Any, Final, Protocol

import anyio
import anyio.to_thread
import httpx

from jobworkerp_standalone.jobs.errors import Fatal
from jobworkerp_standalone.net.proxies import Proxies
from jobworkerp_standalone.runners.base import Call, Runner
from jobworkerp_standalone.runners.host import Host
from jobworkerp_standalone.runners.messages import settings_of
from jobworkerp_standalone.runners.slack.line import Line
from jobworkerp_standalone.runners.slack.message import read_message
from jobworkerp_standalone.runners.slack.posting import Poster, RateLimited
from jobworkerp_standalone.runners.threads import Threads
from jobworkerp_standalone.schema.messages import message_class

_SETTINGS: Final = message_class("jobworkerp.runner.SlackRunnerSettings")
_RESULT: Final[Any] = message_class("jobworkerp.runner.SlackChatPostMessageResult")
_TOKEN: Final = re.compile(r"[!-~]+")
_LONGEST_SEC: Final = 30.0
"""For one request."""
_LONGEST_WAIT_SEC: Final = 120.0
"""For Slack's leave to go on, where the job has no limit of its own."""
_SHORTEST_SEC: Final = 0.05
_THREADS: Final = 32
_LET_GO_SEC: Final = 1.0
"""How long a thread whose connection was closed may take to notice."""


class _Settings(Protocol):
    """``jobworkerp.runner.SlackRunnerSettings``."""

    bot_token: str
    bot_name: str


class _Way:
    """To Slack: shared by all instances."""

    def __init__(self, host: Host) -> None:
        self.threads = Threads(host, "slack", _THREADS)
        self.base_url = host.settings.slack_api_base_url

    @cached_property
    def tls(self) -> ssl.SSLContext:
        """The context of the plain client; that of the other runners also offers HTTP/2."""
        return ssl.create_default_context()

    @cached_property
    def proxy(self) -> str | None:
        """The proxy of the environment.

        Raises:
            Fatal: the address of Slack is none.
        """
        try:
            url = httpx.URL(self.base_url)
        except httpx.InvalidURL as error:
            raise Fatal(f"SLACK_API_BASE_URL is not a URL ({error}): correct it in the daemon's settings") from error
        if url.scheme not in ("http", "https") or not url.host:
            raise Fatal("SLACK_API_BASE_URL is not an http or https URL: correct it in the daemon's settings")
        return Proxies.of_environment().between(url)


def make(host: Host) -> Runner:
    """Return a new instance."""
    return SlackRunner(host.shared(_Way))


class SlackRunner(Runner):
    """Posts one message for each job."""

    def __init__(self, way: _Way) -> None:
        self._way = way
        self._poster: Poster | None = None
        self._bot_name = ""

    async def load(self, settings: bytes) -> None:
        """Read the token; whether Slack accepts it shows when a message is posted."""
        read: _Settings = settings_of(_SETTINGS, settings)
        if not _TOKEN.fullmatch(token := read.bot_token.strip()):
            raise Fatal("bot_token is empty or has characters that no token has: give the token of the bot (xoxb-...)")
        tls = await anyio.to_thread.run_sync(lambda: self._way.tls)
        self._poster = Poster(token, self._way.base_url, self._way.proxy, tls)
        self._bot_name = read.bot_name

    async def run(self, call: Call) -> bytes:
        """Post the message and return where it is."""
        message = read_message(call.args, self._bot_name)
        call.last_words = "Slack has not answered; the message may have been posted"
        answer = await self._posted(message)
        return _RESULT(
            channel=str(answer.get("channel", "")),
            ts=str(answer.get("ts", "")),
            message=json.dumps(answer.get("message"), ensure_ascii=False),
        ).SerializeToString()

    async def _posted(self, message: dict[str, Any]) -> dict[str, Any]:
        """Post; as often as Slack asks for time and there is enough of it, wait and post again."""
        assert self._poster is not None, "load comes first"
        patience = anyio.current_time() + _LONGEST_WAIT_SEC
        while True:
            left = anyio.current_effective_deadline() - anyio.current_time()
            timeout = max(_SHORTEST_SEC, min(_LONGEST_SEC, left))
            try:
                return await self._request(self._poster, message, timeout)
            except RateLimited as limit:
                until = min(patience, anyio.current_effective_deadline())
                if anyio.current_time() + limit.wait_sec >= until:
                    raise
                await anyio.sleep(limit.wait_sec)

    async def _request(self, poster: Poster, message: dict[str, Any], timeout_sec: float) -> dict[str, Any]:
        """Post once; a job that ends meanwhile closes the connection."""
        line = Line()

        async def hang_up() -> None:
            line.hang_up()

        call = partial(poster.post, message, timeout_sec, line)
        return await self._way.threads.run(call, patience_sec=_LET_GO_SEC, release=hang_up)
