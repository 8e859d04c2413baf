"""What a document declares for use elsewhere, while it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self, TypeVar

from jobworkerp_standalone.runners.interest import NOTHING, Interest
from jobworkerp_standalone.workflow.decode.cursor import At
from jobworkerp_standalone.workflow.model.auth import Authentication
from jobworkerp_standalone.workflow.model.document import Use
from jobworkerp_standalone.workflow.model.values import ErrorDefinition, RetryPolicy, Timeout
from jobworkerp_standalone.workflow.problems import did_you_mean

T = TypeVar("T")


@dataclass(slots=True)
class Names:
    """Declared things by name. Those that are wrong are here too, so that their uses are no further problems."""

    secrets: set[str] = field(default_factory=set[str])
    authentications: dict[str, Authentication] = field(default_factory=dict[str, Authentication])
    timeouts: dict[str, Timeout] = field(default_factory=dict[str, Timeout])
    errors: dict[str, ErrorDefinition] = field(default_factory=dict[str, ErrorDefinition])
    retries: dict[str, RetryPolicy] = field(default_factory=dict[str, RetryPolicy])
    catalogs: set[str] = field(default_factory=set[str])
    functions: set[str] = field(default_factory=set[str])
    listens_for: Interest = NOTHING
    """Events that tasks listen for."""

    @classmethod
    def of(cls, use: Use) -> Self:
        """Return what a document declares, for a function in a file of its own that it calls."""
        return cls(
            secrets=set(use.secrets),
            authentications=dict(use.authentications),
            timeouts=dict(use.timeouts),
            errors=dict(use.errors),
            retries=dict(use.retries),
            catalogs=set(use.catalogs),
            functions=set(use.functions),
        )

    def hears(self, interest: Interest) -> None:
        """Note what a task listens for."""
        self.listens_for |= interest


def resolve(at: At, declared: Mapping[str, T], where: str) -> T | None:
    """Return what a name means; an unknown one is noted."""
    name = at.string()
    found = declared.get(name)
    if found is None and name:
        unknown_name(at, name, declared, where)
    return found


def unknown_name(at: At, name: str, declared: Mapping[str, object] | set[str], where: str) -> None:
    """Note a name that nothing declares."""
    suggestion = did_you_mean(name, declared) or (
        f"{where} has: {', '.join(sorted(declared))}" if declared else f"declare it in {where}"
    )
    at.wrong(f"'{name}' is not declared in {where}", suggestion)
