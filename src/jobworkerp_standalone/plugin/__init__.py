"""What authors of plugins import: the base class, the marker of further methods, the failures.

::

    from dataclasses import dataclass
    from jobworkerp_standalone.plugin import Runner

    @dataclass
    class Args:
        name: str

    @dataclass
    class Result:
        text: str

    class Greet(Runner):
        \"\"\"Says hello.\"\"\"

        def run(self, args: Args) -> Result:
            return Result(f"Hello {args.name}!")

This package needs nothing but the standard library: it is also imported by worker processes that run in an
environment of the plugin's own.
"""

from jobworkerp_standalone.plugin.base import Job, Runner, method
from jobworkerp_standalone.plugin.errors import (
    Aborted,
    BadInput,
    Failure,
    Fatal,
    JobCancelled,
    PluginMistake,
    Retryable,
)

__all__ = [
    "Aborted",
    "BadInput",
    "Failure",
    "Fatal",
    "Job",
    "JobCancelled",
    "PluginMistake",
    "Retryable",
    "Runner",
    "method",
]
