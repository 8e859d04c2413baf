"""A runner kind, as the engine knows it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from jobworkerp_standalone.jobs.model import Worker
from jobworkerp_standalone.runners.base import Runner
from jobworkerp_standalone.runners.description import RunnerDescription
from jobworkerp_standalone.runners.host import Host
from jobworkerp_standalone.runners.journal import Entry

Start = Callable[[bytes], Awaitable[int]]
"""Starts a job of a worker, that nobody waits for, with these args; returns its id, or raises ``RequestError``."""
Ready = Callable[[], None]
Follow = Callable[[Worker, str, bytes], Awaitable[bytes]]
"""Makes the args of a job of a worker from another job's result: its schema, which may be empty, and its bytes."""
CheckWish = Callable[[int, Sequence[Entry], bytes], Awaitable[None]]
"""Looks whether anything can go on with a job that has these notes as a ``WISH`` says, or raises ``RequestError``."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What is done for a worker as long as its definition stands, beside its jobs."""

    wanted: Callable[[Worker], bool]
    """Whether there may be anything to do for a worker; must be quick."""
    run: Callable[[Host, Worker, Start, Ready], Awaitable[None]]
    """Do it until cancelled. ``Ready`` is called as soon as nothing is missed any more."""


@dataclass(frozen=True, slots=True)
class RunnerSpec(RunnerDescription):
    """A runner kind: what is told about it, and how to make an instance."""

    make: Callable[[Host], Runner] | None = None
    """None: listed for clients, not built in this version."""
    not_built: str = ""
    """What is said about a kind without ``make``, after "it is listed but"."""
    prepare: Callable[[], object] | None = None
    """Called in a thread before the first ``make``: imports what takes long to import."""
    tidy: Callable[[Host], Awaitable[None]] | None = None
    """Run beside the start of a daemon that has workers of this kind: removes what one that died left behind."""
    standing: Standing | None = None
    follow: Follow | None = None
    """None: the result of the job before is the args as it is."""
    check_wish: CheckWish | None = None
    """Asked before a job goes on with another; None: that shows when it runs."""
