"""Following the items of a job: from the wire to whoever shows them."""

from __future__ import annotations

from typing import Any, Protocol

from jobworkerp_standalone.client import CallFailed, ItemStream, job_result_of
from jobworkerp_standalone.client.coding import decode_output
from jobworkerp_standalone.client.stream import SKIPPED_KEY
from jobworkerp_standalone.pb.jobworkerp.data import JobResult, ResultStatus, Runner


class Sink(Protocol):
    """Shows a stream. Calls come in this order: ``started``, maybe ``skipped``, any ``item``, ``ended``."""

    def started(self, job_id: int | None) -> None:
        """The job was accepted."""

    def item(self, value: Any) -> None:
        """An item came: JSON, or text where no schema fits."""

    def skipped(self, count: str) -> None:
        """The stream begins late: so many items came before, and are not kept any more."""

    def ended(self, status: str | None, text: str) -> None:
        """The job ended; ``status`` is None where nobody said how, ``text`` says why where it failed."""


async def follow(stream: ItemStream, runner: Runner | None, using: str | None, sink: Sink) -> None:
    """Hand everything that comes to ``sink``.

    Raises:
        CallFailed: the stream broke for another reason than the job's own end.
    """
    sink.started(stream.job_id)
    if skipped := stream.headers.get(SKIPPED_KEY):
        sink.skipped(str(skipped))
    seen = False
    try:
        async for item in stream:
            if item.data is not None:
                seen = True
                sink.item(decode_output(runner, using, item.data))
            elif item.final_collected is not None and not seen:
                sink.item(decode_output(runner, using, item.final_collected))
    except CallFailed as error:
        result = job_result_of(error)
        if result is None or result.data is None:
            raise
        sink.ended(*_ending(result))
        return
    sink.ended(*_ending(stream.final_result))


def _ending(result: JobResult | None) -> tuple[str | None, str]:
    if result is None or result.data is None:
        return None, ""
    status, output = result.data.status, result.data.output
    failed = status is not ResultStatus.SUCCESS and output is not None
    return status.name, output.items.decode("utf-8", "replace") if failed and output else ""
