"""Who is asked to end twice does not wait any longer; who is sent one SIGTERM twice was asked once."""

from __future__ import annotations

import os
import signal

import anyio

from jobworkerp_standalone.cli.interrupts import interrupts
from jobworkerp_standalone.twin_signals import TWIN_SEC, TwinSignals
from tests.support.patience import PATIENCE_SEC


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_sigterm_soon_after_another_is_the_same() -> None:
    clock = Clock()
    twins = TwinSignals(clock)
    assert not twins.repeats(signal.SIGTERM)
    clock.now += TWIN_SEC / 2
    assert twins.repeats(signal.SIGTERM)
    clock.now += TWIN_SEC
    assert not twins.repeats(signal.SIGTERM), "somebody means it: the time counts from the first"


def test_ctrl_c_is_never_the_same() -> None:
    twins = TwinSignals(Clock())
    assert [twins.repeats(each) for each in (signal.SIGTERM, signal.SIGINT, signal.SIGINT)] == [False] * 3


async def test_timeout_asks_once() -> None:
    """``timeout`` sends SIGTERM to its command, and to the group of processes that the command is in."""
    with anyio.fail_after(PATIENCE_SEC), interrupts() as heard:
        os.kill(os.getpid(), signal.SIGTERM)
        await heard.first.wait()
        os.kill(os.getpid(), signal.SIGTERM)
        await anyio.sleep(0.01)  # a turn of the loop in which the handler would have run
        assert not heard.again.is_set()
        os.kill(os.getpid(), signal.SIGINT)
        await heard.again.wait()
