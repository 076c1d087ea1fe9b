"""Gradient Trajectory Pursuit in two steps: in every part of the pool, then among the winners."""

from dataclasses import dataclass, replace

import numpy as np

from gtp_core.atoms import ArrayAtoms, Atoms, Block, Problem, StoredAtoms, strongest
from gtp_core.atoms.sharing import consecutive
from gtp_core.errors import CancelledError
from gtp_core.methods.pursuits import gtp
from gtp_core.methods.register import OnRound, Settings, equal_weights, finish, method
from gtp_core.methods.steps import filled_up
from gtp_core.methods.subspace import NO_SUBSPACE
from gtp_core.pursuit import Round, Selection, Stop

PART = 20_000  # candidates


@method("gtp-hierarchical", passes="2 per round")
def gtp_hierarchical(
    problem: Problem,
    count: int,
    settings: Settings,
    on_round: OnRound | None,
) -> Selection:
    """Pursue the target in parts of 20,000 samples, then among their winners (distributed GTP).

    The hierarchical framework of Deng, Li, Li 2024: parts of consecutive rows, as a worker would
    hold them, each choose up to the whole budget; pursuit among all they chose, and the pinned,
    gives the answer. A round in a part reads that part only, so a round in all of them is one
    pass, and a round among the winners is another. With one part this is `gtp`.
    """
    free = problem.atoms.candidates.copy()
    free[problem.pinned] = False
    parts = np.array_split(np.flatnonzero(free), max(1, -(-int(free.sum()) // PART)))
    if len(parts) == 1:
        return replace(gtp(problem, count, settings, on_round), method="gtp-hierarchical")
    inside = replace(settings, fill="influence" if settings.weights == "uniform" else "none")
    heard = _Listener(on_round)
    won = _winners(problem, parts, count, inside, heard)
    met = np.unique(np.concatenate([problem.pinned, *(winner.support for winner in won)]))
    even = settings.weights == "uniform"
    final = _among(problem, met, won, count, settings if even else inside, heard)
    filled, stop = filled_up(problem, final.support, count, settings.fill, final.stop)
    support = np.concatenate([final.support, filled])
    if even and len(filled):
        both = equal_weights(problem, final.method, count, np.sort(support), stop=stop)
        return replace(both, method="gtp-hierarchical", rounds=final.rounds)
    selection = finish(
        problem,
        "gtp-hierarchical",
        count,
        support,
        np.concatenate([final.weights, np.zeros(len(filled))]),
        n_filled=len(filled),
        rounds=final.rounds,
        pruned=np.setdiff1d(met, support),
        stop=stop,
    )
    selection = replace(selection, settings=final.settings)
    if settings.subtasks == "mean":
        return selection
    return replace(selection, residual_weighted=final.residual_weighted)


def _winners(
    problem: Problem,
    parts: list[np.ndarray],
    count: int,
    settings: Settings,
    heard: "_Listener",
) -> list[Selection]:
    """What every part chooses; cancelled, what those chose that were begun."""
    won: list[Selection] = []
    for part in parts:
        try:
            won.append(gtp(_limited(problem, part, problem.pinned[:0]), count, settings, heard))
        except CancelledError:
            if not won:
                raise
            heard.cancelled = True
        heard.cancelled |= won[-1].stop is Stop.CANCELLED
        if heard.cancelled:
            break
    return won


def _among(
    problem: Problem,
    met: np.ndarray,
    won: list[Selection],
    count: int,
    settings: Settings,
    heard: "_Listener",
) -> Selection:
    """What a pursuit among the winners chooses; cancelled, no less than the best part chose."""
    final = None
    if not heard.cancelled:
        try:
            final = gtp(_limited(problem, met, problem.pinned), count, settings, heard)
        except CancelledError:
            heard.cancelled = True
    if final is not None and final.stop is not Stop.CANCELLED:
        return final
    best = _pinned_too(problem, min(won, key=lambda s: s.residual_weighted), count, settings)
    if final is None or best.residual_weighted < final.residual_weighted:
        return replace(best, stop=Stop.CANCELLED)
    return final


def _pinned_too(
    problem: Problem, selection: Selection, count: int, settings: Settings
) -> Selection:
    """A selection of one part, where nothing is pinned, with the pinned; no pass is needed."""
    if len(problem.pinned) == 0:
        return selection
    support = np.sort(problem.first(selection.support, count))
    if settings.weights == "uniform":
        both = equal_weights(problem, selection.method, count, support)
        return replace(both, rounds=selection.rounds)
    fixed = _limited(problem, support[:0], support)
    both = gtp(fixed, len(support), replace(settings, subspace=NO_SUBSPACE), None)
    alive = (both.weights > 0) | np.isin(both.support, problem.pinned)
    return replace(
        both,
        support=both.support[alive],
        weights=both.weights[alive],
        rounds=selection.rounds,
        settings=selection.settings,
    )


@dataclass
class _Listener:
    """Hands rounds on; a cancellation ends the pursuits that follow after their first round."""

    on_round: OnRound | None
    cancelled: bool = False

    def __call__(self, done: Round) -> bool:
        wish = bool(self.on_round(done)) if self.on_round else False
        self.cancelled = self.cancelled or wish
        return self.cancelled


def _limited(problem: Problem, chosen: np.ndarray, pinned: np.ndarray) -> Problem:
    """The same problem, where only these samples may be chosen."""
    candidates = np.zeros(problem.atoms.n_samples, bool)
    candidates[chosen] = True
    return replace(problem, atoms=RestrictedAtoms(problem.atoms, candidates), pinned=pinned)


@dataclass(frozen=True)
class RestrictedAtoms:
    """The same atoms under the same indices, of which only some may be chosen.

    A pass reads the rows from the first to the last of them; products with others are zero.

    Attributes:
        atoms: all of them.
        candidates: (n_samples,) bool.
    """

    atoms: Atoms
    candidates: np.ndarray

    @property
    def n_samples(self) -> int:
        return self.atoms.n_samples

    @property
    def dim(self) -> int:
        return self.atoms.dim

    def products(self, vectors: np.ndarray) -> np.ndarray:
        index = np.flatnonzero(self.candidates)
        if len(index) == 0:
            return np.zeros((self.n_samples, len(vectors)), np.float32)
        begin, end = int(index[0]), int(index[-1]) + 1
        inside = _between(self.atoms, begin, end).products(vectors)
        return np.pad(inside, ((begin, self.n_samples - end), (0, 0)))

    def strongest(self, residual: np.ndarray, count: int) -> np.ndarray:
        return strongest(self.products(residual[None])[:, 0], self.candidates, count)

    def rows(self, index: np.ndarray) -> np.ndarray:
        return self.atoms.rows(index)

    def block(self, index: np.ndarray, space: np.ndarray | None = None) -> Block:
        return self.atoms.block(index, space)


def _between(atoms: Atoms, begin: int, end: int) -> Atoms:
    """A view of consecutive rows, counted from `begin`."""
    candidates = atoms.candidates[begin:end]
    if isinstance(atoms, ArrayAtoms):
        return replace(atoms, matrix=atoms.matrix[begin:end], candidates=candidates)
    if isinstance(atoms, StoredAtoms):
        view = consecutive(atoms.trajectories, begin, end)
        return replace(atoms, trajectories=view, candidates=candidates)
    raise TypeError(f"no view of consecutive rows of {type(atoms).__name__}")
