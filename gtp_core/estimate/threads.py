"""One thread for small dense algebra, whatever the machine has."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, wraps
from threading import Lock
from typing import Any, ParamSpec, TypeVar

_Given = ParamSpec("_Given")
_Answer = TypeVar("_Answer")
_BUSY: list[Any] = []  # one entry per call under way, the first with what to restore
_LOCK = Lock()


def on_one_thread(work: Callable[_Given, _Answer]) -> Callable[_Given, _Answer]:
    """One thread for the small dense algebra: the same bytes whatever the machine, no spinning.

    With the other core busy, a 350 x 350 Cholesky took 137 ms on two threads and 1 ms on one.
    Calls may overlap: the limit goes when the last of them ends.
    """

    @wraps(work)
    def limited(*args: _Given.args, **kwargs: _Given.kwargs) -> _Answer:
        with _LOCK:
            _BUSY.append(None if _BUSY else _keeper().submit(_limit).result())
        try:
            return work(*args, **kwargs)
        finally:
            with _LOCK:
                # The first to come holds what to restore, so it is the last to be taken out.
                held = _BUSY.pop()
                if not _BUSY:
                    _keeper().submit(held.restore_original_limits).result()

    return limited


@cache
def _keeper() -> ThreadPoolExecutor:
    """The one thread that limits and restores: OpenBLAS listens to the thread that limited last."""
    return ThreadPoolExecutor(1)


def _limit() -> Any:
    return _thread_pools().limit(limits=1, user_api="blas")


@cache
def _thread_pools() -> Any:
    import scipy.linalg  # noqa: F401  its BLAS must be there to be found
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
