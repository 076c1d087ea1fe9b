"""Ctrl-C while samples are chosen: the first keeps the best round so far, the second stops."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from gtp_core.atoms import Problem, cancellable
from gtp_core.errors import CancelledError, GTPError
from gtp_core.methods import OnRound
from gtp_core.pursuit import Round
from gtp_core.store import Progress

_NOTHING = (
    "cancelled before anything was chosen; nothing was saved. Run it again, or with a smaller "
    "budget."
)


@contextmanager
def until_interrupted(
    problem: Problem, on_round: Callable[[Round], None]
) -> Iterator[tuple[Problem, OnRound]]:
    """The problem and the callback to choose with while Ctrl-C ends a pursuit early."""
    with _listening("gtp: keeping the best so far; once more to stop at once.") as asked:

        def between() -> None:
            if asked.is_set():
                raise CancelledError(_NOTHING)

        def told(round_: Round) -> bool:
            on_round(round_)
            return asked.is_set()

        yield cancellable(problem, between), told


@contextmanager
def unless_interrupted(
    problem: Problem, progress: Progress
) -> Iterator[tuple[Problem, Progress, OnRound]]:
    """The problem and the callbacks to compare settings with; Ctrl-C ends all of it.

    Until they are compared nothing is chosen, so there is no best so far: a choice cut short must
    not be compared with whole ones.

    Raises:
        GTPError: Ctrl-C. Of a CancelledError a pursuit would keep its best, and go on.
    """
    with _listening("gtp: ending the comparison; once more to stop at once.") as asked:

        def between() -> None:
            if asked.is_set():
                raise GTPError(_NOTHING)

        def further(done: int, total: int, what: str) -> None:
            between()
            progress(done, total, what)

        def told(_: Round) -> bool:
            between()
            return False

        yield cancellable(problem, between), further, told
        between()  # heard after the last round


@contextmanager
def _listening(said: str) -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets, saying so; a second one is a KeyboardInterrupt."""
    asked = threading.Event()

    def heard(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        print(said, file=sys.stderr)

    if threading.current_thread() is not threading.main_thread():  # signals are not heard there
        yield asked
        return
    before = signal.signal(signal.SIGINT, heard)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
