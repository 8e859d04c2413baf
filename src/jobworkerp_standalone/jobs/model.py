"""The values that everything else passes around. Times are Unix milliseconds, durations milliseconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType
from typing import Final, TypeVar

DEFAULT_CHANNEL: Final = "__default_job_channel__"
"""Internal name of the default channel: stored, and seen in status rows and worker instances."""
DEFAULT_CHANNEL_LABEL: Final = "[default]"
"""What people read and may type for the default channel."""
DEFAULT_METHOD: Final = "run"
DEFAULT_TIMEOUT_MS: Final = 31_536_000_000
"""A request without a timeout: 365 days. An explicit 0 is no limit."""
T = TypeVar("T")

NO_METADATA: Final[Mapping[str, str]] = MappingProxyType({})


def _no_metadata() -> Mapping[str, str]:
    return NO_METADATA


class Priority(IntEnum):
    """Order within a channel: HIGH first."""

    LOW = -1
    MEDIUM = 0
    HIGH = 1


class QueueType(IntEnum):
    """Where a waiting job is kept."""

    NORMAL = 0
    WITH_BACKUP = 1
    DB_ONLY = 2


class ResponseType(IntEnum):
    """Whether the enqueuing call waits for the result."""

    NO_RESULT = 0
    DIRECT = 1


class StreamingType(IntEnum):
    """Whether the output is a stream, and for whom."""

    NONE = 0
    RESPONSE = 1
    INTERNAL = 2


class RetryType(IntEnum):
    """How the delay grows from one attempt to the next."""

    NONE = 0
    EXPONENTIAL = 1
    LINEAR = 2
    CONSTANT = 3


class Misfire(IntEnum):
    """What a schedule does about runs that were missed."""

    RUN_ONCE_NOW = 0
    SKIP = 1


class ResultStatus(IntEnum):
    """How an attempt ended."""

    SUCCESS = 0
    ERROR_AND_RETRY = 1
    FATAL_ERROR = 2
    ABORT = 3
    MAX_RETRY = 4
    OTHER_ERROR = 5
    CANCELLED = 6


class JobStatus(IntEnum):
    """What a live job is doing."""

    UNKNOWN = 0
    PENDING = 1
    RUNNING = 2
    WAIT_RESULT = 3
    CANCELLING = 4


class OutputType(IntEnum):
    """How a runner's method answers."""

    NON_STREAMING = 0
    STREAMING = 1
    BOTH = 2


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a failed attempt is tried again. ``max_retry`` 0 is no retry; ``max_interval_ms`` 0 is no cap."""

    type: RetryType = RetryType.NONE
    interval_ms: int = 0
    max_interval_ms: int = 0
    max_retry: int = 0
    basis: float = 2.0


@dataclass(frozen=True, slots=True)
class Overrides:
    """What a request sets differently from its worker; None leaves the worker's value."""

    response_type: ResponseType | None = None
    store_success: bool | None = None
    store_failure: bool | None = None
    broadcast_results: bool | None = None
    retry_policy: RetryPolicy | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings of one run: the worker's, with the request's overrides folded in."""

    response_type: ResponseType = ResponseType.NO_RESULT
    store_success: bool = False
    store_failure: bool = False
    broadcast_results: bool = False
    retry_policy: RetryPolicy | None = None

    @property
    def direct(self) -> bool:
        """Whether the enqueuing call waits for the result."""
        return self.response_type is ResponseType.DIRECT

    def stores(self, status: ResultStatus) -> bool:
        """Whether a result with ``status`` goes into the result table."""
        return self.store_success if status is ResultStatus.SUCCESS else self.store_failure


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker definition: a runner with its settings and the rules for its jobs."""

    id: int
    name: str
    runner_id: int
    description: str = ""
    runner_settings: bytes = b""
    retry_policy: RetryPolicy | None = None
    periodic_interval_ms: int = 0
    channel: str = DEFAULT_CHANNEL
    queue_type: QueueType = QueueType.NORMAL
    response_type: ResponseType = ResponseType.NO_RESULT
    store_success: bool = False
    store_failure: bool = False
    use_static: bool = False
    broadcast_results: bool = False
    next_workers: tuple[int, ...] = ()
    cron: str = ""
    cron_timezone: str = ""
    cron_misfire: Misfire = Misfire.RUN_ONCE_NOW
    allow_overlap: bool = False
    created_at_ms: int = 0
    periodic_from_end: bool = False
    """The period begins at the end of a run, not when it was due."""

    @property
    def recurring(self) -> bool:
        """Whether one enqueue starts a schedule instead of one run."""
        return self.periodic_interval_ms > 0 or bool(self.cron)

    def rules(self, overrides: Overrides | None = None) -> Rules:
        """Fold ``overrides`` over this worker's own settings."""
        if overrides is None:
            return Rules(
                self.response_type, self.store_success, self.store_failure, self.broadcast_results, self.retry_policy
            )
        return Rules(
            _first(overrides.response_type, self.response_type),
            _first(overrides.store_success, self.store_success),
            _first(overrides.store_failure, self.store_failure),
            _first(overrides.broadcast_results, self.broadcast_results),
            _first(overrides.retry_policy, self.retry_policy),
        )


@dataclass(frozen=True, slots=True)
class NewJob:
    """A request to run something, as it came from a client and before any rule was applied."""

    worker: int | str
    """Worker id or name."""
    args: bytes = b""
    uniq_key: str | None = None
    run_after_ms: int = 0
    priority: Priority = Priority.MEDIUM
    timeout_ms: int = DEFAULT_TIMEOUT_MS
    using: str | None = None
    overrides: Overrides | None = None
    streaming: StreamingType = StreamingType.NONE
    metadata: Mapping[str, str] = field(default_factory=_no_metadata)


@dataclass(frozen=True, slots=True)
class Job:
    """One accepted job. Retries and runs of a schedule are the same job with other times and counts."""

    id: int
    worker_id: int
    args: bytes
    rules: Rules
    enqueue_time_ms: int
    channel: str = DEFAULT_CHANNEL
    queue_type: QueueType = QueueType.NORMAL
    priority: Priority = Priority.MEDIUM
    timeout_ms: int = 0
    """Limit of one attempt, 0 is none; of a stream: to the first item, then between items."""
    run_after_ms: int = 0
    """Not to be started before; 0 is at once."""
    using: str | None = None
    streaming: StreamingType = StreamingType.NONE
    uniq_key: str | None = None
    overrides: Overrides | None = None
    metadata: Mapping[str, str] = field(default_factory=_no_metadata)
    retried: int = 0
    recurring: bool = False
    """The row is a schedule: it is moved to its next time when a run ends."""
    stored: bool = False
    """A row in the job table stands for this job."""
    fence: int = 0
    """Fencing number of the lease under which this process holds the row."""
    deliveries: int = 0
    """How many runs of this row ended with the death of their process."""
    load_only: bool = False
    """Only load the worker's runner; nothing is run, stored or published."""

    @property
    def max_retry(self) -> int:
        """Retries that the policy allows."""
        return self.rules.retry_policy.max_retry if self.rules.retry_policy else 0


@dataclass(frozen=True, slots=True)
class JobResult:
    """How one attempt of ``job`` ended."""

    id: int
    job: Job
    worker_name: str
    status: ResultStatus
    output: bytes | None
    """Result message on success, UTF-8 text on failure, None for a stream whose items were not kept."""
    start_time_ms: int
    end_time_ms: int
    metadata: Mapping[str, str] = field(default_factory=_no_metadata)

    @property
    def final(self) -> bool:
        """Whether the job ended with this attempt."""
        return self.status is not ResultStatus.ERROR_AND_RETRY


def channel_from_name(name: str | None) -> str:
    """Return the internal channel name for what a client wrote; unset and ``[default]`` are the default channel."""
    return DEFAULT_CHANNEL if name is None or name in (DEFAULT_CHANNEL, DEFAULT_CHANNEL_LABEL) else name


def _first(chosen: T | None, fallback: T) -> T:
    return fallback if chosen is None else chosen
