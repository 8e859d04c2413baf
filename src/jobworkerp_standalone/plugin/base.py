"""The base class of plugins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, Literal, TypeVar, overload

from jobworkerp_standalone.plugin.errors import JobCancelled

Schema = type | str | None
"""A dataclass or pydantic model, or proto text; None: as the annotations say."""
Isolation = Literal["process", "thread", "async"]
MARK: Final = "_jobworkerp_method"
F = TypeVar("F", bound=Callable[..., Any])


class Job:
    """The job that an instance is working on."""

    def __init__(self, job_id: int, method: str, metadata: Mapping[str, str]) -> None:
        self.id = job_id
        self.method = method
        self.metadata = metadata
        """What the client sent along, without credentials."""
        self.trailer: dict[str, str] = {}
        """Metadata for the end of a stream; write to it."""
        self.cancelled = False
        """Whether the job was cancelled or timed out: long work in a thread should look now and then."""

    def check(self) -> None:
        """Raise ``JobCancelled`` if the job was cancelled."""
        if self.cancelled:
            raise JobCancelled


class Runner:
    """A runner kind, written as a subclass. An instance works on one job at a time.

    What it does is ``run`` (one result), ``stream`` (a generator of items) or both, and any further method marked
    with ``@method``. Each takes the arguments, and what the client streams in where it has a parameter ``feed``. Plain
    functions and coroutines may be mixed in a worker process.
    """

    name: ClassVar[str] = ""
    """What workers call it; empty: the name of the class."""
    description: ClassVar[str] = ""
    """Empty: the first line of the docstring."""
    isolation: ClassVar[Isolation] = "process"
    """Where it runs. ``process``: a process of its own, which may crash, block and leak. ``thread``: a thread of the
    daemon, for plain functions that are known to behave. ``async``: the daemon's event loop, for coroutines that never
    block; nothing is faster, and a mistake stops the daemon."""
    max_jobs: ClassVar[int] = 0
    """How many jobs one process runs before it is replaced; 0: as PLUGINS_MAX_JOBS says."""
    max_rss_mb: ClassVar[int] = 0
    """How much memory one process may use; 0: as PLUGINS_MAX_RSS_MB says."""
    settings: ClassVar[Schema] = None
    """Schema of a worker's settings; None: as the parameter of ``load`` is annotated."""
    args: ClassVar[Schema] = None
    result: ClassVar[Schema] = None
    feed: ClassVar[Schema] = None
    """Schemas of ``run`` and ``stream``; None: as they are annotated."""

    job: Job
    """The job that this instance is working on."""

    def load(self, settings: Any) -> Any:
        """Get ready with a worker's settings; may be a coroutine. Called once for each instance."""

    def close(self) -> Any:
        """Give everything back; may be a coroutine. Called once."""


@overload
def method(function: F, /) -> F: ...


@overload
def method(
    *, name: str = "", description: str = "", args: Schema = None, result: Schema = None, feed: Schema = None
) -> Callable[[F], F]: ...


def method(
    function: Any = None,
    /,
    *,
    name: str = "",
    description: str = "",
    args: Schema = None,
    result: Schema = None,
    feed: Schema = None,
) -> Any:
    """Mark a further method of a runner; a generator makes one that streams.

    Args:
        function: what is marked.
        name: what jobs call it (``using``); empty: the function's name.
        description: empty: the first line of the docstring.
        args: schema of the arguments, where the annotation does not say it.
        result: schema of the result or of a stream's items.
        feed: schema of what the client streams in.
    """

    def mark(function: F) -> F:
        said = {"name": name, "description": description, "args": args, "result": result, "feed": feed}
        setattr(function, MARK, said)
        return function

    return mark if function is None else mark(function)
