"""The program of the fork server: it has loaded what helpers need, and forks one whenever the daemon sends an order.

It never evaluates anything, so it is never busy: it only loads an engine once, with the first order that wants it. Of
each helper it keeps the socket, to say there how the helper ended.
"""

from __future__ import annotations

import gc
import os
import resource
import select
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import jq  # noqa: F401 # pyright: ignore[reportUnusedImport] - loaded before the first fork

from jobworkerp_standalone.workflow import violations
from jobworkerp_standalone.workflow.expressions import liquid_engine
from jobworkerp_standalone.workflow.expressions.helper_main import serve
from jobworkerp_standalone.workflow.expressions.helper_wire import ENDED, FORK, LIQUID, NUMBER, REPLY, SCHEMA, Limits

_NICE = 5
_SESSION_NICE = 10
_LOADERS: Final[dict[int, Callable[[], None]]] = {LIQUID: liquid_engine.load, SCHEMA: violations.load}
"""Of the engines that take long to load and are not needed by everybody."""


def main(descriptor: int) -> None:
    """Serve until the daemon closes."""
    os.nice(_NICE)
    with suppress(OSError), open("/proc/self/autogroup", "w", encoding="ascii") as group:
        group.write(str(_SESSION_NICE))  # where the kernel shares out time by session, nice counts inside of one only
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with socket.socket(fileno=descriptor) as control:
        _Server(control).run()


class _Server:
    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._children: dict[int, tuple[int, socket.socket]] = {}
        """Process id and socket, by the descriptor that says when the process ends."""
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        self._loaded = 0
        gc.freeze()

    def run(self) -> None:
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor in self._children:
                    self._bury(descriptor)
                elif not self._obey():
                    return  # helpers end by their lifelines

    def _obey(self) -> bool:
        order, descriptors, _, _ = socket.recv_fds(self._control, FORK.size, 2)
        if not order:
            return False
        theirs, lifeline = descriptors
        *limits, engines = FORK.unpack(order)
        self._load(engines)
        channel = socket.socket(fileno=theirs)
        try:
            pid = os.fork()
        except OSError:  # the daemon sees that its socket is closed
            channel.close()
        else:
            if not pid:
                self._be_helper(channel, lifeline, Limits(*limits))
            watched = os.pidfd_open(pid)
            self._children[watched] = (pid, channel)
            self._poll.register(watched, select.POLLIN)
        os.close(lifeline)
        return True

    def _load(self, engines: int) -> None:
        """Load what no helper has needed so far: a helper that did would spend the time of its first program on it."""
        if not engines & ~self._loaded:
            return
        for kind, load in _LOADERS.items():
            if engines >> kind & 1:
                load()
        self._loaded |= engines
        gc.freeze()

    def _be_helper(self, channel: socket.socket, lifeline: int, limits: Limits) -> None:
        """Do what a helper does, in a process that was just forked, to its end."""
        try:
            self._control.close()
            for watched, (_, other) in self._children.items():
                os.close(watched)
                other.close()
            serve(channel, lifeline, limits)
        finally:
            os._exit(0)

    def _bury(self, watched: int) -> None:
        pid, channel = self._children.pop(watched)
        self._poll.unregister(watched)
        os.close(watched)
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert ended is not None
        code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
        with channel, suppress(OSError):  # told first: whoever sees that it is gone finds it told
            channel.send(REPLY.pack(ENDED, NUMBER.size) + NUMBER.pack(code), socket.MSG_DONTWAIT)
        os.waitpid(pid, 0)
