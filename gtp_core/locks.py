"""One process at a time: a lock on a file, which the system lets go whatever becomes of its holder.

Whether one who comes second waits, refuses or is told to look elsewhere is for the caller to say.
"""

import errno
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout, lock_descriptor

from gtp_core.errors import GTPError

_WAIT = 0.2  # seconds between two tries
_INSTANT = 0.02  # longer than `is_held` has the lock
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


@contextmanager
def hold(path: Path, busy: Callable[[], object]) -> Iterator[None]:
    """Hold the lock on a file for as long as the block runs, or this process lives.

    Args:
        path: of the file; it is made where it is missing, and what is in it is left alone. The
            holder may take it away: the next one makes and locks a new one.
        busy: called while another holds it, between two tries: it raises to refuse or to give up,
            and returns to wait.

    Raises:
        GTPError: the file system knows no locks.
        OSError: the file cannot be opened.
    """
    lock = FileLock(path, fallback_to_soft=False)  # a soft lock would outlive a killed holder
    if not _taken(lock):
        time.sleep(_INSTANT)  # someone may only have looked
        while not _taken(lock):
            busy()
            time.sleep(_WAIT)
    try:
        yield
    finally:
        lock.release()


def _taken(lock: FileLock) -> bool:
    """One try. The library's own wait refuses a second holder in the same thread as a deadlock."""
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise GTPError(
                f"{lock.lock_file} lies on a file system without locks ({error.strerror}), which "
                "keep two processes from the same work. Choose a folder on another disk."
            ) from None
        raise
    return True


def is_held(path: Path) -> bool:
    """Whether a process holds the lock on a file; where that cannot be known, it may."""
    try:
        with open(path, "rb") as file:
            return not lock_descriptor(file.fileno(), blocking=False)
    except FileNotFoundError:
        return False
    except OSError:
        return True
