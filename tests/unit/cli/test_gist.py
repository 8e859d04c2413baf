"""One line for what programs say in many."""

from __future__ import annotations

import pytest

from jobworkerp_standalone.cli.gist import gist


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("just this", "just this"),
        ("Traceback (most recent call last):\n  File x\n    y\nKeyError: 'k'\n", "KeyError: 'k'"),
        ("exit code 1\nstderr: Traceback (most recent call last):\n  File x\nMine: oh", "exit code 1: Mine: oh"),
        (
            "exit code 1\nstderr: [eval]:1\nconsole.log(n)\n   ^\n\nReferenceError: n\n    at x\n\nNode.js v20",
            "exit code 1: ReferenceError: n",
        ),
        ("exit code 3\nstderr: a\nb\nstdout: c\nd", "exit code 3: b"),
        ("exit code 3\nstdout: c\nd", "exit code 3: d"),
        ("exit code 3\nstderr: ValueError: x", "exit code 3: ValueError: x"),
    ],
)
def test_what_says_most(text: str, line: str) -> None:
    assert gist(text) == line
