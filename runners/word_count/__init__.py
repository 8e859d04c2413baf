"""WordCount, the example of a plugin: settings, a result, a stream, a client's feed, a further method."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated

from jobworkerp_standalone.plugin import BadInput, Runner, method


@dataclass
class Settings:
    """What a worker is set up with."""

    ignore: Annotated[list[str], "Words that do not count."] = field(default_factory=list[str])
    min_length: Annotated[int, "Shorter words do not count."] = 1


@dataclass
class Text:
    """A text."""

    text: str
    top: Annotated[int, "How many words to name."] = 3


@dataclass
class Counts:
    """How often words occur."""

    total: int
    words: dict[str, int] = field(default_factory=dict[str, int])


class WordCount(Runner):
    """Counts the words of a text."""

    def load(self, settings: Settings) -> None:
        """Keep what the worker says."""
        self._settings = settings

    def run(self, args: Text) -> Counts:
        """Count all of it."""
        return self._named(Counter(self._words(args.text)), args.top)

    def stream(self, args: Text) -> Iterator[Counts]:
        """Count line by line: each item says what is known so far."""
        so_far: Counter[str] = Counter()
        for line in args.text.splitlines():
            so_far.update(self._words(line))
            yield self._named(so_far, args.top)

    @method
    def follow(self, args: Text, feed: Iterator[Text]) -> Iterator[Counts]:
        """Count what the client sends, until it stops."""
        so_far = Counter(self._words(args.text))
        for piece in feed:
            so_far.update(self._words(piece.text))
            yield self._named(so_far, args.top)

    def _words(self, text: str) -> list[str]:
        found = re.findall(r"\w+", text.lower())
        return [each for each in found if len(each) >= self._settings.min_length and each not in self._settings.ignore]

    @staticmethod
    def _named(counts: Counter[str], top: int) -> Counts:
        if top < 0:
            raise BadInput(f"top is {top}: give 0 or more")
        return Counts(counts.total(), dict(counts.most_common(top)))
