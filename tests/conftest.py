"""What holds for all tests."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Let programs under test see Ctrl-C and the end of a terminal, also where the tests run in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
