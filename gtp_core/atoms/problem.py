"""What a method is asked to solve: atoms, target, what must and may be chosen."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from gtp_core.atoms.matrix import ArrayAtoms, Atoms
from gtp_core.atoms.subspace import Subspaces
from gtp_core.errors import TaskError

LARGE = 2e9  # numbers in all atoms: beyond, a pass over them costs seconds
_SPLITS_OF_LARGE = 4


@dataclass(frozen=True)
class Split:
    """Two disjoint parts of a task's examples.

    Attributes:
        fit: (dim,) target of one part, in the problem's geometry.
        rest: (dim,) target of the other.
        subtasks: (n_subtasks, dim) targets of the first part as LESS has them, for top-k.
        columns: (n_subtasks, dim) targets whose mean is `fit`, one a subtask.
    """

    fit: np.ndarray
    rest: np.ndarray
    subtasks: np.ndarray
    columns: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))


@dataclass(frozen=True)
class Cap:
    """At most so many samples of every group.

    Attributes:
        groups: (n_samples,) codes; negative means in no group.
        most: samples that may be chosen of one group.
        word: what a group is, for sentences: `source`, `cluster`.
    """

    groups: np.ndarray
    most: int
    word: str


@dataclass(frozen=True)
class Problem:
    """What a method is asked to solve.

    Attributes:
        atoms: the pool, in the problem's geometry.
        target: (dim,) float64, what is to be matched, in the same geometry.
        less_atoms: the pool as LESS compares it: nothing removed.
        subtasks: (n_subtasks, dim) targets as LESS compares them, times their relative weight.
        columns: (n_subtasks, dim) float64 targets whose mean is `target`, one a subtask and in
            its geometry; with fewer than two there is only the target.
        pinned: indices that must be chosen, ascending.
        caps: how many of a group may be chosen; pinned samples count.
        splits: parts of the validation examples, for reliability and the held-out match.
        tokens: (n_samples,) tokens per sample, for budgets in tokens.
        sources: (n_samples,) codes of the sources, for stratified draws.
        n_examples: validation examples with a usable gradient; of the pool's mean, its samples.
        loaded_influence: (n_samples,) LESS's influence where the catalog has it already.
        subspaces: of the store's gradients, for pursuing in one.
        settings: everything that was used to pose it, for the receipt.
    """

    atoms: Atoms
    target: np.ndarray
    less_atoms: Atoms
    subtasks: np.ndarray
    pinned: np.ndarray
    columns: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    caps: tuple[Cap, ...] = ()
    splits: tuple[Split, ...] = ()
    tokens: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    sources: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    n_examples: int = 0
    loaded_influence: np.ndarray | None = None
    subspaces: Subspaces | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def influence(self) -> np.ndarray:
        """LESS's influence (n_samples,): the best subtask's, nothing removed.

        Kept after the first time, but no cached_property: before Python 3.12 its lock belongs to
        all problems, and those that share their passes would wait for each other for ever.
        """
        if self.loaded_influence is not None:
            return self.loaded_influence
        if "_influence" not in self.__dict__:
            self.__dict__["_influence"] = self.less_atoms.products(self.subtasks).max(axis=1)
        kept: np.ndarray = self.__dict__["_influence"]
        return kept

    @cached_property
    def most(self) -> int:
        """The most samples that candidates, pins and caps allow.

        Exact without caps and with one; with several, no selection is larger, but the caps
        together may allow fewer.
        """
        usable = self.atoms.candidates.copy()
        usable[self.pinned] = True
        rows = np.flatnonzero(usable)
        allowed = [int(_within(cap.groups[rows], cap.most).sum()) for cap in self.caps]
        return min(allowed, default=len(rows))

    def first(self, order: np.ndarray, count: int) -> np.ndarray:
        """The pinned samples, then the first of an order that the caps allow, `count` in all.

        Args:
            order: sample indices, best first; pinned ones may be among them.
            count: at most so many.
        """
        rest = order[~np.isin(order, self.pinned)]
        whole = np.concatenate([self.pinned, rest]).astype(np.int64)
        if len(self.caps) > 1:
            return _walk(whole, count, self.caps)
        for cap in self.caps:
            whole = whole[_within(cap.groups[whole], cap.most)]
        return whole[:count]

    @property
    def held_out(self) -> tuple[Split, ...]:
        """The splits that selections are judged by: all, or those of the first two halvings.

        Two where a pass over the pool costs seconds: a method is fitted anew on every split, and
        all ten fits took ten times as long as the selection that they judge.
        """
        large = self.atoms.n_samples * self.atoms.dim > LARGE
        return self.splits[:_SPLITS_OF_LARGE] if large else self.splits

    @cached_property
    def parts(self) -> "tuple[tuple[Problem, np.ndarray], ...]":
        """One problem per split, fitted on one part, and the target (dim,) of the other."""
        return tuple((self._part(split), split.rest) for split in self.held_out)

    def _part(self, split: Split) -> "Problem":
        return Problem(
            atoms=self.atoms,
            target=split.fit,
            less_atoms=self.less_atoms,
            subtasks=split.subtasks,
            columns=split.columns,
            pinned=self.pinned,
            caps=self.caps,
            tokens=self.tokens,
            sources=self.sources,
            subspaces=self.subspaces,
            settings=self.settings,
        )


def _within(groups: np.ndarray, most: int) -> np.ndarray:
    """(len(groups),) bool: the first `most` of every group, and all that are in none."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    start = np.searchsorted(ordered, ordered, side="left")
    allowed = np.empty(len(groups), bool)
    allowed[order] = np.arange(len(groups)) - start < most
    return allowed | (groups < 0)


def _walk(order: np.ndarray, count: int, caps: Sequence[Cap]) -> np.ndarray:
    """The first `count` of an order that no cap refuses; only those taken use up a cap.

    One cap after the other would not do: a sample that the second refuses must not have used up
    a place of the first.
    """
    taken: list[int] = []
    used: list[dict[int, int]] = [{} for _ in caps]
    for row in order.tolist():
        if len(taken) >= count:
            break
        groups = [int(cap.groups[row]) for cap in caps]
        met = list(zip(used, groups, caps, strict=True))
        if all(group < 0 or seen.get(group, 0) < cap.most for seen, group, cap in met):
            taken.append(row)
            for seen, group, _ in met:
                seen[group] = seen.get(group, 0) + 1
    return np.array(taken, dtype=np.int64)


def pose_array(matrix: np.ndarray, target: np.ndarray, *, pinned: Sequence[int] = ()) -> Problem:
    """A problem from plain arrays: atoms (n_samples, dim). Rows that are not finite sit out.

    The target is (dim,), or (n_subtasks, dim) for the mean of several.

    Example:
        >>> import numpy as np
        >>> problem = pose_array(np.eye(3), np.array([2.0, 0.0, 1.0]))
        >>> problem.atoms.strongest(problem.target, 2).tolist()
        [0, 2]

    Raises:
        TaskError: the target is not finite.
    """
    matrix = np.asarray(matrix)
    finite = np.isfinite(matrix).all(axis=1)
    usable = np.ascontiguousarray(np.where(finite[:, None], matrix, 0))
    atoms = ArrayAtoms(usable, finite & matrix.any(axis=1))
    columns = np.atleast_2d(np.asarray(target, np.float64))
    if not np.isfinite(columns).all():
        raise TaskError(
            f"the target holds {columns[~np.isfinite(columns)][0]}; only finite numbers can be "
            "matched. Give it without."
        )
    n_samples = len(matrix)
    return Problem(
        atoms=atoms,
        target=columns.mean(axis=0) if len(columns) > 1 else columns[0],
        less_atoms=atoms,
        subtasks=columns,
        columns=columns,
        pinned=np.array(sorted(pinned), dtype=np.int64),
        tokens=np.ones(n_samples, np.int64),
        sources=np.zeros(n_samples, np.int64),
    )
