"""Compiled loops: how fitted weights change when a sample joins the chosen ones, or leaves them.

The chosen samples' weights solve `H w = p + mu`, `w >= 0`, `mu >= 0`, `w * mu = 0`, with H the
inner products plus the ridge. At that solution a sample is either in (w > 0) or out (mu > 0). Once
another sample joins, a few of them change sides, seldom more than ten: principal pivoting on those
alone (Murty 1974; Judice, Pires 1994), begun at the solution there is, is exact and costs a few
times as many operations as there are chosen samples.
"""

import numba as nb
import numpy as np

_FAST = {"reassoc", "contract", "nsz"}


@nb.njit(nogil=True, cache=True)
def _solved(matrix: np.ndarray, right: np.ndarray) -> None:
    """Gaussian elimination with partial pivoting, in place; the answer is in `right`."""
    m = len(right)
    for k in range(m):
        best = k
        for i in range(k + 1, m):
            if abs(matrix[i, k]) > abs(matrix[best, k]):
                best = i
        if best != k:
            for j in range(m):
                matrix[k, j], matrix[best, j] = matrix[best, j], matrix[k, j]
            right[k], right[best] = right[best], right[k]
        for i in range(k + 1, m):
            factor = matrix[i, k] / matrix[k, k]
            if factor != 0.0:
                for j in range(k, m):
                    matrix[i, j] -= factor * matrix[k, j]
                right[i] -= factor * right[k]
    for k in range(m - 1, -1, -1):
        total = right[k]
        for j in range(k + 1, m):
            total -= matrix[k, j] * right[j]
        right[k] = total / matrix[k, k]


@nb.njit(nogil=True, cache=True, fastmath=_FAST)
def settled(
    tableau: np.ndarray,
    sign: np.ndarray,
    effect: np.ndarray,
    share: float,
    basic: np.ndarray,
    forced: int,
    slack: float,
    found: np.ndarray,
) -> bool:
    """The samples that change sides, and by how much; whether it came to an end.

    Args:
        tableau: (m, m) how what is basic (the weight of those in, mu of those out) answers to what
            is not (mu of those in, the weight of those out).
        sign: (m,) -1 for those in, 1 for those out.
        effect: (m,) how the joining sample's weight answers to what is not basic; that of what is
            basic to the joining sample's is `sign` times this.
        share: one over the curvature of the joining sample's weight; 0 when none joins.
        basic: (m,) in: what is basic before any change of sides; out: after.
        forced: the position of a sample that must be out whatever its mu, or -1.
        slack: what counts as zero.
        found: (m,) out: what is not basic; zero for all that did not change sides.
    """
    m = len(basic)
    before = basic.copy()
    changed = np.zeros(m, nb.boolean)
    if forced >= 0:
        changed[forced] = True
    best, patience = m + 1, 3
    for _ in range(20 + 5 * m):
        _answered(tableau, sign, effect, share, before, changed, basic, found)
        wrong, last = 0, -1
        for i in range(m):
            if i != forced and (found[i] < -slack if changed[i] else basic[i] < -slack):
                wrong += 1
                last = i
        if wrong == 0:
            return True
        if wrong < best:
            best, patience = wrong, 3
        else:
            patience -= 1
        for i in range(m):
            bad = found[i] < -slack if changed[i] else basic[i] < -slack
            if i != forced and bad and (patience >= 0 or i == last):
                changed[i] = not changed[i]
    return False


@nb.njit(nogil=True, cache=True, fastmath=_FAST)
def _answered(
    tableau: np.ndarray,
    sign: np.ndarray,
    effect: np.ndarray,
    share: float,
    before: np.ndarray,
    changed: np.ndarray,
    basic: np.ndarray,
    found: np.ndarray,
) -> None:
    """What is basic and what is not once these have changed sides, whatever the signs."""
    places = np.flatnonzero(changed)
    small = np.empty((len(places), len(places)))
    right = np.empty(len(places))
    for a in range(len(places)):
        i = places[a]
        right[a] = -before[i]
        for b in range(len(places)):
            j = places[b]
            small[a, b] = tableau[i, j] - share * sign[i] * effect[i] * effect[j]
    _solved(small, right)
    pull = 0.0
    for a in range(len(places)):
        pull += share * effect[places[a]] * right[a]
    for i in range(len(before)):
        found[i] = 0.0
        basic[i] = before[i] - sign[i] * effect[i] * pull
    for a in range(len(places)):
        j = places[a]
        found[j] = right[a]
        for i in range(len(before)):
            basic[i] += tableau[i, j] * right[a]
    for a in range(len(places)):
        basic[places[a]] = 0.0


@nb.njit(nogil=True, cache=True, fastmath=_FAST)
def falls(
    tableau: np.ndarray,
    sign: np.ndarray,
    start: np.ndarray,
    products: np.ndarray,
    effects: np.ndarray,
    squares: np.ndarray,
    pulls: np.ndarray,
    penalty: float,
    slack: float,
    out: np.ndarray,
) -> None:
    """By how much |residual|^2 falls when each of these samples joins the chosen ones.

    Args:
        tableau, sign: as for `settled`.
        start: (m,) what is basic at the solution: weights of those in, mu of those out.
        products: (k, m) inner products of each sample with the chosen ones.
        effects: (k, m) as for `settled`.
        squares: (k,) squared lengths; pulls: (k,) inner products with the residual.
        penalty: the ridge; slack: what counts as zero.
        out: (k,) added to; NaN where it came to no end.
    """
    m = len(start)
    found = np.empty(m)
    for i in range(len(pulls)):
        if pulls[i] <= slack:
            continue
        curve = squares[i] + penalty
        for j in range(m):
            if sign[j] < 0:
                curve -= products[i, j] * effects[i, j]
        share = 1.0 / max(curve, penalty)
        basic = start + share * pulls[i] * sign * effects[i]
        if not settled(tableau, sign, effects[i], share, basic, -1, slack, found):
            out[i] = np.nan
            continue
        weight = pulls[i]
        for j in range(m):
            weight -= effects[i, j] * found[j]
        weight *= share
        change = weight * weight * squares[i] - 2.0 * weight * pulls[i]
        out[i] -= change + _change(sign, start, basic, found, products[i], weight, penalty)


@nb.njit(nogil=True, cache=True, fastmath=_FAST)
def rises(
    tableau: np.ndarray,
    sign: np.ndarray,
    start: np.ndarray,
    penalty: float,
    slack: float,
    out: np.ndarray,
) -> None:
    """By how much |residual|^2 rises when each of the chosen samples leaves; added to `out`."""
    m = len(start)
    found, none = np.empty(m), np.zeros(m)
    for i in range(m):
        if sign[i] > 0:
            continue
        basic = start.copy()
        if settled(tableau, sign, none, 0.0, basic, i, slack, found):
            out[i] += _change(sign, start, basic, found, none, 0.0, penalty)
        else:
            out[i] = np.nan


@nb.njit(nogil=True, cache=True, fastmath=_FAST)
def _change(
    sign: np.ndarray,
    start: np.ndarray,
    basic: np.ndarray,
    found: np.ndarray,
    products: np.ndarray,
    weight: float,
    penalty: float,
) -> float:
    """What new weights of the chosen samples add to |residual|^2, the joining one's share apart.

    From H dw = dmu - weight * products, so that nothing costs more than one sweep.
    """
    total = 0.0
    for j in range(len(start)):
        inside = sign[j] < 0
        old_weight, old_mu = (start[j], 0.0) if inside else (0.0, start[j])
        new_weight, new_mu = (basic[j], found[j]) if inside else (found[j], basic[j])
        step, lift = new_weight - old_weight, new_mu - old_mu
        total -= 2.0 * step * (penalty * old_weight - old_mu)
        total += step * (lift + weight * products[j] - penalty * step)
    return total
