"""Memory for rows that are still to come, made ready while something else is waited for."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

HEADROOM = 1.5  # of the space taken, so that joining does not copy all rows every time
_RESERVED = 2  # times what is expected: what is never touched takes no memory
_AT_ONCE = 1 << 26  # bytes touched at once; less is there at once anyway
_PAGE = 4096


class Space:
    """Room for rows, which stay where they are as long as twice as many come as were expected.

    The system hands out memory at the first touch: 2.7 GB took 1 to 7 seconds on a virtual machine.
    So a thread touches what is expected from the start, while the first pass waits for the disk.
    Where nothing was, room grows by half of what is needed, and is used again.
    """

    def __init__(self, count: int, dim: int, dtype: np.dtype) -> None:
        self._rows = np.empty((_RESERVED * count, dim), dtype)
        self._step = max(1, _AT_ONCE // max(self._rows.itemsize * dim, 1))
        whole = range(0, count - self._step + 1, self._step)
        toucher = ThreadPoolExecutor(1)
        self._touched = [toucher.submit(_touch, self._rows[i : i + self._step]) for i in whole]
        toucher.shutdown(wait=False)

    def first(self, count: int, filled: int) -> np.ndarray:
        """The first `count` rows, of which so many are filled already."""
        for touched in self._touched[: -(-count // self._step)]:
            touched.result()  # it writes where rows go
        if len(self._rows) < count:
            larger = np.empty((int(HEADROOM * count), self._rows.shape[1]), self._rows.dtype)
            larger[:filled] = self._rows[:filled]
            self._rows = larger
        return self._rows[:count]


def _touch(rows: np.ndarray) -> None:
    rows.reshape(-1).view(np.uint8)[::_PAGE] = 0
