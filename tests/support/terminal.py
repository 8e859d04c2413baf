"""A terminal for programs to run on, and what it shows."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import termios
from collections.abc import Callable

from rich.cells import cell_len

from tests.support.program import PROGRAM, Program

_PART = re.compile(r"\x1b\[(?P<numbers>[\d;?]*)(?P<what>[A-Za-z])|(?P<plain>[^\x1b])")
_ROWS = 24


class Screen:
    """What is to be seen after everything that a program has written, lines that scrolled away included."""

    def __init__(self, columns: int) -> None:
        self._columns = columns
        self._lines: list[list[str]] = [[]]
        self._row = 0
        self._column = 0

    def write(self, text: str) -> None:
        """Do what a terminal does; whatever is unknown here is an error."""
        end = 0
        for found in _PART.finditer(text):
            assert found.start() == end, f"unknown: {text[end : end + 20]!r}"
            end = found.end()
            if (plain := found["plain"]) is not None:
                self._put(plain)
            else:
                self._control(found["what"], found["numbers"])
        assert end == len(text), f"unknown: {text[end : end + 20]!r}"

    @property
    def lines(self) -> list[str]:
        """Return the lines, without what is blank at their ends."""
        return ["".join(line).rstrip() for line in self._lines]

    def _put(self, character: str) -> None:
        if character == "\r":
            self._column = 0
        elif character == "\n":
            self._down()
        else:
            width = cell_len(character)
            if self._column + width > self._columns:
                self._down()
                self._column = 0
            line = self._lines[self._row]
            line.extend(" " * (self._column + width - len(line)))
            line[self._column : self._column + width] = [character, *[""] * (width - 1)]
            self._column += width

    def _down(self) -> None:
        self._row += 1
        if self._row == len(self._lines):
            self._lines.append([])

    def _control(self, what: str, numbers: str) -> None:
        if what == "A":
            top = max(0, len(self._lines) - _ROWS)
            self._row = max(top, self._row - int(numbers or 1))
        elif what == "K" and numbers == "2":
            self._lines[self._row] = []
        else:
            assert what in "mhl", f"unknown: {numbers}{what}"


def on_terminal(
    program: Program, *arguments: str, columns: int = 100, code: int, press: Callable[[str], str] | None = None
) -> str:
    """Run a command on a terminal of so many columns, and return what it wrote there.

    Args:
        program: what is run.
        arguments: of its command line.
        columns: width of the terminal.
        code: with which it has to end.
        press: is called with what was written up to then, and returns the keys to press now.
    """
    child, terminal = pty.fork()
    if not child:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, columns, 0, 0))
        os.chdir(program.folder)
        locale = {} if "LC_ALL" in program.variables else {"LC_ALL": "C.UTF-8"}
        os.execve(PROGRAM, [PROGRAM, *arguments], {"TERM": "xterm-256color", **locale, **program.variables})
    shown = b""
    while True:
        try:
            part = os.read(terminal, 65_536)
        except OSError:
            break  # nobody has the other end any longer
        if not part:
            break
        shown += part
        if press is not None and (keys := press(shown.decode(errors="ignore"))):
            os.write(terminal, keys.encode())
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == code, shown
    return shown.decode()
