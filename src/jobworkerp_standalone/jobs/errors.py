"""The one exception tree. Each class knows the gRPC status a client sees.

::

    JobworkerpError
    +-- RequestError                 a call that cannot be served; carries a gRPC status
    |   +-- InvalidRequest           INVALID_ARGUMENT
    |   +-- NotFound                 NOT_FOUND
    |   +-- AlreadyExists            ALREADY_EXISTS
    |   |   +-- DuplicateKey         ... a uniq_key held by another job
    |   +-- FailedPrecondition       FAILED_PRECONDITION
    |   +-- Unauthenticated          UNAUTHENTICATED
    |   +-- Exhausted                RESOURCE_EXHAUSTED
    |   +-- Unavailable              UNAVAILABLE
    |   +-- WaitTimedOut             DEADLINE_EXCEEDED
    |   +-- NotBuilt                 UNIMPLEMENTED
    |   +-- LoadFailed               INTERNAL
    |   +-- JobNotSuccessful         by the job's final status (streams end with it)
    +-- JobError                     an attempt that failed; carries a ResultStatus
    |   +-- Retryable                ERROR_AND_RETRY
    |   |   +-- NotStartable         ... no such program or directory
    |   +-- Fatal                    FATAL_ERROR
    |   +-- Aborted                  ABORT
    |   +-- BadInput                 OTHER_ERROR
    |   |   +-- BadDocument          ... a workflow that is not there or not valid
    |   +-- Cancelled                CANCELLED
    +-- SettingsError                the process cannot start with this configuration
    +-- StorageError                 UNAVAILABLE: the store did not take the write or answer the read
    |   +-- SchemaTooNew             the database was written by a newer version
    +-- FetchError                   a document that could not be had from its URL; callers say what that means
    +-- LeaseLost                    another process took the row over; the late owner must not finish it

A message says which field, which value and what to do next.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar

from jobworkerp_standalone.jobs.model import ResultStatus


class Status(IntEnum):
    """gRPC status codes, by number, so that this room needs no gRPC library."""

    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


class JobworkerpError(Exception):
    """Root of everything this program raises on purpose."""


class RequestError(JobworkerpError):
    """A call that cannot be served. ``trailers`` travel to the client beside the status."""

    status: ClassVar[Status] = Status.INTERNAL

    def __init__(self, message: str, *, trailers: dict[str, bytes] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.trailers = trailers or {}

    @property
    def code(self) -> Status:
        """The status of this very error."""
        return self.status


class InvalidRequest(RequestError):
    """The request can never be served as it is."""

    status = Status.INVALID_ARGUMENT


class NotFound(RequestError):
    """The thing that was named does not exist."""

    status = Status.NOT_FOUND


class AlreadyExists(RequestError):
    """A unique name or key is taken."""

    status = Status.ALREADY_EXISTS


class DuplicateKey(AlreadyExists):
    """A job with this ``uniq_key`` is still alive. ``holder`` is its id."""

    def __init__(self, uniq_key: str, holder: int) -> None:
        super().__init__(
            f"uniq_key {uniq_key!r} is held by job {holder} until it ends; wait for it, delete it, or use another key"
        )
        self.uniq_key = uniq_key
        self.holder = holder


class FailedPrecondition(RequestError):
    """The thing exists and is in the wrong state for this call."""

    status = Status.FAILED_PRECONDITION


class Unauthenticated(RequestError):
    """The token is missing or wrong."""

    status = Status.UNAUTHENTICATED


class Exhausted(RequestError):
    """A limit is reached: queue, message size, reader too slow."""

    status = Status.RESOURCE_EXHAUSTED


class Unavailable(RequestError):
    """The server is stopping or its storage does not answer; the call may be repeated later."""

    status = Status.UNAVAILABLE


class WaitTimedOut(RequestError):
    """The caller's own waiting time is over; the job goes on."""

    status = Status.DEADLINE_EXCEEDED


class NotBuilt(RequestError):
    """Known to the protocol, and not served by this version."""

    status = Status.UNIMPLEMENTED


class LoadFailed(RequestError):
    """A worker's runner could not be loaded; the message says why."""

    status = Status.INTERNAL


class JobNotSuccessful(RequestError):
    """A stream's job ended otherwise than in success. The status follows the job's."""

    _codes: ClassVar[dict[ResultStatus, Status]] = {
        ResultStatus.ERROR_AND_RETRY: Status.UNAVAILABLE,
        ResultStatus.FATAL_ERROR: Status.FAILED_PRECONDITION,
        ResultStatus.ABORT: Status.ABORTED,
        ResultStatus.MAX_RETRY: Status.ABORTED,
        ResultStatus.OTHER_ERROR: Status.INTERNAL,
        ResultStatus.CANCELLED: Status.CANCELLED,
    }

    def __init__(self, result_status: ResultStatus, message: str, *, trailers: dict[str, bytes]) -> None:
        super().__init__(message, trailers=trailers)
        self.result_status = result_status

    @property
    def code(self) -> Status:
        """The gRPC status that stands for the job's."""
        return self._codes.get(self.result_status, Status.UNKNOWN)


class JobError(JobworkerpError):
    """An attempt failed. Raised by runners; the text becomes the result's output."""

    status: ClassVar[ResultStatus] = ResultStatus.OTHER_ERROR
    misconfigured: ClassVar[bool] = False
    """Whether it is sure, whatever the status says, that the job cannot run as it is set up."""


class Retryable(JobError):
    """The same job may succeed later: the retry policy decides."""

    status = ResultStatus.ERROR_AND_RETRY


class NotStartable(Retryable):
    """The program or its directory is not there, or may not be used. Tried again as in the reference."""

    misconfigured = True


class Fatal(JobError):
    """The runner cannot be had or set up; trying again does not help."""

    status = ResultStatus.FATAL_ERROR


class Aborted(JobError):
    """The other side broke the work off."""

    status = ResultStatus.ABORT


class BadInput(JobError):
    """The arguments cannot be used."""

    status = ResultStatus.OTHER_ERROR


class BadDocument(BadInput):
    """The document that a job names or carries is not there, may not be read or is not valid."""

    misconfigured = True


class Cancelled(JobError):
    """The job was cancelled."""

    status = ResultStatus.CANCELLED


class SettingsError(JobworkerpError):
    """One or more settings are wrong; the message lists every mistake."""


class StorageError(JobworkerpError):
    """The store did not take a write or answer a read."""


class SchemaTooNew(StorageError):
    """The database was written by a newer version of this program."""


class FetchError(JobworkerpError):
    """A document could not be had from its URL.

    Args:
        message: why.
        may_pass: the same request may succeed later.
        status: what the server answered, if it did.
    """

    def __init__(self, message: str, *, may_pass: bool = False, status: int | None = None) -> None:
        super().__init__(message)
        self.may_pass = may_pass
        self.status = status


class LeaseLost(JobworkerpError):
    """The row's fencing number moved on: another process owns the job now."""
