"""Dependencies point one way. Every import of every module is looked at, lazy ones included."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "jobworkerp_standalone"
PACKAGE = "jobworkerp_standalone"
BASE = {"jobs", "settings", "__version__"}
RUNNER_CONTRACT = {
    "runners.base",
    "runners.children",
    "runners.host",
    "runners.spec",
    "runners.pool",
    "runners.origin",
}

MAY_IMPORT: dict[str, set[str]] = {
    "jobs": {"jobs"},
    "ports": {"jobs"},
    "settings": {"settings", "jobs"},
    "log": {"jobs", "settings"},
    "pb": {"pb"},
    "schema": {"schema", "pb"},
    "net": {"net", *BASE},
    "runners": {"runners", "net", "schema", "pb", *BASE},
    "workflow": {"workflow", "net", "runners.base", "runners.host", "schema", "pb", *BASE},
    "wire": {"pb", "schema", "jobs", "runners.spec"},
    "engine": {"engine", "ports", *RUNNER_CONTRACT, *BASE},
    "backends": {"backends", "ports", "wire", *BASE},
    "rpc": {
        "rpc",
        "engine",
        "schema",
        "wire",
        "ports",
        "pb",
        "runners.spec",
        "runners.origin",
        "runners.builtin",
        *BASE,
    },
    "daemon": {"backends", "engine", "rpc", "runners", "schema", "ports", *BASE},
    "client": {"client", "pb", "schema"},
