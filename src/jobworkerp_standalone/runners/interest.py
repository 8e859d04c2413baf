"""Which events somebody wants to hear: a value, which documents have too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

LIFECYCLE: Final = "io.serverlessworkflow."
"""Begins the types of the events by which workflows tell how they are doing."""


@dataclass(frozen=True, slots=True)
class Interest:
    """Which events somebody wants to hear. Who asks for everything does not ask for lifecycle events."""

    types: frozenset[str] = frozenset()
    everything: bool = False
    lifecycle: bool = False
    """All lifecycle events, whatever their type."""

    @property
    def nothing(self) -> bool:
        """Whether no event is meant."""
        return not (self.types or self.everything or self.lifecycle)

    @property
    def hears_lifecycle(self) -> bool:
        """Whether lifecycle events are meant."""
        return self.lifecycle or any(each.startswith(LIFECYCLE) for each in self.types)

    def means(self, type_: str) -> bool:
        """Whether events of a type are meant."""
        return type_ in self.types or (self.lifecycle if type_.startswith(LIFECYCLE) else self.everything)

    @classmethod
    def of(cls, written: Mapping[str, Any]) -> Interest:
        """Read what ``as_json`` gave."""
        return cls(frozenset(written["types"]), written["everything"], written["lifecycle"])

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {"types": sorted(self.types), "everything": self.everything, "lifecycle": self.lifecycle}

    def __or__(self, other: Interest) -> Interest:
        """Return what either of them means."""
        everything, lifecycle = self.everything or other.everything, self.lifecycle or other.lifecycle
        whole = Interest(frozenset(), everything, lifecycle)
        return Interest(
            frozenset(each for each in self.types | other.types if not whole.means(each)), everything, lifecycle
        )


NOTHING: Final = Interest()
EVERYTHING: Final = Interest(everything=True)
