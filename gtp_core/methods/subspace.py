"""Pursue in a subspace, end in full dimension."""

import re
from dataclasses import dataclass, replace

import numpy as np

from gtp_core.atoms import Atoms, Block, Problem, strongest
from gtp_core.atoms.block import written
from gtp_core.atoms.subspace import Subspaces
from gtp_core.errors import CancelledError, MethodError
from gtp_core.estimate import on_one_thread
from gtp_core.methods.register import OnRound, Settings
from gtp_core.methods.steps import largest_first
from gtp_core.pursuit import First, Round, Stop, pursue
from gtp_core.store import Progress

NO_SUBSPACE = "none"
IN_SUBSPACES = ("gtp", "gtp-hierarchical")
_GRAMMAR = re.compile(r"pca:([1-9][0-9]{0,5})")
_REACH = 3  # atoms fetched for the end in full dimension, in multiples of the budget
_MOST_BYTES = 3 << 29  # of their rows, unless the budget alone needs more
_TINY_WEIGHT = 1e-9  # relative to the largest: what counts as zero

Pursued = tuple[np.ndarray, np.ndarray, tuple[Round, ...], np.ndarray, Stop]
"""Support, weights, rounds, pruned, and why it ended, as `pursue` gives them."""


def rank_of(subspace: str) -> int | None:
    """The rank of `pca:256`, and None of `none`.

    Raises:
        MethodError: it is neither.
    """
    if subspace == NO_SUBSPACE:
        return None
    found = _GRAMMAR.fullmatch(str(subspace))
    if not found:
        raise MethodError(
            f"subspace={subspace!r}; it must be {NO_SUBSPACE} or pca:RANK. Write one like pca:256."
        )
    return int(found[1])


def prepare_subspace(
    problem: Problem, settings: Settings, progress: Progress | None = None
) -> tuple[float, ...] | None:
    """Fit the subspace that these settings want, unless it is kept already.

    Returns:
        The share of the gradients' energy that it keeps at every checkpoint; None without one.

    Raises:
        MethodError: a rank above the length of a gradient, or atoms that come from no store.
    """
    rank = rank_of(settings.subspace)
    if rank is None:
        return None
    # Only here on one thread: what limits them takes a while to import, and most runs have none.
    fit = on_one_thread(_subspaces(problem, rank).fitted)
    return tuple(fit(rank, progress).energy.tolist())


def _subspaces(problem: Problem, rank: int) -> Subspaces:
    if problem.subspaces is None:
        raise MethodError(
            "subspace is for the unit gradients of a store, and this problem has others. "
            f"Take subspace={NO_SUBSPACE}."
        )
    if rank > problem.subspaces.width:
        raise MethodError(
            f"subspace=pca:{rank}; gradients of this store have {problem.subspaces.width:,} "
            "dimensions, and a subspace no more than that. Lower the rank."
        )
    return problem.subspaces


def pursued(
    problem: Problem, count: int, settings: Settings, on_round: OnRound | None = None
) -> Pursued:
    """Pursue a problem's target with at most `count` samples, in a subspace where one is set.

    In a subspace the choice is made there, at a fraction of the cost. It ends in full dimension:
    weights are fitted anew to the whole atoms, one pass over all of them finds the strongest
    proxies of what is really left, and a pursuit of those and of what was chosen has the last
    word unless the first choice is the better one. So support, weights, residuals and rounds are
    exact for what was chosen; what the subspace decides is which samples are looked at.
    """
    rank = rank_of(settings.subspace)
    if rank is None:
        return _pursue(problem, problem.atoms, problem.target, count, settings, on_round)
    prepare_subspace(problem, settings)
    atoms, target = _subspaces(problem, rank).atoms(rank, problem.target, problem.atoms.candidates)
    support, _, _, pruned, stop = _pursue(problem, atoms, target, count, settings, on_round)
    first = refitted(problem, support, settings.ridge)
    visited = np.union1d(support, pruned)
    if stop is Stop.CANCELLED:
        return _told(problem, first, visited, (), stop)
    try:
        found = problem.atoms.strongest(first.residual, _reach(problem, count))
    except CancelledError:
        return _told(problem, first, visited, (), Stop.CANCELLED)
    met = np.union1d(support, found)
    some = GatheredAtoms.of(problem.atoms, np.union1d(met, problem.pinned))
    places, weights, rounds, left, stop = _pursue(
        problem, some, problem.target, count, settings, on_round
    )
    last = _fit(problem, some, places, weights, settings.ridge)
    visited = np.union1d(visited, some.index[np.concatenate([places, left])])
    if last.objective <= first.objective:
        return _told(problem, last, visited, rounds, stop)
    return _told(problem, first, visited, (), stop)


def _reach(problem: Problem, count: int) -> int:
    """How many more atoms are looked at in full dimension.

    With as many as the budget the objective ended 5 to 14 % above a pursuit in full dimension at
    ridge 0.1 (the demo, 64 directions, budgets 100 and 200), with three times as many 0 to 3 %.
    """
    room = _MOST_BYTES // (2 * problem.atoms.dim) - count
    return max(count, min(_REACH * count, room))


def _pursue(
    problem: Problem,
    atoms: Atoms,
    target: np.ndarray,
    count: int,
    settings: Settings,
    on_round: OnRound | None,
) -> Pursued:
    """The pursuit of the settings; indices are those of `atoms`."""
    pinned: np.ndarray = problem.pinned
    first: First = problem.first
    if isinstance(atoms, GatheredAtoms):
        pinned, first = atoms.places(pinned), atoms.first_of(problem)
    return pursue(
        atoms,
        target,
        count,
        ridge=settings.ridge,
        max_rounds=settings.max_rounds,
        tolerance=settings.tolerance,
        pinned=pinned,
        first=first if problem.caps else None,
        on_round=on_round,
    )


@dataclass(frozen=True)
class Fit:
    """Weights on a support in full dimension, what they leave of the target, and the objective."""

    support: np.ndarray
    weights: np.ndarray
    residual: np.ndarray
    objective: float


def refitted(problem: Problem, support: np.ndarray, ridge: float) -> Fit:
    """The best weights on a support; samples that end without one leave, unless pinned."""
    some = GatheredAtoms.of(problem.atoms, np.sort(support))
    everyone = np.arange(len(support))
    places, weights, *_ = pursue(some, problem.target, len(support), ridge=ridge, pinned=everyone)
    alive = weights > _TINY_WEIGHT * weights.max(initial=0)
    alive |= np.isin(some.index[places], problem.pinned)
    return _fit(problem, some, places[alive], weights[alive], ridge)


def _fit(
    problem: Problem,
    some: "GatheredAtoms",
    places: np.ndarray,
    weights: np.ndarray,
    ridge: float,
) -> Fit:
    residual = problem.target - some.block(places).combine(np.arange(len(places)), weights)
    objective = 0.5 * float(residual @ residual) + 0.5 * ridge * float(weights @ weights)
    return Fit(some.index[places], weights, residual, objective)


def _told(
    problem: Problem, fit: Fit, visited: np.ndarray, rounds: tuple[Round, ...], stop: Stop
) -> Pursued:
    """A fit as a pursuit tells it; without rounds of its own it is one."""
    scale = float(np.linalg.norm(problem.target))
    left = float(np.linalg.norm(fit.residual)) / scale if scale > 0 else 1.0
    support, weights = largest_first(fit.support, fit.weights)
    pruned = np.setdiff1d(visited, support)
    return support, weights, rounds or (Round(len(support), 0, 0, left),), pruned, stop


@dataclass(frozen=True)
class GatheredAtoms:
    """Some of the atoms, in memory as they are stored, under indices of their own.

    Attributes:
        atoms: all of them.
        index: (m,) which of them, ascending: an index here is a position there, and ties go to
            the same sample.
        kept: their rows.
    """

    atoms: Atoms
    index: np.ndarray
    kept: Block

    @classmethod
    def of(cls, atoms: Atoms, index: np.ndarray) -> "GatheredAtoms":
        """Fetch these samples."""
        return cls(atoms, index, atoms.block(index))

    @property
    def n_samples(self) -> int:
        return len(self.index)

    @property
    def dim(self) -> int:
        return self.atoms.dim

    @property
    def candidates(self) -> np.ndarray:
        return self.atoms.candidates[self.index]

    def products(self, vectors: np.ndarray) -> np.ndarray:
        found = [self.kept.products(vector) for vector in vectors]
        return np.stack(found, axis=1).astype(np.float32)

    def strongest(self, residual: np.ndarray, count: int) -> np.ndarray:
        return strongest(self.products(residual[None])[:, 0], self.candidates, count)

    def rows(self, index: np.ndarray) -> np.ndarray:
        return self.atoms.rows(self.index[index])

    def block(self, index: np.ndarray, space: np.ndarray | None = None) -> Block:
        taken = self.kept.taken(index)
        return replace(taken, rows=written(taken.rows, space))

    def places(self, samples: np.ndarray) -> np.ndarray:
        """Where these samples are; all of them are here."""
        return np.searchsorted(self.index, samples)

    def first_of(self, problem: Problem) -> First:
        """`problem.first` in the indices used here."""
        return lambda order, count: self.places(problem.first(self.index[order], count))
