"""Unit gradients of all checkpoints, end to end: products with them at memory speed, and targets.

A trajectory is concat_t sqrt(eta_t) * u[t] with eta_t = step_size_t / sum(step_size), so that the
inner product of two trajectories is the step-size-weighted sum of their cosines, which is the
influence of LESS (Xia et al. 2024). The float16 rows are never copied: one fused loop widens and
multiplies a row at a time, so a pass costs one read of memory (measured on one core: 20.9 GB/s,
against 1.1 for NumPy's cast and 9.4 for torch in blocks of 64 rows). Every row is summed in the
same order whatever the number of threads, so the same store gives the same bytes everywhere.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from gtp_core.errors import TaskError
from gtp_core.store import Checkpoint, Store

_ROWS_PER_JOB = 4096


def products(rows: np.ndarray, vectors: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Inner products (n_rows, n_vectors) float32 of float16 rows with float32 vectors.

    Args:
        rows: (n_rows, dim) float16, in memory or memory-mapped.
        vectors: (n_vectors, dim).
        out: where to put the answer.
    """
    from gtp_core import kernels

    halves = rows.view(np.uint16)
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    answer = np.empty((len(rows), len(vectors)), np.float32) if out is None else out
    _in_threads(lambda a, b: kernels.products(halves[a:b], vectors, answer[a:b]), len(rows))
    return answer


def column_sums(rows: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """sum_i factor[i] * rows[i] as float64 (dim,), the same bytes for any number of threads."""
    from gtp_core import kernels

    starts = range(0, len(rows), _ROWS_PER_JOB)
    partial = np.zeros((len(starts), rows.shape[1]), np.float32)
    halves, factor = rows.view(np.uint16), np.asarray(factor, np.float32)

    def add(begin: int, end: int) -> None:
        for start in range(begin, end, _ROWS_PER_JOB):
            stop = min(start + _ROWS_PER_JOB, end)
            kernels.add_rows(
                halves[start:stop], factor[start:stop], partial[start // _ROWS_PER_JOB]
            )

    _in_threads(add, len(rows))
    return partial.sum(axis=0, dtype=np.float64)


def _in_threads(work: Callable[[int, int], None], n_rows: int) -> None:
    """Call `work(begin, end)` over slices of rows, one thread per core this process may use."""
    threads = min(_cores(), -(-n_rows // _ROWS_PER_JOB))
    if threads <= 1:
        work(0, n_rows)
        return
    jobs = -(-n_rows // _ROWS_PER_JOB)
    edges = [min(n_rows, _ROWS_PER_JOB * (jobs * t // threads)) for t in range(threads)] + [n_rows]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, edges[:-1], edges[1:]))


def _cores() -> int:
    """Cores this process may use; only Linux can say that it may use fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def step_weights(checkpoints: Sequence[Checkpoint]) -> np.ndarray:
    """eta (n_checkpoints,): each step size over their sum."""
    sizes = np.array([c.step_size for c in checkpoints], dtype=np.float64)
    return sizes / sizes.sum()


@dataclass(frozen=True)
class Trajectories:
    """The atoms of a store, opened by memory map.

    Attributes:
        parts: per checkpoint, the unit rows of each part, float16.
        eta: (n_checkpoints,) step-size weights that sum to one.
    """

    parts: tuple[tuple[np.ndarray, ...], ...]
    eta: np.ndarray

    @property
    def n_samples(self) -> int:
        return sum(len(rows) for rows in self.parts[0])

    @property
    def dim(self) -> int:
        """Length of a trajectory: n_checkpoints * length of one projected gradient."""
        return len(self.parts) * self.parts[0][0].shape[1]

    def products(self, vectors: np.ndarray) -> np.ndarray:
        """<atom_i, vector_r> for every sample: (n_samples, n_vectors) float32. One pass."""
        total = np.zeros((self.n_samples, len(vectors)), np.float32)
        piece = np.empty_like(total)
        for rows_of_parts, vector in zip(self.parts, self._by_checkpoint(vectors), strict=True):
            start = 0
            for rows in rows_of_parts:
                products(rows, vector, out=piece[start : start + len(rows)])
                start += len(rows)
            total += piece
        return total

    def rows(self, index: np.ndarray) -> np.ndarray:
        """The atoms (len(index), dim) float32 of these samples."""
        width = self.parts[0][0].shape[1]
        out = np.empty((len(index), self.dim), np.float32)
        starts = np.cumsum([0] + [len(rows) for rows in self.parts[0]])
        owner = np.searchsorted(starts, index, side="right") - 1
        for t, (rows_of_parts, eta) in enumerate(zip(self.parts, self.eta, strict=True)):
            for part in np.unique(owner):
                mine = np.flatnonzero(owner == part)
                taken = rows_of_parts[part][index[mine] - starts[part]]
                columns = slice(t * width, (t + 1) * width)
                out[mine, columns] = taken.astype(np.float32) * np.float32(np.sqrt(eta))
        return out

    def _by_checkpoint(self, vectors: np.ndarray) -> list[np.ndarray]:
        """Split trajectories (n, dim) into one (n, width) per checkpoint, times sqrt(eta)."""
        pieces = np.split(np.asarray(vectors, np.float64), len(self.parts), axis=1)
        return [np.sqrt(eta) * piece for eta, piece in zip(self.eta, pieces, strict=True)]


def open_trajectories(store: Store) -> Trajectories:
    """The trajectories of a store's samples; nothing is read yet."""
    parts = tuple(
        tuple(store.part_rows(p, c)[0] for p in range(len(store.manifest.parts)))
        for c in range(len(store.checkpoints))
    )
    return Trajectories(parts, step_weights(store.checkpoints))


@dataclass(frozen=True)
class TaskTrajectories:
    """The trajectories of a task's validation examples.

    Attributes:
        rows: (n_examples, dim) float64; only examples that are valid at every checkpoint.
        subtask: (n_examples,) index into `subtasks`.
        subtasks: names, in the order of their first example.
        n_invalid: how many examples were left out because a gradient is zero, NaN or Inf.
    """

    rows: np.ndarray
    subtask: np.ndarray
    subtasks: tuple[str, ...]
    n_invalid: int

    def targets(self) -> np.ndarray:
        """One target per subtask, (n_subtasks, dim): the mean over its examples."""
        return np.stack([self.rows[self.subtask == s].mean(0) for s in range(len(self.subtasks))])


def open_task(store: Store, task: str) -> TaskTrajectories:
    """Read a task's examples.

    Raises:
        TaskError: the store has no such task, or no example of it has a usable gradient.
    """
    names = store.examples(task)["subtask"].to_list()
    eta = step_weights(store.checkpoints)
    read = [store.task_rows(task, c) for c in range(len(eta))]
    norms = np.stack([norm for _, norm in read], axis=1)
    valid = valid_rows(norms)
    if not valid.any():
        raise TaskError(
            f"task {task!r} has {len(valid)} validation examples, none with a usable gradient; "
            "a target needs at least one. Collect the task again or choose another."
        )
    rows = np.hstack(
        [
            np.sqrt(e) * unit[valid].astype(np.float64)
            for e, (unit, _) in zip(eta, read, strict=True)
        ]
    )
    kept = [name for name, ok in zip(names, valid, strict=True) if ok]
    subtasks = tuple(dict.fromkeys(kept))
    subtask = np.array([subtasks.index(name) for name in kept])
    return TaskTrajectories(rows, subtask, subtasks, int((~valid).sum()))


def valid_rows(norms: np.ndarray) -> np.ndarray:
    """(n,) bool from norms (n, n_checkpoints): finite and positive at every checkpoint."""
    return np.all(np.isfinite(norms) & (norms > 0), axis=1)
