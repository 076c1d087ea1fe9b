"""Unit gradients of all checkpoints, end to end: products with them at memory speed, and targets.

A trajectory is concat_t sqrt(eta_t) * u[t] with eta_t = step_size_t / sum(step_size), so that the
inner product of two trajectories is the step-size-weighted sum of their cosines, which is the
influence of LESS (Xia et al. 2024). The float16 rows are never copied: one fused loop widens and
multiplies a row at a time, so a pass costs one read of memory (measured on one core: 20.9 GB/s,
against 1.1 for NumPy's cast and 9.4 for torch in blocks of 64 rows). Every row is summed in the
same order whatever the number of threads, so the same store gives the same bytes everywhere.
"""

import mmap
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from math import inf

import numpy as np

from gtp_core.errors import TaskError
from gtp_core.store import Checkpoint, Store

_ROWS_FETCHED = 64  # by a thread; more threads than one hide what each waits for
_ROWS_PER_JOB = 4096
_FEW_NUMBERS = 1 << 24  # copied by NumPy
_AHEAD = 2  # parts whose reading starts early


def products(
    rows: np.ndarray,
    vectors: np.ndarray,
    out: np.ndarray | None = None,
    pool: ThreadPoolExecutor | None = None,
) -> np.ndarray:
    """Inner products (n_rows, n_vectors) float32 of float16 rows with float32 vectors.

    Args:
        rows: (n_rows, dim) float16, in memory or memory-mapped.
        vectors: (n_vectors, dim).
        out: where to put the answer.
        pool: threads that are there already; starting two takes as long as a few hundred rows.
    """
    from gtp_core import kernels

    halves = rows.view(np.uint16)
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    answer = np.empty((len(rows), len(vectors)), np.float32) if out is None else out
    in_threads(
        lambda a, b: kernels.products(halves[a:b], vectors, answer[a:b]),
        len(rows),
        at_once=512,
        pool=pool,
    )
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

    in_threads(add, len(rows))
    return partial.sum(axis=0, dtype=np.float64)


def in_threads(
    work: Callable[[int, int], None],
    n_rows: int,
    *,
    at_once: int = _ROWS_PER_JOB,
    pool: ThreadPoolExecutor | None = None,
) -> None:
    """Call `work(begin, end)` over slices of rows, one thread per core this process may use.

    They are those of `pool`, or new ones.
    """
    jobs = -(-n_rows // at_once)
    threads = min(_cores(), jobs)
    if threads <= 1:
        work(0, n_rows)
        return
    edges = [min(n_rows, at_once * (jobs * t // threads)) for t in range(threads)] + [n_rows]
    with nullcontext(pool) if pool else ThreadPoolExecutor(threads) as there:
        list(there.map(work, edges[:-1], edges[1:]))


def _copier(numbers: int) -> Callable[..., None]:
    """How rows are copied: `copy(source, places, out, where)`."""
    if numbers <= _FEW_NUMBERS:  # not worth loading the compiler for a page

        def copied(
            source: np.ndarray, places: np.ndarray, out: np.ndarray, where: np.ndarray
        ) -> None:
            out[where] = source[places]

        return copied
    from gtp_core import kernels

    return kernels.copy_rows


def _will_need(rows: np.ndarray) -> None:
    """Have a part read from disk while another is multiplied; page by page it takes far longer."""
    mapped = getattr(rows, "_mmap", None)
    if mapped is not None and hasattr(mmap, "MADV_WILLNEED"):
        mapped.madvise(mmap.MADV_WILLNEED)


def _cores() -> int:
    """Cores this process may use; only Linux can say that it may use fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def step_weights(
    checkpoints: Sequence[Checkpoint], factors: Mapping[str, float] | None = None
) -> np.ndarray:
    """eta (n_checkpoints,): each step size, times its factor where there is one, over their sum.

    Args:
        checkpoints: of a store, in training order.
        factors: by name of checkpoint; 0 leaves it out, 1 changes nothing.

    Raises:
        TaskError: a factor of an unknown checkpoint or below 0, or nothing but zeros.
    """
    sizes = np.array([c.step_size for c in checkpoints], dtype=np.float64)
    if factors:
        names = [c.name for c in checkpoints]
        for name, factor in factors.items():
            _check_factor(name, factor, names)
        sizes = sizes * [factors.get(name, 1.0) for name in names]
        if not sizes.any():
            raise TaskError(
                f"the checkpoints {', '.join(names)} all weigh 0; a trajectory needs one of them. "
                "Give one a factor above 0."
            )
    return sizes / sizes.sum()


def _check_factor(name: str, factor: float, names: Sequence[str]) -> None:
    if name not in names:
        raise TaskError(
            f"checkpoint {name!r} is not in this store; it has {', '.join(names)}. "
            "Choose one of them."
        )
    if not 0 <= factor < inf:
        raise TaskError(f"checkpoint {name!r} has factor {factor}; give a number of at least 0.")


@dataclass(frozen=True)
class Trajectories:
    """The atoms of a store, opened by memory map.

    Attributes:
        parts: per checkpoint, the unit rows of each part, float16.
        eta: (n_checkpoints,) step-size weights that sum to one.
        between: called before every part of a pass; may raise CancelledError.
        lengths: per checkpoint, a factor on each row of each part, or None where rows are unit.
    """

    parts: tuple[tuple[np.ndarray, ...], ...]
    eta: np.ndarray
    between: Callable[[], None] | None = None
    lengths: tuple[tuple[np.ndarray, ...], ...] | None = None

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
        split = self._by_checkpoint(vectors)
        with ThreadPoolExecutor(_cores()) as pool:
            for t, vector in enumerate(split):
                self._at_checkpoint(t, vector, piece, pool)
                total += piece
        return total

    def _at_checkpoint(
        self, t: int, vector: np.ndarray, out: np.ndarray, pool: ThreadPoolExecutor
    ) -> None:
        """Products of one checkpoint's rows, part by part."""
        start, rows_of_parts = 0, self.parts[t]
        for number, rows in enumerate(rows_of_parts):
            if self.between:
                self.between()
            for coming in rows_of_parts[number + 1 : number + 1 + _AHEAD]:
                _will_need(coming)
            here = out[start : start + len(rows)]
            products(rows, vector, out=here, pool=pool)
            if self.lengths:
                here *= self.lengths[t][number][:, None]
            start += len(rows)

    def rows(self, index: np.ndarray) -> np.ndarray:
        """The atoms (len(index), dim) float32 of these samples."""
        scale = np.repeat(np.sqrt(self.eta).astype(np.float32), self.parts[0][0].shape[1])
        return self.stored_rows(index).astype(np.float32) * scale

    def stored_rows(self, index: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """These samples' rows (len(index), dim), checkpoints side by side, written to `out`.

        Unit rows float16 as the store has them; float32 where each has a length of its own.
        """
        if self.lengths is None:
            return self._unit_rows(index, out)
        found = self._unit_rows(index)
        own = np.stack([np.concatenate(parts)[index] for parts in self.lengths], axis=1)
        wide = np.empty(found.shape, np.float32) if out is None else out
        np.multiply(
            found.reshape(*own.shape, -1),
            own[:, :, None].astype(np.float32),
            out=wide.reshape(*own.shape, -1),
        )
        return wide

    def _unit_rows(self, index: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        width = self.parts[0][0].shape[1]
        copy = _copier(len(index) * self.dim)
        out = np.empty((len(index), self.dim), np.float16) if out is None else out
        bits = out.view(np.uint16)
        starts = np.cumsum([0] + [len(rows) for rows in self.parts[0]])
        owner = np.searchsorted(starts, index, side="right") - 1

        def fetch(begin: int, end: int) -> None:
            for t, rows_of_parts in enumerate(self.parts):
                columns = bits[:, t * width : (t + 1) * width]
                for part in np.unique(owner[begin:end]):
                    mine = begin + np.flatnonzero(owner[begin:end] == part)
                    stored = rows_of_parts[part].view(np.uint16)
                    copy(stored, index[mine] - starts[part], columns, mine)

        in_threads(fetch, len(index), at_once=_ROWS_FETCHED)
        return out

    def _by_checkpoint(self, vectors: np.ndarray) -> list[np.ndarray]:
        """Split trajectories (n, dim) into one (n, width) per checkpoint, times sqrt(eta)."""
        pieces = np.split(np.asarray(vectors, np.float64), len(self.parts), axis=1)
        return [np.sqrt(eta) * piece for eta, piece in zip(self.eta, pieces, strict=True)]


def open_trajectories(
    store: Store, factors: Mapping[str, float] | None = None, *, raw: bool = False
) -> Trajectories:
    """The trajectories of a store's samples, its checkpoints weighed anew by `factors`.

    No gradient is read yet. With `raw` every row has the length its gradient had, all divided by
    one number that makes the mean squared length of a trajectory 1, so that a ridge means the same.
    """
    parts = tuple(
        tuple(store.part_rows(p, c)[0] for p in range(len(store.manifest.parts)))
        for c in range(len(store.checkpoints))
    )
    eta = step_weights(store.checkpoints, factors)
    return Trajectories(parts, eta, lengths=_lengths(store, eta) if raw else None)


def _lengths(store: Store, eta: np.ndarray) -> tuple[tuple[np.ndarray, ...], ...]:
    """Norms as factors, by checkpoint and part; 0 for a row that is invalid anywhere."""
    norms = store.norms().astype(np.float64)
    norms[~valid_rows(norms)] = 0.0
    norms /= np.sqrt(max((norms**2 @ eta)[norms.any(axis=1)].mean(), 1e-300))
    edges = np.cumsum([part.rows for part in store.manifest.parts])[:-1]
    return tuple(tuple(np.split(column.astype(np.float32), edges)) for column in norms.T)


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


def open_task(
    store: Store, task: str, factors: Mapping[str, float] | None = None, *, raw: bool = False
) -> TaskTrajectories:
    """Read a task's examples, the checkpoints weighed anew by `factors`; `raw` as for samples.

    Raises:
        TaskError: the store has no such task, or no example of it has a usable gradient.
    """
    names = store.examples(task)["subtask"].to_list()
    eta = step_weights(store.checkpoints, factors)
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
    if raw:
        own = norms[valid].astype(np.float64)
        own /= np.sqrt((own**2 @ eta).mean())
        rows *= np.repeat(own, rows.shape[1] // len(eta), axis=1)
    kept = [name for name, ok in zip(names, valid, strict=True) if ok]
    subtasks = tuple(dict.fromkeys(kept))
    subtask = np.array([subtasks.index(name) for name in kept])
    return TaskTrajectories(rows, subtask, subtasks, int((~valid).sum()))


def valid_rows(norms: np.ndarray) -> np.ndarray:
    """(n,) bool from norms (n, n_checkpoints): finite and positive at every checkpoint."""
    return np.all(np.isfinite(norms) & (norms > 0), axis=1)
