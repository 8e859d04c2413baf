"""DOCKER: runs a container for each job; for a worker with ``use_static`` a command in a container that is kept.

- Without a TTY, so stdout and stderr stay apart; as a stream each piece comes while the container runs.
- Any exit is a success unless ``treat_nonzero_as_error`` is set.
- Cancelled or timed out: the container is stopped (its stop signal, 5 s later SIGKILL) and removed, unless ``cleanup``
  of the args keeps it; the one of a worker is removed at once, and made anew for the next job.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import anyio

from jobworkerp_standalone.jobs.errors import BadInput, Retryable
from jobworkerp_standalone.runners.base import Call, Collector, Runner, Send
from jobworkerp_standalone.runners.docker.container import Ended, Take, create, execute, play
from jobworkerp_standalone.runners.docker.daemon import DockerDaemon
from jobworkerp_standalone.runners.docker.images import Images, Tell
from jobworkerp_standalone.runners.docker.lifetime import Lifetimes
from jobworkerp_standalone.runners.docker.order import Order, WorkerRules, container_config
from jobworkerp_standalone.runners.host import Host
from jobworkerp_standalone.runners.process.text import Utf8Pieces, decode
from jobworkerp_standalone.schema.messages import message_class

_RESULT: Final[Any] = message_class("jobworkerp.runner.DockerResult")
_NAMES: Final = ("stdout", "stderr")
_CLOSING_FIELDS: Final = ("exit_code", "container_id", "execution_time_ms", "started_at")
_LAST_WORDS_BYTES: Final = 4096


def make(host: Host) -> Runner:
    """Return a new instance."""
    return DockerRunner(
        host.shared(DockerDaemon),
        host.shared(Images),
        host.shared(Lifetimes),
        host.settings.command_output_max_bytes,
    )


class DockerRunner(Runner):
    """One instance; what it keeps is its container, where the worker is static.

    Args:
        daemon: the Docker daemon.
        images: gets images.
        lifetimes: ends containers.
        output_limit: bytes of stdout and of stderr that a result may hold.
    """

    def __init__(self, daemon: DockerDaemon, images: Images, lifetimes: Lifetimes, output_limit: int) -> None:
        self._daemon = daemon
        self._images = images
        self._lifetimes = lifetimes
        self._output_limit = output_limit
        self._rules: WorkerRules
        self._container: str | None = None
        self._spoilt = False

    @property
    def reusable(self) -> bool:
        """Whether the kept container is as it should be."""
        return not self._spoilt

    async def load(self, settings: bytes) -> None:
        """Read the settings."""
        self._rules = WorkerRules.read(settings)

    async def warm_up(self) -> None:
        """Start the container that is kept, or get the image of the settings."""
        if self.kept:
            await self._kept(0, _nobody)
        elif self._rules.image:
            await self._images.provide(self._rules.source(), self._rules.timeout_sec, _nobody)

    async def run(self, call: Call) -> bytes:
        """Run it and return its ``DockerResult``."""
        outputs = (bytearray(), bytearray())

        async def take(*pieces: bytes) -> None:
            for name, kept, piece in zip(_NAMES, outputs, pieces, strict=True):
                self._keep(name, kept, piece)

        order = Order.read(call.args, self._rules)
        try:
            ended = await self._play(call, order, take, _nobody)
        except anyio.get_cancelled_exc_class():
            call.last_words = _last_words(*outputs)
            raise
        _check(order, ended, _last_words(*outputs))
        return _encode(**_output_fields(outputs), **_closing_fields(ended))

    async def stream(self, call: Call, send: Send) -> None:
        """Send output while it runs, then one item that says how it ended."""
        decoders = (Utf8Pieces(), Utf8Pieces())
        tails = (bytearray(), bytearray())

        async def take(*pieces: bytes) -> None:
            for name, decoder, tail, piece in zip(_NAMES, decoders, tails, pieces, strict=True):
                tail.extend(piece)
                del tail[:-_LAST_WORDS_BYTES]
                await _send_text(name, *decoder.decode(piece), send)

        async def tell(line: str) -> None:
            await send(_encode(progress=line))

        order = Order.read(call.args, self._rules)
        ended = await self._play(call, order, take, tell)
        for name, decoder in zip(_NAMES, decoders, strict=True):
            await _send_text(name, *decoder.decode(b"", final=True), send)
        await send(_encode(**_closing_fields(ended)))
        _check(order, ended, _last_words(*tails))

    def collector(self, method: str) -> Collector:  # noqa: ARG002 - others have several methods
        """Return what puts the items of a stream together again."""
        return DockerCollector()

    async def aclose(self) -> None:
        """Remove the container that was kept."""
        if self._container is not None:
            await self._lifetimes.remove(self._container, gently=True)

    async def _play(self, call: Call, order: Order, take: Take, tell: Tell) -> Ended:
        if self.kept:
            return await self._execute(call, order, take, tell)
        await self._images.provide(order.source, order.timeout_sec, tell)
        container = await create(self._daemon, order, call.job_id, self._lifetimes.remove)
        end = partial(self._lifetimes.end, container, order.lifetime)
        try:
            return await play(self._daemon, container, order, take, partial(end, gently=True))
        finally:
            await end()

    async def _execute(self, call: Call, order: Order, take: Take, tell: Tell) -> Ended:
        if order.not_for_kept:
            raise BadInput(
                f"{', '.join(order.not_for_kept)} of the args cannot be had from a worker with use_static, "
                "whose container is there already"
            )
        if not order.command:
            raise BadInput(
                "cmd of the args is empty; a worker with use_static runs a command in the container it keeps"
            )
        container = await self._kept(call.job_id, tell)
        self._spoilt = True
        ended = await execute(self._daemon, container, order, take, partial(self._lifetimes.remove, container))
        self._spoilt = False
        return ended

    async def _kept(self, job_id: int, tell: Tell) -> str:
        """Return the container that is kept, started at the first call."""
        if self._container is None:
            rules = self._rules
            source = rules.source()
            await self._images.provide(source, rules.timeout_sec, tell)
            config = container_config(rules.kept_container, source.name, job_id)

            def step(client: Any) -> str:
                made = client.create_container_from_config(config, None, rules.platform or None)["Id"]
                try:
                    client.start(made)
                except BaseException:
                    client.remove_container(made, force=True, v=True)
                    raise
                return made

            self._container = await self._daemon.call(rules.timeout_sec, step, self._lifetimes.remove)
        return self._container

    def _keep(self, name: str, kept: bytearray, piece: bytes) -> None:
        if len(kept) + len(piece) > self._output_limit:
            raise BadInput(
                f"the container wrote more than {self._output_limit} bytes to {name}: "
                "raise COMMAND_OUTPUT_MAX_BYTES, or read it as a stream, which has no limit"
            )
        kept += piece


class DockerCollector:
    """Puts stream items together: the result is what a run without streaming returns."""

    def __init__(self) -> None:
        self._outputs = (bytearray(), bytearray())
        self._closing: dict[str, Any] = {}

    def add(self, item: bytes) -> None:
        """Take the next item."""
        piece = _RESULT.FromString(item)
        for name, output in zip(_NAMES, self._outputs, strict=True):
            output.extend(getattr(piece, f"{name}_bytes") or getattr(piece, name).encode())
        for name in _CLOSING_FIELDS:
            if piece.HasField(name):
                self._closing[name] = getattr(piece, name)

    def result(self) -> bytes:
        """Return all of it as one ``DockerResult``."""
        return _encode(**_output_fields(self._outputs), **self._closing)


async def _nobody(_line: str) -> None:
    """Progress that nobody wants to hear of."""


async def _send_text(name: str, text: str, raw: bytes | None, send: Send) -> None:
    if text:
        await send(_encode(**{name: text, f"{name}_bytes": raw}))


def _check(order: Order, ended: Ended, last_words: str) -> None:
    if order.good_codes is not None and ended.exit_code not in order.good_codes:
        good = ", ".join(map(str, sorted(order.good_codes)))
        raise Retryable(f"the container ended with exit code {ended.exit_code} (good: {good})\n{last_words}".rstrip())


def _last_words(stdout: bytes | bytearray, stderr: bytes | bytearray) -> str:
    """Return the end of both outputs, for a failure text."""
    parts = (("stderr", stderr), ("stdout", stdout))
    return "\n".join(
        f"{name}: {bytes(output[-_LAST_WORDS_BYTES:]).decode('utf-8', 'replace')}" for name, output in parts if output
    )


def _output_fields(outputs: tuple[bytearray, bytearray]) -> dict[str, object]:
    fields: dict[str, object] = {}
    for name, output in zip(_NAMES, outputs, strict=True):
        fields[name], fields[f"{name}_bytes"] = decode(bytes(output))
    return fields


def _closing_fields(ended: Ended) -> dict[str, object]:
    return {
        "exit_code": ended.exit_code,
        "container_id": ended.container,
        "execution_time_ms": ended.elapsed_ms,
        "started_at": ended.started_at_sec,
    }


def _encode(**fields: object) -> bytes:
    """Build a ``DockerResult``; what is None stays absent."""
    return _RESULT(**fields).SerializeToString()
