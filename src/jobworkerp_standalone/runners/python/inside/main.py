"""The loop: a script after the other, until the daemon hangs up or one ends this interpreter."""

from __future__ import annotations

import os
import sys

from jobworkerp_standalone.runners.python.inside.control import Control, close_outputs, set_outputs
from jobworkerp_standalone.runners.python.inside.scripts import Scripts


def main() -> None:
    """Run scripts until the daemon hangs up, or one ends this interpreter."""
    owner = os.getpid()
    control = Control()
    scripts = Scripts(sys.argv[1])
    close_outputs()
    control.send(b"r")
    while True:
        order = control.order()
        if order is None:
            return
        asked, script, data, outputs = order
        set_outputs(*outputs)
        try:
            scripts.prepare(asked, script, data)
        except OSError as error:
            control.send(b"x", error.errno or 0)
            return
        except BaseException:  # the daemon sees that nothing has begun, and starts a new interpreter
            close_outputs()
            raise
        control.send(b"b")
        code = scripts.run(script)
        if code < 0 or os.getpid() != owner or not _goes_on(scripts, control, code):
            scripts.leave(code)


def _goes_on(scripts: Scripts, control: Control, code: int) -> bool:
    """Tidy up and tell the daemon; where one of these fails, whatever the script did, this interpreter ends."""
    try:
        if not (scripts.tidy() and control.intact):
            return False
        close_outputs()
        control.send(b"d", code)
    except BaseException:
        return False
    return True
