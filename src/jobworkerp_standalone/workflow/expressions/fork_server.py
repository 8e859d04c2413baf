"""The process that helpers are forked from, as the daemon sees it.

Starting a program takes tens of milliseconds, some of which hold up the daemon. A fork of a small process that has
loaded everything takes one, and the daemon only sends a message for it.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from typing import Final

import anyio
import anyio.to_thread

from jobworkerp_standalone.workflow.expressions.helper import Helper
from jobworkerp_standalone.workflow.expressions.helper_wire import FORK, Limits

_START: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    "from jobworkerp_standalone.workflow.expressions.fork_server_main import main; main(int(sys.argv[2]))"
)
_PATIENCE_SEC: Final = 30
_FAREWELL_SEC: Final = 2


class ForkServer:
    """A process that forks helpers; it ends when `aclose` is called, or the daemon ends."""

    def __init__(self, process: subprocess.Popen[bytes], control: socket.socket) -> None:
        self._process = process
        self._control = control

    @classmethod
    async def start(cls) -> ForkServer:
        """Start the process, in a thread.

        Raises:
            OSError: it cannot be started.
        """
        return await anyio.to_thread.run_sync(_started)

    async def fork(self, limits: Limits, engines: int) -> Helper:
        """Return a helper that is ready, with the engines of these kinds of programs loaded (a bit each).

        Raises:
            OSError: there is none; the server may be gone.
        """
        ours, theirs = socket.socketpair()
        watched, lifeline = os.pipe()
        helper = Helper(ours, lifeline, limits, engines)
        try:
            with theirs:
                socket.send_fds(self._control, [FORK.pack(*limits, engines)], [theirs.fileno(), watched])
            with anyio.fail_after(_PATIENCE_SEC):
                await helper.ready()
        except BaseException:
            helper.kill()
            ours.close()
            raise
        finally:
            os.close(watched)
        return helper

    async def aclose(self) -> None:
        """Have the process end, and wait for it; one that does not is killed."""
        self._control.close()
        await anyio.to_thread.run_sync(self._ended)

    def _ended(self) -> None:
        try:
            self._process.wait(_FAREWELL_SEC)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _started() -> ForkServer:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _START, json.dumps(sys.path), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={},
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            raise
    ours.setblocking(False)
    return ForkServer(process, ours)
