"""What was made of texts, kept within a bound of memory."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Recent(Generic[_T]):
    """Makes something of a text, and keeps that of the texts that were asked for last. May be called from any thread.

    Args:
        make: makes it; what it raises comes through, and is not kept.
        cost: about how many bytes it takes.
        most: how many bytes all of them may take; a single one may take more.
    """

    def __init__(self, make: Callable[[str], _T], cost: Callable[[str], int], most: int) -> None:
        self._make = make
        self._cost = cost
        self._left = most
        self._kept: dict[str, _T] = {}
        """The one that was asked for last is the last."""
        self._changing = Lock()

    def __call__(self, text: str) -> _T:
        """Return what is made of a text."""
        with self._changing:
            if text in self._kept:
                made = self._kept[text] = self._kept.pop(text)
                return made
        made = self._make(text)
        with self._changing:
            if text not in self._kept:
                self._kept[text] = made
                self._left -= self._cost(text)
            while self._left < 0 and len(self._kept) > 1:
                oldest = next(iter(self._kept))
                del self._kept[oldest]
                self._left += self._cost(oldest)
        return made
