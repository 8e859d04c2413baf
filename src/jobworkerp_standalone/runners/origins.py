"""The origins of runner kinds at run time. Like those of built-in kinds, their modules are imported on first use."""

from __future__ import annotations

from typing import Final

from jobworkerp_standalone.runners.origin import OriginKind

ORIGINS: Final[tuple[OriginKind, ...]] = ()
