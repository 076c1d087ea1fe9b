"""Principal directions of a checkpoint's gradients, by a randomised method in two passes.

With U the unit rows of valid samples, a direction removed from each where there is one:

- from a Gaussian start (width, rank + 16), three power iterations Q = orth(U'(U Q)) on 8,192 rows
  spread evenly over the store, in memory; then one on all rows, the first pass;
- the second pass multiplies B = U Q. The eigenvectors of B'B turn Q into principal directions and
  B into coordinates, and its eigenvalues are the energy along each.

This is the randomised range finder of Halko, Martinsson, Tropp 2011, begun on a sample. Gradients
need that: their spectra fall slowly, and of the energy that the best 256 of 2,048 directions hold
(69 %, 20,000 samples) a pass from the Gaussian keeps 91 %, the sample alone 97 %, both 99.8 %.

Rows are taken 1,024 at a time by their number in the store, every block by one thread, and sums are
added in the order of the blocks: neither threads nor the size of the parts change a byte. BLAS must
be held to one thread by whoever calls (gtp_core.estimate.on_one_thread).
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from gtp_core.trajectories import in_threads

_BLOCK_ROWS = 1024
_AT_ONCE = 8  # blocks between two sums; each holds width * (rank + 16) float32
_MORE = 16  # directions beyond the rank, that the last ones may be good as well
_SAMPLE = 8192  # rows of the first iterations
_ITERATIONS = 3  # on them

Told = Callable[[int, int], None]
"""Called with the rows done and all rows, in both passes together."""


def principal(
    parts: Sequence[np.ndarray],
    valid: np.ndarray,
    direction: np.ndarray | None,
    rank: int,
    told: Told | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The `rank` directions that hold most of the rows' energy.

    Args:
        parts: unit rows (rows of the part, width) float16, in memory or by memory map.
        valid: (n_samples,) bool: the rows that count; the others get coordinates of zero.
        direction: (width,) a unit direction that is removed from every row, or None.
        rank: at most width; directions beyond what the rows can fill are zero.
        told: hears of progress.

    Returns:
        coordinates (n_samples, rank) float16; directions (rank, width) float32, orthonormal; and
        the spectrum (rank + 1,) float64: the energy along every direction, that of all rows last.
    """
    rows = _Rows(parts, valid, direction, told or (lambda done, total: None))
    basis = _range(rows, min(rank + _MORE, rows.width - len(rows.removed)))
    low, squares, total = _projected(rows, basis)
    values, turn = np.linalg.eigh(squares)
    values, turn = values[::-1][:rank], turn[:, ::-1][:, :rank]
    missing = rank - len(values)
    directions = np.pad((basis @ turn).T.astype(np.float32), ((0, missing), (0, 0)))
    spectrum = np.append(np.pad(np.maximum(values, 0.0), (0, missing)), total)
    return _turned(low, np.pad(turn, ((0, 0), (0, missing)))), directions, spectrum


class _Rows:
    """The rows of a checkpoint, a block at a time, as float32 and without the invalid ones."""

    def __init__(
        self,
        parts: Sequence[np.ndarray],
        valid: np.ndarray,
        direction: np.ndarray | None,
        told: Told,
    ) -> None:
        self._parts, self._valid, self._direction = parts, valid, direction
        self._told, self._done = told, 0
        self._starts = np.cumsum([0] + [len(rows) for rows in parts])
        self.n, self.width = len(valid), parts[0].shape[1]
        self.removed = np.empty((0, self.width)) if direction is None else direction[None]

    def without(self, columns: np.ndarray) -> np.ndarray:
        """(width, k) free of what is removed: <u - <u, m> m, c> = <u, c - <c, m> m>."""
        return columns - self.removed.T @ (self.removed @ columns)

    def sample(self) -> "_Rows":
        """At most 8,192 of the rows, evenly spread, in memory."""
        index = np.unique(np.linspace(0, self.n - 1, min(_SAMPLE, self.n)).astype(np.int64))
        owner = np.searchsorted(self._starts, index, side="right") - 1
        rows = np.empty((len(index), self.width), np.float16)
        for number in np.unique(owner):
            mine = owner == number
            rows[mine] = self._parts[number][index[mine] - self._starts[number]]
        return _Rows([rows], self._valid[index], self._direction, lambda done, total: None)

    def sums(
        self,
        work: Callable[[np.ndarray, slice, np.ndarray], None],
        shape: tuple[int, ...],
    ) -> np.ndarray:
        """The sum (shape) float64 of what `work(rows, where, out)` writes for every block."""
        total = np.zeros(shape)
        partial = np.empty((_AT_ONCE, *shape), np.float32)
        blocks = [
            slice(start, min(start + _BLOCK_ROWS, self.n))
            for start in range(0, self.n, _BLOCK_ROWS)
        ]
        for first in range(0, len(blocks), _AT_ONCE):
            some = blocks[first : first + _AT_ONCE]

            def fill(begin: int, end: int, some: list[slice] = some) -> None:
                for place in range(begin, end):
                    work(self._taken(some[place]), some[place], partial[place])

            in_threads(fill, len(some), at_once=1)
            for place in range(len(some)):
                total += partial[place]
            self._done += some[-1].stop - some[0].start
            self._told(self._done, 2 * self.n)
        return total

    def _taken(self, block: slice) -> np.ndarray:
        out = np.zeros((block.stop - block.start, self.width), np.float32)
        for number, rows in self._touched(block):
            start = int(self._starts[number])
            begin, end = max(block.start, start), min(block.stop, start + len(rows))
            out[begin - block.start : end - block.start] = rows[begin - start : end - start]
        out[~self._valid[block]] = 0.0
        return out

    def _touched(self, block: slice) -> Iterator[tuple[int, np.ndarray]]:
        for number, rows in enumerate(self._parts):
            if self._starts[number] < block.stop and block.start < self._starts[number + 1]:
                yield number, rows


def _range(rows: _Rows, size: int) -> np.ndarray:
    """Orthonormal columns (width, size) float64 among which most of the energy lies. One pass."""
    found = np.random.default_rng(0).standard_normal((rows.width, size))
    some = rows.sample()
    for _ in range(_ITERATIONS):
        found = _iterated(some, found)
    return _iterated(rows, found)


def _iterated(rows: _Rows, columns: np.ndarray) -> np.ndarray:
    """An orthonormal basis of U'(U columns)."""
    start = rows.without(columns).astype(np.float32)

    def sketch(block: np.ndarray, _: slice, out: np.ndarray) -> None:
        np.matmul(block.T, block @ start, out=out)

    found = np.linalg.qr(rows.without(rows.sums(sketch, start.shape)))[0]
    return np.linalg.qr(rows.without(found))[0]  # of what rounding had put back


def _projected(rows: _Rows, basis: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """All rows in a basis (n, size) float32, their inner products there, and all energy."""
    size = basis.shape[1]
    low = np.empty((rows.n, size), np.float32)
    both = np.hstack([basis, rows.removed.T]).astype(np.float32)

    def project(block: np.ndarray, where: slice, out: np.ndarray) -> None:
        found = block @ both
        low[where] = found[:, :size]
        np.matmul(found[:, :size].T, found[:, :size], out=out[:size])
        lengths = np.einsum("ij,ij->i", block, block) - (found[:, size:] ** 2).sum(axis=1)
        out[size] = lengths.sum() / size

    sums = rows.sums(project, (size + 1, size))
    return low, sums[:size], float(sums[size].sum())


def _turned(low: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """low @ turn as float16, a block of fixed size at a time."""
    out = np.empty((len(low), turn.shape[1]), np.float16)
    narrow = np.ascontiguousarray(turn, np.float32)

    def work(begin: int, end: int) -> None:
        for first in range(begin, end, _BLOCK_ROWS):
            last = min(first + _BLOCK_ROWS, end)
            out[first:last] = low[first:last] @ narrow

    in_threads(work, len(low), at_once=_BLOCK_ROWS)
    return out
