"""Methods that take one sample at a time and refit every weight after each."""

from collections.abc import Callable

import numpy as np

from gtp_core.atoms import Problem, strongest
from gtp_core.errors import BudgetError, CancelledError, MethodError
from gtp_core.estimate import non_negative_ridge, on_one_thread
from gtp_core.methods.register import OnRound, Settings, finish, method
from gtp_core.methods.steps import filled_up, largest_first, open_to
from gtp_core.pursuit import Round, Selection, Stop

MOST = 5_000  # samples refitted together: 200 MB of inner products
_TINY_WEIGHT = 1e-9  # relative to the largest weight: what counts as zero
_NOISE = 1e-7  # relative to atom and target: a proxy below it is rounding
_JITTER = 1e-10  # on the diagonal when ridge is 0, relative to its mean: pins may be equal
_PICKS = 4  # per sample of the budget; a weight that falls to zero frees its place

Refit = Callable[[np.ndarray, np.ndarray, float, np.ndarray], np.ndarray]


@method("omp", passes="1 per sample")
def omp(
    problem: Problem,
    count: int,
    settings: Settings,
    on_round: OnRound | None,
) -> Selection:
    """Take one sample at a time and refit all weights exactly (orthogonal matching pursuit).

    Each time the sample with the largest positive proxy enters (Pati, Rezaiifar, Krishnaprasad
    1993), then non-negative ridge weights are fitted on all that were taken. One whose weight
    falls to zero leaves and frees its place.
    """
    return _one_by_one(problem, "omp", count, settings, on_round, non_negative_ridge, _PICKS)


@method("grad-match", passes="1 per sample")
def grad_match(
    problem: Problem,
    count: int,
    settings: Settings,
    on_round: OnRound | None,
) -> Selection:
    """Take one sample at a time, refit, drop those of negative weight (GRAD-MATCH).

    The solver of GRAD-MATCH (Killamsetty et al. 2021), with positive correlations; `ridge` is its
    lambda. It differs from `omp` in the refit: ridge weights are fitted without a sign, and while
    some are negative the most negative one is dropped and does not return within that refit. So
    the weights need not be the best non-negative ones; and there are as many picks as the budget
    and no more, so that what left is not made up for. (On the demo, 200 samples for tidy-data:
    the same choice at ridge 1, 194 samples against 200 at ridge 0.) The next sample is the
    article's, by the gradient of the regularised error, which is zero on the support. The
    published code takes the plain correlation, which a large lambda leaves largest on the support,
    and ends there.
    """
    return _one_by_one(problem, "grad-match", count, settings, on_round, drop_negatives, 1)


def drop_negatives(
    gram: np.ndarray, product: np.ndarray, ridge: float, start: np.ndarray
) -> np.ndarray:
    """Ridge weights (m,), the most negative one set to zero for good until none is left."""
    from scipy.linalg import cho_factor, cho_solve

    penalty = ridge or _JITTER * max(float(np.trace(gram)) / max(len(gram), 1), 1e-300)
    matrix = gram + penalty * np.eye(len(gram))
    weights, kept = np.zeros(len(gram)), np.arange(len(gram))
    while len(kept):
        fitted = cho_solve(cho_factor(matrix[np.ix_(kept, kept)]), product[kept])
        if fitted.min() >= 0:
            weights[kept] = fitted
            break
        kept = np.delete(kept, fitted.argmin())
    return weights


@on_one_thread
def _one_by_one(
    problem: Problem,
    name: str,
    count: int,
    settings: Settings,
    on_round: OnRound | None,
    refit: Refit,
    picks: int,
) -> Selection:
    """Let the strongest enter until the budget is used up or nothing helps; one on a round."""
    if count > MOST:
        raise BudgetError(
            f"budget={count:,} samples; {name} refits up to {MOST:,} together. "
            "Take a smaller budget, or top-k."
        )
    if settings.subtasks == "each":
        raise MethodError(
            f"subtasks=each; {name} matches the mean of the subtasks. Take subtasks=mean, or gtp."
        )
    fit = _Fit(problem, settings.ridge, refit)
    rounds, stop = _rounds(fit, count, picks * count, settings.tolerance, on_round)
    support, weights = largest_first(fit.support, fit.weights)
    filled, stop = filled_up(problem, support, count, settings.fill, stop)
    return finish(
        problem,
        name,
        count,
        np.concatenate([support, filled]),
        np.concatenate([weights, np.zeros(len(filled))]),
        n_filled=len(filled),
        rounds=tuple(rounds),
        pruned=np.setdiff1d(fit.entered, np.concatenate([support, filled])),
        stop=stop,
    )


def _rounds(
    fit: "_Fit", count: int, most: int, tolerance: float, on_round: OnRound | None
) -> tuple[list[Round], Stop]:
    """At most so many rounds, and why there are no more; cancelled, what was taken is kept."""
    rounds = list[Round]()
    stop = fit.stop(tolerance)
    while stop is None and len(fit.support) < count and len(rounds) < most:
        try:
            done = fit.enter()
        except CancelledError:
            if len(fit.support) == 0:
                raise
            return rounds, Stop.CANCELLED
        if done is None:
            return rounds, Stop.EXHAUSTED
        rounds.append(done)
        stop = fit.stop(tolerance)
        if on_round and on_round(done) and stop is None:
            stop = Stop.CANCELLED
    return rounds, stop or Stop.ROUNDS


class _Fit:
    """The samples taken so far, their weights, and what these leave of the target.

    Attributes:
        index: (m,) every sample that was ever looked at, in that order.
        entered: those of them that were ever taken, pinned ones aside.
        place: positions in `index` of the support; weights: (len(place),).
        residual: (dim,) float64.
    """

    def __init__(self, problem: Problem, ridge: float, refit: Refit) -> None:
        self._problem, self._ridge, self._refit = problem, ridge, refit
        self._scale = float(np.linalg.norm(problem.target))
        self.index = self.entered = np.empty(0, np.int64)
        self._rows = np.empty((0, problem.atoms.dim))
        self._gram, self._product = np.empty((0, 0)), np.empty(0)
        self.place, self.weights = np.empty(0, np.int64), np.empty(0)
        self.residual = problem.target
        if len(problem.pinned):
            self._fit(self._meet(problem.pinned))

    @property
    def support(self) -> np.ndarray:
        """Sample indices (len(place),)."""
        return self.index[self.place]

    def stop(self, tolerance: float) -> Stop | None:
        """Whether there is nothing left to do."""
        done = float(np.linalg.norm(self.residual)) <= tolerance * self._scale
        return Stop.TOLERANCE if done or self._scale == 0 else None

    def enter(self) -> Round | None:
        """Let the strongest enter and refit; None if no sample points towards the residual."""
        scores = self._problem.atoms.products(self.residual[None])[:, 0]
        found = strongest(scores, open_to(self._problem, self.support), 1)
        if len(found) == 0:
            return None
        new = self._meet(found)
        row = self._rows[new[0]]
        # Proxies of a store are float32, and what an exact fit leaves is rounding.
        if row @ self.residual <= _NOISE * np.linalg.norm(row) * self._scale:
            return None
        self.entered = np.append(self.entered, found)
        before = self.place
        self._fit(np.concatenate([before, new]))
        kept = len(np.intersect1d(self.place, before))
        residual = float(np.linalg.norm(self.residual)) / self._scale
        return Round(len(self.place) - kept, kept, len(before) - kept, residual)

    def _fit(self, place: np.ndarray) -> None:
        gram, product = self._gram[np.ix_(place, place)], self._product[place]
        start = np.zeros(len(place))
        start[: len(self.weights)] = self.weights
        weights = self._refit(gram, product, self._ridge, start)
        alive = weights > _TINY_WEIGHT * weights.max(initial=0)
        alive |= np.isin(self.index[place], self._problem.pinned)
        self.place, self.weights = place[alive], weights[alive]
        self.residual = self._problem.target - self.weights @ self._rows[self.place]

    def _meet(self, samples: np.ndarray) -> np.ndarray:
        """Positions in `index` of these samples; rows and inner products of new ones are added."""
        new = samples[~np.isin(samples, self.index)]
        size = len(self.index)
        self._grow(size + len(new))
        span = slice(size, size + len(new))
        rows = self._problem.atoms.rows(new)
        self._rows[span], self._product[span] = rows, rows @ self._problem.target
        across = self._rows[: size + len(new)] @ self._rows[span].T
        self._gram[: size + len(new), span] = across
        self._gram[span, : size + len(new)] = across.T
        self.index = np.concatenate([self.index, new])
        order = np.argsort(self.index)
        return order[np.searchsorted(self.index, samples, sorter=order)]

    def _grow(self, size: int) -> None:
        """Room for `size` samples, doubled, so that taking one does not copy all others."""
        old = len(self._product)
        if size > old:
            more = max(size, 2 * old, 64) - old
            self._rows = np.pad(self._rows, ((0, more), (0, 0)))
            self._gram = np.pad(self._gram, (0, more))
            self._product = np.pad(self._product, (0, more))
