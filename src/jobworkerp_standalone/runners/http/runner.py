"""The runner: one request for each job."""

from __future__ import annotations

from jobworkerp_standalone.jobs.errors import BadInput
from jobworkerp_standalone.net.rules import FetchRules
from jobworkerp_standalone.runners.base import Call, Collector, Runner, Send
from jobworkerp_standalone.runners.host import Host
from jobworkerp_standalone.runners.http.answer import AnswerCollector, codec_of_answer, full, head, piece
from jobworkerp_standalone.runners.http.body import Pieces, whole
from jobworkerp_standalone.runners.http.exchange import answered
from jobworkerp_standalone.runners.http.order import Order
from jobworkerp_standalone.runners.http.sites import Sites


def make(host: Host) -> Runner:
    """Return a new instance."""
    return HttpRunner(host.shared(Sites), FetchRules.of(host.settings), host.settings.http_response_max_bytes)


class HttpRunner(Runner):
    """Sends one request for each job, over connections that all instances with the same settings share."""

    def __init__(self, sites: Sites, rules: FetchRules, limit: int) -> None:
        self._sites = sites
        self._rules = rules
        self._limit = limit
        self._settings: bytes | None = None

    async def load(self, settings: bytes) -> None:
        """Take the connections for these settings."""
        self._site = await self._sites.take(settings)
        self._settings = settings

    async def run(self, call: Call) -> bytes:
        """Send the request and return its whole answer."""
        order = Order.read(call.args)
        async with answered(self._site, order, self._rules, call) as response:
            body = bytearray()
            async for data in response.aiter_bytes():
                body += data
                if len(body) > self._limit:
                    raise BadInput(
                        f"the answer is larger than {self._limit} bytes: raise HTTP_RESPONSE_MAX_BYTES, "
                        "or read it as a stream, which has no limit"
                    )
            return full(response, whole(bytes(body), None if order.as_bytes else codec_of_answer(response)))

    async def stream(self, call: Call, send: Send) -> None:
        """Send status and headers as soon as they are there, then the body as it arrives."""
        order = Order.read(call.args)
        async with answered(self._site, order, self._rules, call) as response:
            await send(head(response))
            pieces = Pieces(None if order.as_bytes else codec_of_answer(response))
            async for data in response.aiter_bytes():
                if found := pieces.next(data):
                    await send(piece(found))
            if found := pieces.next(b"", final=True):
                await send(piece(found))

    def collector(self, method: str) -> Collector:  # noqa: ARG002 - others have several methods
        """Return what puts the items of a stream together again."""
        return AnswerCollector()

    async def aclose(self) -> None:
        """Leave the connections to others."""
        if self._settings is not None:
            await self._sites.give_back(self._settings)
            self._settings = None
