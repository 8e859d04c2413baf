"""What one job asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from jobworkerp_standalone.jobs.errors import BadInput
from jobworkerp_standalone.runners.messages import args_of
from jobworkerp_standalone.schema.messages import message_class

_ARGS: Final = message_class("jobworkerp.runner.PythonCommandArgs")


@dataclass(frozen=True, slots=True)
class Task:
    """One script with what it works on."""

    script: bytes
    data: bytes | None
    """What is in the file that its first argument names; None: no argument."""
    variables: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Order:
    """The args of one job: script and data are there, or their URL is."""

    variables: Mapping[str, str]
    script: bytes | None
    script_url: str
    data: bytes | None
    data_url: str
    with_stderr: bool
    strict: bool
    """An exit code other than 0 is a failure."""

    @classmethod
    def read(cls, data: bytes) -> Self:
        """Decode the args of a job.

        Raises:
            BadInput: they cannot be used; the text names the field.
        """
        args = args_of(_ARGS, data)
        script, given = args.WhichOneof("script"), args.WhichOneof("input_data")
        if script is None or (script == "script_url" and not args.script_url):
            raise BadInput("the args have no script: give script_content or script_url")
        if given == "data_url" and not args.data_url:
            raise BadInput("data_url is empty: give an address, or leave it out")
        return cls(
            _checked(dict(args.env_vars)),
            args.script_content.encode() if script == "script_content" else None,
            args.script_url,
            args.data_body.encode() if given == "data_body" else None,
            args.data_url,
            args.with_stderr,
            args.treat_nonzero_as_error,
        )


def _checked(variables: dict[str, str]) -> dict[str, str]:
    for name, value in variables.items():
        if not name or "=" in name or "\0" in name + value:
            raise BadInput(
                f"env_vars has a variable {name!r} that no process can have: a name is not empty and has no =, "
                "and neither name nor value has a NUL character"
            )
    return variables
