"""The chosen samples with the best weights they can have: what joining or leaving would change.

Every method's choice is looked at in this way, also one whose samples all count the same: what is
asked is what the chosen samples can do together. For GTP these are the run's own weights.
"""

from dataclasses import dataclass, replace

import numpy as np

from gtp_core.atoms import Problem
from gtp_core.errors import BudgetError
from gtp_core.estimate import non_negative_ridge, on_one_thread
from gtp_core.methods import Settings
from gtp_core.pursuit import Selection

MOST_WORK = 2e12  # multiplications that weighing, or looking at the pool, may take
LEAST_RIDGE = 1e-6  # of the mean squared length of a chosen sample: what ridge 0 stands for here
_SPAN = 1e-6  # of a unit sample: directions of the span that are no more than rounding
_SLACK = 1e-9  # of the largest pull: what counts as zero
_COLUMNS = 4096  # numbers of every row that are multiplied at a time


@dataclass(frozen=True)
class Fitted:
    """Chosen samples, weighed as well as they can be.

    Attributes:
        support: (m,) their rows in the store, in the order of the selection.
        rows: (m, dim) float32 atoms.
        gram: (m, m) float64 inner products.
        counts: (m,) bool: those that are fitted; filled ones are not.
        products: (m, n_targets) inner products with what is matched.
        columns: (n_targets, dim) float64 what is matched: the target, or one per subtask.
        weights: (m, n_targets) the best non-negative weights at this ridge.
        residuals: (n_targets, dim) what they leave.
        ridge: at least LEAST_RIDGE of the mean squared length.
        scale: the length of all that is matched.
        left: the length of all that is left.
    """

    support: np.ndarray
    rows: np.ndarray
    gram: np.ndarray
    counts: np.ndarray
    products: np.ndarray
    columns: np.ndarray
    weights: np.ndarray
    residuals: np.ndarray
    ridge: float
    scale: float
    left: float

    @property
    def residual(self) -> float:
        """The best weighted residual, relative to what is matched."""
        return self.left / self.scale if self.scale else 1.0

    def relative(self, falls: np.ndarray) -> np.ndarray:
        """Falls of |residual|^2 as falls of the relative residual."""
        after = np.sqrt(np.maximum(self.left**2 - falls, 0.0))
        return (self.left - after) / self.scale if self.scale else np.zeros_like(falls)


def targets(problem: Problem, selection: Selection) -> np.ndarray:
    """What a selection matches: (1, dim) the target, or (n_subtasks, dim) one by one."""
    each = selection.method == "gtp" and selection.settings.get("subtasks") == "each"
    return problem.columns if each and len(problem.columns) > 1 else problem.target[None]


@on_one_thread
def fitted(problem: Problem, selection: Selection) -> Fitted:
    """Weigh the chosen samples as well as they can be at the run's ridge.

    Raises:
        BudgetError: more samples than can be weighed together.
    """
    m, dim = len(selection.support), problem.atoms.dim
    if m * m * (dim + m) > MOST_WORK:
        most = next(k for k in range(m, -1, -1) if k * k * (dim + k) <= MOST_WORK)
        raise BudgetError(
            f"{m:,} samples are chosen; of atoms of {dim:,} numbers about {most:,} can be weighed "
            "one against the other. Take a smaller budget to see why."
        )
    rows = problem.atoms.rows(selection.support)
    counts = np.arange(len(rows)) < len(rows) - selection.n_filled
    ridge = float(selection.settings.get("ridge", Settings.ridge))
    return fit(selection.support, rows, counts, targets(problem, selection), ridge)


def fit(
    support: np.ndarray, rows: np.ndarray, counts: np.ndarray, columns: np.ndarray, ridge: float
) -> Fitted:
    """The same for any samples (m, dim); those that do not count keep the weight 0."""
    gram = inner(rows, rows)
    lengths = np.diag(gram)[counts]
    least = LEAST_RIDGE * max(float(lengths.mean()) if len(lengths) else 1.0, 1e-300)
    penalty = max(ridge, least)
    products = inner(rows, columns)
    weights = _weights(gram, products, counts, penalty)
    residuals = columns - combined(rows, weights)
    return Fitted(
        support=support,
        rows=rows,
        gram=gram,
        counts=counts,
        products=products,
        columns=columns,
        weights=weights,
        residuals=residuals,
        ridge=penalty,
        scale=float(np.linalg.norm(columns)),
        left=float(np.linalg.norm(residuals)),
    )


def without(found: Fitted, gone: np.ndarray) -> Fitted:
    """The chosen samples without those of a mask (m,), the others weighed anew."""
    stay = ~gone
    rows, counts = found.rows[stay], found.counts[stay]
    gram, products = found.gram[np.ix_(stay, stay)], found.products[stay]
    weights = _weights(gram, products, counts, found.ridge)
    residuals = found.columns - combined(rows, weights)
    return replace(
        found,
        support=found.support[stay],
        rows=rows,
        gram=gram,
        counts=counts,
        products=products,
        weights=weights,
        residuals=residuals,
        left=float(np.linalg.norm(residuals)),
    )


def _weights(
    gram: np.ndarray, products: np.ndarray, counts: np.ndarray, penalty: float
) -> np.ndarray:
    """The best weights (m, n_targets) from inner products; 0 where a sample does not count."""
    weights, some = np.zeros_like(products), gram[np.ix_(counts, counts)]
    for column, product in enumerate(products[counts].T):
        weights[counts, column] = non_negative_ridge(some, product, penalty)
    return weights


def inner(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """left @ right.T (m, k) float64, some columns at a time: no whole float64 copy is made."""
    total = np.zeros((len(left), len(right)))
    for begin in range(0, left.shape[1], _COLUMNS):
        some = slice(begin, begin + _COLUMNS)
        total += left[:, some].astype(np.float64) @ right[:, some].astype(np.float64).T
    return total


def combined(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """weights.T @ rows (n_targets, dim) float64, some columns at a time."""
    total = np.zeros((weights.shape[1], rows.shape[1]))
    for begin in range(0, rows.shape[1], _COLUMNS):
        some = slice(begin, begin + _COLUMNS)
        total[:, some] = weights.T @ rows[:, some].astype(np.float64)
    return total


@dataclass(frozen=True)
class Tableau:
    """Ready to tell what joining and leaving change, for one target.

    Attributes:
        matrix, sign, start: as `pivoting` takes them, over the samples that count.
        lift: (m, m): `products @ lift.T` are the effects of a joining sample.
        slack: what counts as zero.
    """

    matrix: np.ndarray
    sign: np.ndarray
    start: np.ndarray
    lift: np.ndarray
    slack: float


def tableau(found: Fitted, column: int) -> Tableau:
    """The tableau of the solution for one target."""
    from scipy.linalg import cho_factor, cho_solve

    gram = found.gram[np.ix_(found.counts, found.counts)] + found.ridge * np.eye(found.counts.sum())
    weights = found.weights[found.counts, column]
    product = found.products[found.counts, column]
    inside = weights > 0
    m, out = len(weights), ~inside
    matrix, lift = np.zeros((m, m)), np.eye(m)
    start = weights.copy()
    if inside.any():
        block = np.ix_(inside, inside)
        inverse = cho_solve(cho_factor(gram[block], lower=True), np.eye(int(inside.sum())))
        across = gram[np.ix_(out, inside)]
        matrix[block] = inverse
        matrix[np.ix_(inside, out)] = -inverse @ across.T
        matrix[np.ix_(out, inside)] = across @ inverse
        matrix[np.ix_(out, out)] = gram[np.ix_(out, out)] - across @ inverse @ across.T
        lift[block] = inverse
        lift[np.ix_(out, inside)] = -across @ inverse
        start[out] = across @ weights[inside] - product[out]
    else:
        matrix[:], start[:] = gram, -product
    slack = _SLACK * max(float(np.abs(product).max(initial=0)), 1e-300)
    return Tableau(matrix, np.where(inside, -1.0, 1.0), start, lift, slack)


@dataclass(frozen=True)
class Span:
    """What the chosen samples span.

    Attributes:
        basis: (rank, m): `products @ basis.T` are coordinates in the span.
        within: (m,) 1 for each that the others do not wholly cover, less for the rest.
        inverse: (m,) diagonal of the pseudo-inverse of their cosines.
    """

    basis: np.ndarray
    within: np.ndarray
    inverse: np.ndarray

    @property
    def rank(self) -> int:
        """Directions that the chosen samples tell apart."""
        return len(self.basis)

    def by_others(self) -> np.ndarray:
        """(m,) share of each chosen sample's squared length in the span of the other chosen."""
        alone = np.where(self.within > 1 - _SPAN, 1 / np.maximum(self.inverse, 1e-300), 0.0)
        return np.clip(1 - alone, 0.0, 1.0)


@on_one_thread
def span(gram: np.ndarray) -> Span:
    """The span of samples with these inner products; nearly equal ones count once."""
    if not len(gram):
        return Span(np.empty((0, 0)), np.empty(0), np.empty(0))
    scale = 1 / np.sqrt(np.maximum(np.diag(gram), 1e-300))  # raw gradients differ in length
    values, vectors = np.linalg.eigh(gram * scale[:, None] * scale)
    kept = values > _SPAN
    values, vectors = values[kept], vectors[:, kept]
    basis = (vectors / np.sqrt(values)).T
    return Span(basis * scale, (vectors**2).sum(axis=1), (basis**2).sum(axis=0))
