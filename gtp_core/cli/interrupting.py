"""Ctrl-C while samples are chosen: the first keeps the best round so far, the second stops."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from gtp_core.atoms import Problem, cancellable
from gtp_core.errors import CancelledError
from gtp_core.methods import OnRound
from gtp_core.pursuit import Round


@contextmanager
def until_interrupted(
    problem: Problem, on_round: Callable[[Round], None]
) -> Iterator[tuple[Problem, OnRound]]:
    """The problem and the callback to choose with while Ctrl-C ends a pursuit early."""
    asked = threading.Event()

    def heard(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        print("gtp: keeping the best so far; once more to stop at once.", file=sys.stderr)

    def between() -> None:
        if asked.is_set():
            raise CancelledError(
                "cancelled before anything was chosen; nothing was saved. Run it again, or with "
                "a smaller budget."
            )

    def told(round_: Round) -> bool:
        on_round(round_)
        return asked.is_set()

    if threading.current_thread() is not threading.main_thread():  # signals are not heard there
        yield problem, told
        return
    before = signal.signal(signal.SIGINT, heard)
    try:
        yield cancellable(problem, between), told
    finally:
        signal.signal(signal.SIGINT, before)
