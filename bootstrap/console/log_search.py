"""Where a text stands in a log that grows: every line is looked at once, whenever it comes. Pure."""

from __future__ import annotations

from bisect import bisect_left

from bootstrap.console.log_buffer import Log


class Search:
    """hits: numbers of the lines that hold the text, oldest first; none for no text."""

    def __init__(self, log: Log | None = None, text: str = "") -> None:
        self.text = text
        self.hits: list[int] = []
        self._log = log
        self._place = -1
        self._seen = 0
        self.catch_up()

    @property
    def line(self) -> int:
        """The number of the hit that is looked at, 0 before the first `go`."""
        return self.hits[self._place] if self._place >= 0 else 0

    @property
    def place(self) -> int:
        """Which of the hits that is, 1-based; 0 if it is none."""
        return self._place + 1

    def go(self, by: int) -> int:
        """To the hit so many further on, round and round; its line, 0 if there is no hit."""
        if self.hits:
            first = by - 1 if by > 0 else by
            self._place = (self._place + by if self._place >= 0 else first) % len(self.hits)
        return self.line

    def catch_up(self) -> None:
        """Look at the lines that have come since, and forget those that are gone."""
        if self._log is None or not self.text:
            return
        first, last = self._log.span
        gone = bisect_left(self.hits, first)
        del self.hits[:gone]
        self._place = self._place - gone if self._place >= gone else -1
        self.hits += self._log.find(self.text, self._seen + 1, last)
        self._seen = last
