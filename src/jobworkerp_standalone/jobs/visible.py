"""Text from outside, made fit to be shown: it moves no cursor, colours nothing and breaks no XML."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return the text with control characters other than line ends and tabs written out, so that no escape acts."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in "\n\t" else repr(each)[1:-1] for each in text)


def one_line(text: str) -> str:
    """Return the text as one printable line."""
    return printable(" ".join(text.split()))
