"""Pose a problem: which atoms, which target, in which geometry.

Pursuit asks atoms only two things, `strongest(residual, count)` and `rows(index)`, so the same
algorithm runs on an array in memory, on memory-mapped shards and elsewhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol

import numpy as np

from gtp_core.catalog import Catalog
from gtp_core.errors import TaskError
from gtp_core.trajectories import TaskTrajectories, Trajectories, open_task, open_trajectories

CommonDirection = Literal["kept", "removed"]


class Atoms(Protocol):
    """What pursuit asks of its matrix (n_samples, dim)."""

    @property
    def n_samples(self) -> int:
        """Rows, candidates or not."""
        ...

    @property
    def dim(self) -> int:
        """Length of an atom."""
        ...

    @property
    def candidates(self) -> np.ndarray:
        """(n_samples,) bool: the rows that may be chosen."""
        ...

    def products(self, vectors: np.ndarray) -> np.ndarray:
        """<atom_i, vector_r>: (n_samples, n_vectors) float32."""
        ...

    def strongest(self, residual: np.ndarray, count: int) -> np.ndarray:
        """The at most `count` candidates with the largest positive proxy, strongest first."""
        ...

    def rows(self, index: np.ndarray) -> np.ndarray:
        """These atoms, (len(index), dim) float32."""
        ...


@dataclass(frozen=True)
class ArrayAtoms:
    """Atoms in memory, (n_samples, dim) float32 or float64."""

    matrix: np.ndarray
    candidates: np.ndarray

    @property
    def n_samples(self) -> int:
        return len(self.matrix)

    @property
    def dim(self) -> int:
        return self.matrix.shape[1]

    def products(self, vectors: np.ndarray) -> np.ndarray:
        # Row by row, so that equal atoms get equal proxies: a matrix product may not give that.
        return np.stack([np.einsum("ij,j->i", self.matrix, vector) for vector in vectors], axis=1)

    def strongest(self, residual: np.ndarray, count: int) -> np.ndarray:
        return strongest(self.products(residual[None])[:, 0], self.candidates, count)

    def rows(self, index: np.ndarray) -> np.ndarray:
        return self.matrix[index]


@dataclass(frozen=True)
class StoredAtoms:
    """A store's trajectories, with the common direction kept or removed.

    Removed means u - <u, m> m per checkpoint, m the unit mean row of the pool. The atoms are never
    rewritten: <u - <u, m> m, r> = <u, r - <m, r> m>, so it is the other vector that is projected.

    Attributes:
        trajectories: the atoms as stored.
        candidates: (n_samples,) bool.
        direction: (n_checkpoints, width) unit directions that are removed, or None.
    """

    trajectories: Trajectories
    candidates: np.ndarray
    direction: np.ndarray | None = None

    @property
    def n_samples(self) -> int:
        return self.trajectories.n_samples

    @property
    def dim(self) -> int:
        return self.trajectories.dim

    def products(self, vectors: np.ndarray) -> np.ndarray:
        return self.trajectories.products(remove(vectors, self.direction))

    def strongest(self, residual: np.ndarray, count: int) -> np.ndarray:
        return strongest(self.products(residual[None])[:, 0], self.candidates, count)

    def rows(self, index: np.ndarray) -> np.ndarray:
        return remove(self.trajectories.rows(index), self.direction).astype(np.float32)


def remove(vectors: np.ndarray, direction: np.ndarray | None) -> np.ndarray:
    """Take a unit direction (n_checkpoints, width) out of trajectories (n, dim), per checkpoint."""
    if direction is None or len(vectors) == 0:
        return vectors
    pieces = np.asarray(vectors, np.float64).reshape(len(vectors), *direction.shape)
    along = np.einsum("ntd,td->nt", pieces, direction)
    return (pieces - along[:, :, None] * direction).reshape(len(vectors), -1)


def strongest(
    scores: np.ndarray, candidates: np.ndarray, count: int, *, positive: bool = True
) -> np.ndarray:
    """Indices of the `count` largest scores of candidates, in order; ties to the lower index.

    With `positive`, only scores above zero count, so fewer may come back.
    """
    usable = candidates & np.isfinite(scores)
    if positive:
        usable &= scores > 0
    count = min(count, int(usable.sum()))
    if count == 0:
        return np.empty(0, np.int64)
    masked = np.where(usable, scores, -np.inf)
    threshold = np.partition(masked, len(masked) - count)[len(masked) - count]
    above = np.flatnonzero(masked > threshold)
    level = np.flatnonzero(masked == threshold)[: count - len(above)]
    index = np.concatenate([above, level])
    return index[np.lexsort((index, -masked[index]))]


@dataclass(frozen=True)
class Split:
    """Two disjoint parts of a task's examples.

    Attributes:
        fit: (dim,) target of one part, in the problem's geometry.
        rest: (dim,) target of the other.
        subtasks: (n_subtasks, dim) targets of the first part as LESS has them, for top-k.
    """

    fit: np.ndarray
    rest: np.ndarray
    subtasks: np.ndarray


@dataclass(frozen=True)
class Problem:
    """What a method is asked to solve.

    Attributes:
        atoms: the pool, in the problem's geometry.
        target: (dim,) float64, the mean of the subtasks' targets, in the same geometry.
        less_atoms: the pool as LESS compares it: nothing removed.
        subtasks: (n_subtasks, dim) targets as LESS compares them.
        pinned: indices that must be chosen, ascending.
        splits: parts of the validation examples, for the held-out match.
        tokens: (n_samples,) tokens per sample, for budgets in tokens.
        sources: (n_samples,) codes of the sources, for stratified draws.
        n_examples: validation examples with a usable gradient.
        loaded_influence: (n_samples,) LESS's influence where the catalog has it already.
        settings: everything that was used to pose it, for the receipt.
    """

    atoms: Atoms
    target: np.ndarray
    less_atoms: Atoms
    subtasks: np.ndarray
    pinned: np.ndarray
    splits: tuple[Split, ...] = ()
    tokens: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    sources: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    n_examples: int = 0
    loaded_influence: np.ndarray | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def influence(self) -> np.ndarray:
        """LESS's influence (n_samples,): the best subtask's, nothing removed."""
        if self.loaded_influence is not None:
            return self.loaded_influence
        return self.less_atoms.products(self.subtasks).max(axis=1)

    @cached_property
    def parts(self) -> "tuple[tuple[Problem, np.ndarray], ...]":
        """One problem per split, fitted on one part, and the target (dim,) of the other."""
        return tuple((self._part(split), split.rest) for split in self.splits)

    def _part(self, split: Split) -> "Problem":
        return Problem(
            atoms=self.atoms,
            target=split.fit,
            less_atoms=self.less_atoms,
            subtasks=split.subtasks,
            pinned=self.pinned,
            tokens=self.tokens,
            sources=self.sources,
            settings=self.settings,
        )


def pose_array(matrix: np.ndarray, target: np.ndarray, *, pinned: Sequence[int] = ()) -> Problem:
    """A problem from plain arrays: atoms (n_samples, dim), target (dim,). Rows not finite sit out.

    Example:
        >>> import numpy as np
        >>> problem = pose_array(np.eye(3), np.array([2.0, 0.0, 1.0]))
        >>> problem.atoms.strongest(problem.target, 2).tolist()
        [0, 2]
    """
    matrix = np.asarray(matrix)
    finite = np.isfinite(matrix).all(axis=1)
    usable = np.ascontiguousarray(np.where(finite[:, None], matrix, 0))
    atoms = ArrayAtoms(usable, finite & matrix.any(axis=1))
    target = np.asarray(target, np.float64)
    n_samples = len(matrix)
    return Problem(
        atoms=atoms,
        target=target,
        less_atoms=atoms,
        subtasks=target[None],
        pinned=np.array(sorted(pinned), dtype=np.int64),
        tokens=np.ones(n_samples, np.int64),
        sources=np.zeros(n_samples, np.int64),
    )


def pose(
    catalog: Catalog,
    task: str,
    *,
    common_direction: CommonDirection = "removed",
    where: str | None = None,
    pins: Sequence[str] = (),
    bans: Sequence[str] = (),
    n_splits: int = 5,
    seed: int = 0,
) -> Problem:
    """Pose a store's pool against a task.

    Args:
        catalog: an open catalog.
        task: name of the task.
        common_direction: whether the mean direction of the pool stays in atoms and target.
        where: SQL condition on the table `samples`; only rows that meet it may be chosen.
        pins: sample ids that must be chosen.
        bans: sample ids that must not be.
        n_splits: how often the validation examples are halved for the held-out match.
        seed: of the halving.

    Raises:
        TaskError: no such task, or nothing to aim at.
        CatalogError: unknown ids, or a condition DuckDB refuses.
    """
    _check_posing(common_direction, n_splits, seed)
    examples = open_task(catalog.store, task)
    trajectories = open_trajectories(catalog.store)
    direction = catalog.common_direction() if common_direction == "removed" else None
    candidates, pinned = _candidates(catalog, where, pins, bans)
    table = catalog.query("SELECT n_tokens, source FROM samples ORDER BY row")
    target = _target(examples.rows, examples, direction)
    if not target.any():
        raise TaskError(f"the target of task {task!r} is zero; nothing can match it.")
    return Problem(
        atoms=StoredAtoms(trajectories, candidates, direction),
        target=target,
        less_atoms=StoredAtoms(trajectories, candidates),
        subtasks=examples.targets(),
        pinned=pinned,
        splits=_splits(examples, direction, n_splits, seed),
        tokens=table["n_tokens"].to_numpy(),
        sources=table["source"].rank("dense").to_numpy().astype(np.int64),
        n_examples=len(examples.rows),
        loaded_influence=np.nan_to_num(catalog.influence(task), nan=0.0),
        settings={
            "task": task,
            "subtasks": "mean",
            "common_direction": common_direction,
            "where": where,
            "pins": sorted(set(pins)),
            "bans": sorted(set(bans)),
            "n_splits": n_splits,
            "split_seed": seed,
        },
    )


def _check_posing(common_direction: str, n_splits: int, seed: int) -> None:
    if common_direction not in ("kept", "removed"):
        raise TaskError(
            f"common_direction is {common_direction!r}; it must be 'kept' or 'removed'."
        )
    for name, value in (("n_splits", n_splits), ("seed", seed)):
        if value < 0:
            raise TaskError(f"{name}={value}; it must be a whole number of at least 0.")


def _candidates(
    catalog: Catalog, where: str | None, pins: Sequence[str], bans: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Who may be chosen (n_samples,) bool, and who must be."""
    valid = catalog.valid()
    candidates = valid.copy()
    if where:
        mask = np.zeros(catalog.store.n_samples, bool)
        mask[catalog.rows_where(where)] = True
        candidates &= mask
    candidates[catalog.rows_of(bans)] = False
    pinned = np.sort(catalog.rows_of(list(dict.fromkeys(pins))))
    both = sorted(set(pins) & set(bans))
    if both:
        raise TaskError(f"sample {both[0]!r} is both pinned and banned. Remove it from one list.")
    if not valid[pinned].all():
        bad = catalog.sample_ids()[int(pinned[~valid[pinned]][0])]
        raise TaskError(f"pinned sample {bad!r} has no usable gradient. Remove the pin.")
    candidates[pinned] = True
    if not candidates.any():
        raise TaskError(
            "no sample may be chosen: every one is invalid, banned or outside the filter. "
            "Loosen the filter or the bans."
        )
    return candidates, pinned


def _target(
    rows: np.ndarray, examples: TaskTrajectories, direction: np.ndarray | None
) -> np.ndarray:
    """Mean of the subtasks' mean rows (dim,), in the problem's geometry."""
    names = np.unique(examples.subtask)
    means = np.stack([rows[examples.subtask == s].mean(axis=0) for s in names])
    return remove(means.mean(axis=0, keepdims=True), direction)[0]


def _splits(
    examples: TaskTrajectories, direction: np.ndarray | None, n_splits: int, seed: int
) -> tuple[Split, ...]:
    """Halve the examples `n_splits` times, stratified by subtask; both halves fit in turn."""
    if len(examples.rows) < 2:
        return ()
    found = []
    for number in range(n_splits):
        half = _half(examples.subtask, np.random.default_rng([seed, number]))
        pieces = [_piece(examples, mask) for mask in (half, ~half)]
        targets = [_target(piece.rows, piece, direction) for piece in pieces]
        found.append(Split(targets[0], targets[1], pieces[0].targets()))
        found.append(Split(targets[1], targets[0], pieces[1].targets()))
    return tuple(found)


def _half(subtask: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """(n_examples,) bool with half of every subtask; odd ones out go to the smaller side."""
    half = np.zeros(len(subtask), bool)
    for s in np.unique(subtask):
        members = generator.permutation(np.flatnonzero(subtask == s))
        extra = len(members) % 2 and half.sum() < (~half[subtask < s]).sum()
        half[members[: len(members) // 2 + int(extra)]] = True
    if not half.any():
        half[np.flatnonzero(subtask == subtask[0])[:1]] = True
    return half


def _piece(examples: TaskTrajectories, mask: np.ndarray) -> TaskTrajectories:
    codes, subtask = np.unique(examples.subtask[mask], return_inverse=True)
    names = tuple(examples.subtasks[c] for c in codes)
    return TaskTrajectories(examples.rows[mask], subtask, names, 0)
