"""How long the rest of a verification takes, by what its parts have taken so far."""

import time
from collections.abc import Callable, Mapping

TRAIN, ASK, ANSWER = "train", "ask", "answer"
_GUESSED = {TRAIN: 3.0, ASK: 1.0, ANSWER: 10.0}  # of a sample, as multiples; until it is measured


class Pace:
    """What is done of every kind of work, and the seconds that the rest will take.

    A sample trained on, a test example's loss and a written answer cost very different times, so
    each kind is measured by itself.

    Args:
        amounts: samples of every kind, all of what is to be done.
    """

    def __init__(
        self, amounts: Mapping[str, int], clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._left, self._clock = dict(amounts), clock
        self._done = dict.fromkeys(_GUESSED, 0)
        self._seconds = dict.fromkeys(_GUESSED, 0.0)
        self._then = clock()

    def begin(self) -> None:
        """From now on time counts: what came since the last word is no part of the work."""
        self._then = self._clock()

    def did(self, kind: str, count: int) -> None:
        """So many samples of a kind were done since the last word."""
        now = self._clock()
        self._done[kind] += count
        self._seconds[kind] += now - self._then
        self._left[kind] = max(self._left[kind] - count, 0)
        self._then = now

    def left(self) -> float | None:
        """Seconds that the rest takes; None before anything was measured."""
        guessed = sum(cost * self._done[kind] for kind, cost in _GUESSED.items())
        seconds = sum(self._seconds.values())
        if not guessed:
            return None
        one = {
            kind: self._seconds[kind] / self._done[kind]
            if self._done[kind]
            else cost * seconds / guessed
            for kind, cost in _GUESSED.items()
        }
        return sum(count * one[kind] for kind, count in self._left.items())


def in_words(seconds: float | None) -> str:
    """A time left as people say it.

    >>> in_words(7.0), in_words(200.0), in_words(9000.0), in_words(None)
    ('7 s left', '3:20 min left', '2:30 h left', 'time left not known yet')
    """
    if seconds is None:
        return "time left not known yet"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s left"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min left"
    return f"{whole // 3600}:{whole % 3600 // 60:02d} h left"
