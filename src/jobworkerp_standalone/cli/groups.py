"""How commands hang together: each group is a module of its own, imported when one of its commands is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import typer
from typer.core import TyperGroup
from typer.main import get_command

if TYPE_CHECKING:
    from typer.core import TyperCommand

PLACES: Final = {
    "all-in-one": "all_in_one",
    "run": "run",
    "doctor": "doctor",
    "version": "version",
    "runner": "runner",
    "worker": "worker",
    "job": "job",
    "job-result": "job_result",
    "job-status": "job_status",
    "worker-instance": "worker_instance",
    "workflow": "workflow_file",
}
"""The module whose ``app`` is a command or a group of them, in the order in which help shows them."""


def group(name: str, text: str) -> typer.Typer:
    """Return a group that commands are added to."""
    return typer.Typer(name=name, help=text, no_args_is_help=True, add_completion=False, rich_markup_mode=None)


def alone() -> typer.Typer:
    """Return what a command is added to that belongs to no group."""
    return typer.Typer(add_completion=False, rich_markup_mode=None)


class Commands(TyperGroup):
    """All commands. What is needed for one of them is not needed for the others, so they are made one by one."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return every name."""
        del ctx
        return list(PLACES)

    def get_command(self, ctx: Any, cmd_name: str) -> TyperCommand | TyperGroup | None:
        """Return a command; all are made before a name is said to be wrong, so that a near one can be suggested."""
        for name in [cmd_name] if cmd_name in PLACES else PLACES:
            if name not in self.commands:
                module = import_module(f"jobworkerp_standalone.cli.{PLACES[name]}")
                self.commands[name] = get_command(module.app)
        return super().get_command(ctx, cmd_name)  # pyright: ignore[reportReturnType]
