"""One run of one job, as it goes from the executor, which runs it, to the completer, which settles it."""

from __future__ import annotations

from dataclasses import dataclass, field

from jobworkerp_standalone.engine.live import LiveJob
from jobworkerp_standalone.engine.streams import JobStream
from jobworkerp_standalone.jobs.errors import JobError
from jobworkerp_standalone.jobs.model import Job, ResultStatus


@dataclass(slots=True)
class Attempt:
    """One run of one job, from its slot to its result."""

    job: Job
    live: LiveJob
    result_id: int
    start_time_ms: int
    worker_name: str = ""
    lent_runner_id: int | None = None
    """The runner of a worker that goes with its job; of any other one the worker tells."""
    status: ResultStatus = ResultStatus.SUCCESS
    output: bytes | None = None
    stream: JobStream | None = None
    trailer: dict[str, str] = field(default_factory=dict[str, str])
    cut: bool = False
    """The folded output of the stream was cut at its limit."""
    misconfigured: bool = False
    """It failed because it cannot run as it is set up."""

    def fail(self, error: JobError) -> None:
        """Take over how it failed and why."""
        self.status = error.status
        self.misconfigured = error.misconfigured
        text = str(error) if self.live.secret is None else self.live.secret.hidden(str(error))
        self.output = text.encode("utf-8", "replace")
