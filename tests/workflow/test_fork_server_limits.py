"""Helpers of a daemon that has many descriptors open, or hard limits it may not raise."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from contextlib import ExitStack

import pytest

from jobworkerp_standalone.workflow.expressions.fork_server import ForkServer
from jobworkerp_standalone.workflow.expressions.helper_wire import JQ, Limits

_LIMITS = Limits(20.0, 256 << 20, 1 << 20)
_ASK_TWICE = f"""
import asyncio, resource
from jobworkerp_standalone.workflow.expressions.fork_server import ForkServer
from jobworkerp_standalone.workflow.expressions.helper_wire import JQ, Limits

async def main():
    server = await ForkServer.start()
    helper = await server.fork(Limits{tuple(_LIMITS)}, 1)
    for _ in range(2):
        print((await helper.ask(JQ, ". + 1", [b"1"])).endswith(b"2"), helper.usable)
    helper.kill()
    await helper.bury()
    await server.aclose()

asyncio.run(main())
"""


async def test_a_helper_whose_descriptor_is_above_1023() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2048:
        pytest.skip("no process may have so many descriptors here")
    server = await ForkServer.start()
    with ExitStack() as held:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
        held.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for _ in range(1100):
            held.callback(os.close, os.open("/dev/null", os.O_RDONLY))
        helper = await server.fork(_LIMITS, 1)
        assert (await helper.ask(JQ, ". + 1", [b"1"])).endswith(b"2")
        assert helper.usable
        helper.kill()
        await helper.bury()
        assert not helper.usable
    await server.aclose()


def test_a_hard_limit_that_may_not_be_raised() -> None:
    limited = ["prlimit", "--cpu=600:600", sys.executable, "-c", _ASK_TWICE]
    unprivileged = ["setpriv", "--bounding-set", "-sys_resource", "--inh-caps", "-sys_resource"]
    command = [*unprivileged, *limited] if os.geteuid() == 0 else limited
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.split(), done.stderr) == (["True"] * 4, "")
