"""A search in a log that grows; each line is searched only once. Pure."""

from __future__ import annotations

from bisect import bisect_left

from bootstrap.console.log_buffer import LogBuffer


class LogSearch:
    """The search of one reader for one text. An empty text has no hits.

    hits: numbers of the lines that contain the text, in ascending order. Not for several threads.
    """

    def __init__(self, log: LogBuffer | None = None, text: str = "") -> None:
        self.text = text
        self.hits: list[int] = []
        self._log = log
        self._place = -1
        self._seen = 0
        self.catch_up()

    @property
    def line(self) -> int:
        """Number of the line of the current hit; 0 before the first `move`."""
        return self.hits[self._place] if self._place >= 0 else 0

    @property
    def place(self) -> int:
        """Which hit is the current one, counted from 1; 0 before the first `move`."""
        return self._place + 1

    def move(self, by: int) -> int:
        """Make the hit `by` further on the current one (negative: back), from the last on to the first.

        Returns the number of its line, 0 if there is no hit.
        """
        if self.hits:
            first = by - 1 if by > 0 else by
            self._place = (self._place + by if self._place >= 0 else first) % len(self.hits)
        return self.line

    def catch_up(self) -> None:
        """Search the lines that were added since the last call, and forget hits in lines that were dropped."""
        if self._log is None or not self.text:
            return
        first, last = self._log.span
        gone = bisect_left(self.hits, first)
        del self.hits[:gone]
        self._place = self._place - gone if self._place >= gone else -1
        self.hits += self._log.find_lines(self.text, self._seen + 1, last)
        self._seen = last
