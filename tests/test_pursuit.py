"""Promises of gtp_core.pursuit: exact estimates, rounds that only improve, and a reason to stop."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar, nnls

from benchmarks.greedy import coherent_pool
from gtp_core.atoms import ArrayAtoms, Cap, pose_array
from gtp_core.estimate import non_negative_ridge
from gtp_core.methods import Settings, select
from gtp_core.pursuit import (
    Round,
    Stop,
    best_multiple,
    hunt,
    pursue,
    relative_residuals,
)


def atoms_of(matrix: np.ndarray) -> ArrayAtoms:
    return ArrayAtoms(matrix, np.ones(len(matrix), bool))


def unit(matrix: np.ndarray) -> np.ndarray:
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


def planted(n: int, dim: int, sparsity: int, seed: int):
    """Gaussian atoms and a target that is a positive combination of `sparsity` of them."""
    generator = np.random.default_rng(seed)
    matrix = unit(generator.standard_normal((n, dim)))
    support = np.sort(generator.choice(n, sparsity, replace=False))
    weights = generator.uniform(0.5, 1.5, sparsity)
    return matrix, weights @ matrix[support], support, weights


def hard(seed: int, n: int = 300, dim: int = 60):
    """Atoms in all directions and a target that a few cannot reach: up to five rounds."""
    generator = np.random.default_rng(seed)
    return unit(generator.standard_normal((n, dim))), generator.standard_normal(dim)


LONG = 30  # a seed of `hard` with which a budget of 10 takes many rounds

# --- what it finds ---------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("n", "dim", "sparsity"), [(40, 30, 1), (200, 64, 4), (500, 128, 10), (2000, 256, 16)]
)
def test_recovers_a_planted_support_exactly(n, dim, sparsity, seed):
    matrix, target, support, weights = planted(n, dim, sparsity, seed)
    found, found_weights, rounds, _, stop = pursue(atoms_of(matrix), target, sparsity)
    order = np.argsort(found)
    assert found[order].tolist() == support.tolist()
    assert np.allclose(found_weights[order], weights, rtol=1e-6)
    assert rounds[-1].residual < 1e-6
    assert stop is Stop.TOLERANCE


class SlowPursuit:
    """The same rules, plainly: growing, then rounds among the atoms met, then exchanges."""

    def __init__(self, matrix, target, budget, ridge):
        self.matrix, self.target, self.budget, self.ridge = matrix, target, budget, ridge
        self.support, self.weights, self.best = [], np.zeros(0), 0.5 * target @ target
        self.met, self.count = [], 2 * budget

    def estimate(self, index):
        if not index:  # nnls of no columns ends the interpreter on some versions of scipy
            return np.zeros(0)
        columns = np.vstack([self.matrix[index].T, np.sqrt(self.ridge) * np.eye(len(index))])
        return nnls(columns, np.concatenate([self.target, np.zeros(len(index))]), maxiter=10000)[0]

    def objective(self, index, w):
        rest = self.target - w @ self.matrix[index].reshape(-1, len(self.target))
        return 0.5 * rest @ rest + 0.5 * self.ridge * w @ w

    def ranked(self, among):
        rest = self.target - self.weights @ self.matrix[self.support].reshape(-1, len(self.target))
        proxies = self.matrix @ rest
        order = sorted(among, key=lambda i: (-proxies[i], i))
        return [i for i in order if proxies[i] > 0 and i not in self.support]

    def fetch(self, count):
        found = self.ranked(range(len(self.matrix)))[:count]
        new = [i for i in found if i not in self.met]
        self.met += new
        return found, len(new)

    def take(self, index, share=1e-4):
        w = self.estimate(index)
        index = [i for i, x in zip(index, w, strict=True) if x > 1e-9 * w.max()]
        w = self.estimate(index)
        if not self.objective(index, w) < self.best * (1 - share):
            return False
        self.support, self.weights, self.best = index, w, self.objective(index, w)
        return True

    def merge(self, entering, share=1e-4):
        merged = sorted({*self.support, *entering})
        w = self.estimate(merged)
        largest = sorted(range(len(merged)), key=lambda i: (-w[i], merged[i]))[: self.budget]
        return self.take(sorted(merged[i] for i in largest), share)

    def round(self):
        entering = self.ranked(self.met)
        count = min(self.count, len(entering))
        while count:
            if self.merge(entering[:count]):
                self.count = count
                return True
            count //= 2
        self.count = 0
        before = len(self.support)
        if not self.exchange():
            return False
        while self.exchange():
            pass
        self.count = before
        return True

    def free(self, index):
        """The lowest objective on some atoms when weights may have any sign, and the weights."""
        rows = self.matrix[index]
        gram = rows @ rows.T + self.ridge * np.eye(len(index))
        w = np.linalg.solve(gram, rows @ self.target)
        return self.objective(index, w), w

    def exchange(self):
        if len(self.support) < self.budget:
            return False
        joins = [(self.best - self.free([*self.support, j])[0], j) for j in self.ranked(self.met)]
        found = []
        for win, j in sorted(joins, key=lambda pair: (-pair[0], pair[1]))[:64]:
            joined, w = self.free([*self.support, j])
            costs = [
                self.free([*self.support[:i], *self.support[i + 1 :], j])[0] - joined
                if w[i] > 0
                else 0.0
                for i in range(len(self.support))
            ]
            found.append((win - min(costs), j, int(np.argmin(costs))))
        for net, j, i in sorted(found, key=lambda entry: (-entry[0], entry[1]))[:8]:
            swapped = sorted([*self.support[:i], *self.support[i + 1 :], j])
            if net > 1e-4 * self.best and self.take(swapped):
                return True
        return False

    def grow(self):
        step = -(-self.budget // 16)
        while (missing := self.budget - len(self.support)) > 0:
            found, _ = self.fetch(step)
            if not self.merge(found[: min(step, missing)]):
                break
            self.count = step

    def pick(self):
        """One after another, a pass for each."""
        while len(self.support) < self.budget:
            found, _ = self.fetch(1)
            if not self.merge(found, 1e-6):
                break
        self.count = 1

    def rounds(self, reaches):
        for i, reach in enumerate(reaches):
            _, new = self.fetch(reach)
            if not new and i:
                return
            self.count = min(2 * self.budget, max(4 * self.count, self.budget // 16, 1))
            before = self.best
            while self.round():
                pass
            if self.best > before * (1 - 1e-3):
                return

    def run(self):
        self.grow()
        self.rounds([4 * self.budget, *[self.budget] * 99])
        if self.budget > 16 and self.ridge < 0.07:  # the atoms are unit
            former = self.best, self.support, self.weights
            self.support, self.weights = [], np.zeros(0)
            self.best = 0.5 * self.target @ self.target
            self.met = []
            self.pick()
            if self.best < former[0]:
                self.rounds([self.budget] * 100)
            if former[0] <= self.best:
                self.best, self.support, self.weights = former


@pytest.mark.parametrize("ridge", [0.003, 0.1, 3.0])
@pytest.mark.parametrize("budget", [1, 3, 10, 20])
@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_a_slow_and_plain_pursuit(seed, budget, ridge):
    matrix, target = hard(seed)
    found, weights, *_ = pursue(atoms_of(matrix), target, budget, ridge=ridge)
    slow = SlowPursuit(matrix, target, budget, ridge)
    slow.run()
    order = np.argsort(found)
    assert found[order].tolist() == slow.support
    assert np.allclose(weights[order], slow.weights, atol=1e-7)


def greedy(matrix, target, budget, ridge):
    """Orthogonal matching pursuit with non-negative ridge weights: one atom at a time."""
    support, weights, residual = [], np.zeros(0), target
    for _ in range(budget):
        proxies = matrix @ residual
        proxies[support] = -1
        if proxies.max() <= 1e-12:
            break
        support.append(int(proxies.argmax()))
        rows = matrix[support]
        weights = non_negative_ridge(rows @ rows.T, rows @ target, ridge)
        residual = target - weights @ rows
    return 0.5 * residual @ residual + 0.5 * ridge * weights @ weights


@pytest.mark.parametrize(
    ("ridge", "seed"), [(0.0, 0), (0.003, 1), (0.01, 1), (0.003, 2), (0.03, 0)]
)
def test_with_little_ridge_it_does_not_end_above_greedy_matching(ridge, seed):
    """Coherent atoms of a few dimensions with noise. By sixteenths four of the five were above."""
    matrix, target = coherent_pool(4000, 256, seed)
    matrix = matrix.astype(np.float64)
    support, weights, *_ = pursue(atoms_of(matrix), target, 75, ridge=ridge)
    residual = target - weights @ matrix[support]
    objective = 0.5 * residual @ residual + 0.5 * ridge * weights @ weights
    assert objective <= greedy(matrix, target, 75, ridge)


@pytest.mark.parametrize("ridge", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("budget", [5, 20, 40])
def test_fits_about_as_well_as_greedy_matching_on_coherent_atoms(budget, ridge):
    generator = np.random.default_rng(5)
    matrix = generator.standard_normal((600, 12)) @ generator.standard_normal((12, 60))
    matrix += 2 * generator.standard_normal((600, 60))
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    target = matrix[:100].mean(0) + 0.02 * generator.standard_normal(60)
    support, weights, *_ = pursue(atoms_of(matrix), target, budget, ridge=ridge)
    residual = target - weights @ matrix[support]
    objective = 0.5 * residual @ residual + 0.5 * ridge * weights @ weights
    whole = 0.5 * target @ target
    assert objective <= greedy(matrix, target, budget, ridge) + 0.02 * whole


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 40),
    dim=st.integers(1, 12),
    budget=st.integers(1, 45),
    copies=st.integers(0, 10),
    ridge=st.sampled_from([0.0, 1e-6, 0.1, 10.0]),
)
def test_any_problem_ends_well(seed, n, dim, budget, copies, ridge):
    """Few dimensions, budgets above the rank, and exact copies: always a sound answer."""
    matrix, target = hard(seed, n, dim)
    matrix = np.vstack([matrix, matrix[np.arange(copies) % n]])
    support, weights, rounds, pruned, _ = pursue(atoms_of(matrix), target, budget, ridge=ridge)
    assert len(support) <= budget
    assert len(set(support.tolist())) == len(support)
    assert np.all(weights > 0)
    assert not set(pruned.tolist()) & set(support.tolist())
    assert np.all(np.diff(weights) <= 1e-11 * weights.max(initial=0))
    residuals = [r.residual for r in rounds]
    if rounds:
        left = np.linalg.norm(target - weights @ matrix[support]) / np.linalg.norm(target)
        assert left == pytest.approx(residuals[-1], abs=1e-9)
    if ridge == 0:
        assert residuals == sorted(residuals, reverse=True)
        assert all(r <= 1 for r in residuals)


def test_the_objective_falls_in_every_round():
    """With a ridge it is the objective that falls; ending after any round shows its value."""
    matrix, target = hard(LONG)
    values = []
    for rounds in range(1, 6):
        support, w, *_ = pursue(atoms_of(matrix), target, 10, ridge=0.02, max_rounds=rounds)
        values.append(0.5 * np.sum((target - w @ matrix[support]) ** 2) + 0.01 * w @ w)
    assert values == sorted(values, reverse=True)
    assert values[-1] < values[0]


def test_rounds_account_for_every_sample_that_came_or_went():
    matrix, target = hard(LONG)
    support, _, rounds, pruned, _ = pursue(atoms_of(matrix), target, 10)
    assert len(rounds) > 2
    size = 0
    for r in rounds:
        assert r.kept + r.left == size
        size = r.kept + r.entered
    assert size == len(support)
    assert (np.diff(pruned) > 0).all()
    assert len(pruned) <= sum(r.left for r in rounds)


# --- awkward problems ------------------------------------------------------------------------


def test_zero_target():
    selection = select(pose_array(np.eye(3), np.zeros(3)), 2)
    assert (len(selection.support), selection.stop) == (0, Stop.TOLERANCE)
    assert (selection.residual_weighted, selection.residual_as_trained) == (1.0, 1.0)


def test_target_that_no_atom_helps():
    matrix = np.abs(np.random.default_rng(0).standard_normal((20, 6)))
    support, weights, rounds, pruned, stop = pursue(atoms_of(matrix), -np.ones(6), 5)
    assert (len(support), len(weights), rounds, len(pruned)) == (0, 0, (), 0)
    assert stop is Stop.EXHAUSTED


def test_duplicate_atoms():
    matrix, target, support, weights = planted(100, 40, 4, 0)
    doubled = np.vstack([matrix, matrix])
    found, found_weights, rounds, *_ = pursue(atoms_of(doubled), target, 8)
    total = np.zeros(100)
    np.add.at(total, found % 100, found_weights)
    assert sorted(np.flatnonzero(total)) == support.tolist()
    assert np.allclose(total[support], weights, rtol=1e-6)
    assert rounds[-1].residual < 1e-6


def test_duplicate_atoms_go_to_the_lower_index():
    matrix = np.array([[0.0, 1], [1, 0], [1, 0], [0, 1]])
    found, *_ = pursue(atoms_of(matrix), np.array([2.0, 1.0]), 1)
    assert found.tolist() == [1]


@pytest.mark.parametrize("ridge", [0.01, 1.0, 100.0])
def test_equal_weights_rank_by_the_lower_index(ridge):
    """Copies have one weight up to rounding, and rounding must not choose among them."""
    matrix, target = hard(5, 40, 20)
    matrix = np.repeat(matrix, 4, axis=0)[np.random.default_rng(0).permutation(160)]
    found, weights, *_ = pursue(atoms_of(matrix), target, 16, ridge=ridge)
    for i, j in zip(range(16), range(1, 16), strict=False):
        assert weights[i] > weights[j] * (1 + 1e-9) or found[i] < found[j]


def test_budget_above_the_rank():
    generator = np.random.default_rng(0)
    matrix, target = unit(generator.standard_normal((200, 6))), generator.standard_normal(6)
    support, _, rounds, _, stop = pursue(atoms_of(matrix), target, 50)
    assert stop is Stop.TOLERANCE
    assert rounds[-1].residual < 1e-6
    assert len(support) < 50


@pytest.mark.parametrize(("sign", "chosen"), [(1, [0]), (-1, [])])
def test_one_sample(sign, chosen):
    support, weights, *_ = pursue(atoms_of(np.array([[3.0, 4.0]])), sign * np.array([6.0, 8]), 1)
    assert support.tolist() == chosen
    assert weights == pytest.approx([2.0] * len(chosen))


def test_pinned_samples_stay_even_without_a_weight():
    matrix = np.vstack([np.eye(4), -np.ones((1, 4))])
    pinned = np.array([3, 4])
    support, weights, *_ = pursue(atoms_of(matrix), np.array([3.0, 2, 1, 0]), 3, pinned=pinned)
    assert set(support.tolist()) == {0, 3, 4}
    assert weights[np.isin(support, pinned)].tolist() == [0.0, 0.0]


def test_candidates_alone_enter():
    matrix, target, support, _ = planted(100, 40, 4, 0)
    allowed = np.ones(100, bool)
    allowed[support[:2]] = False
    found, *_ = pursue(ArrayAtoms(matrix, allowed), target, 10)
    assert len(found)
    assert allowed[found].all()


# --- invariances -----------------------------------------------------------------------------


def test_the_order_of_rows_does_not_matter():
    matrix, target = hard(1)
    order = np.random.default_rng(0).permutation(len(matrix))
    one = pursue(atoms_of(matrix), target, 7, ridge=0.01)
    two = pursue(atoms_of(matrix[order]), target, 7, ridge=0.01)
    assert order[two[0]].tolist() == one[0].tolist()
    assert np.allclose(one[1], two[1])


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1e6, 1e12])
def test_the_length_of_the_target_only_scales_the_weights(scale):
    matrix, target = hard(1)
    one = pursue(atoms_of(matrix), target, 7, ridge=0.01)
    two = pursue(atoms_of(matrix), scale * target, 7, ridge=0.01)
    assert one[0].tolist() == two[0].tolist()
    assert np.allclose(scale * one[1], two[1], rtol=1e-7)
    assert one[4] is two[4]


def test_the_same_input_gives_the_same_bytes():
    matrix, target = hard(2, 400, 50)
    one, two = (pursue(atoms_of(matrix), target, 20, ridge=0.01) for _ in range(2))
    assert one[0].tobytes() == two[0].tobytes()
    assert one[1].tobytes() == two[1].tobytes()
    assert one[2:3] == two[2:3]


def test_read_only_input():
    matrix, target = hard(2)
    before = matrix.copy(), target.copy()
    matrix.flags.writeable = target.flags.writeable = False
    pursue(atoms_of(matrix), target, 5, pinned=np.array([1, 2]))
    assert np.array_equal(matrix, before[0])
    assert np.array_equal(target, before[1])


# --- why it stops ----------------------------------------------------------------------------


def test_every_reason_is_reached_and_is_a_sentence():
    # By name in the tests around this one, and an estimate in those of report.
    reasons = {Stop.RANKED, Stop.EXHAUSTED, Stop.TOLERANCE, Stop.ESTIMATED}
    matrix, target = hard(0)
    reasons.add(pursue(atoms_of(matrix), target, 8, max_rounds=1)[4])
    reasons.add(pursue(atoms_of(matrix), target, 8, on_round=lambda r: True)[4])
    reasons |= {pursue(atoms_of(hard(s)[0]), hard(s)[1], 10)[4] for s in range(20)}
    assert reasons == set(Stop)
    assert all(reason.value.endswith(".") and reason.value[0].isupper() for reason in Stop)


def test_stop_for_rounds():
    matrix, target = hard(LONG)
    *_, rounds, _, stop = pursue(atoms_of(matrix), target, 10, max_rounds=2)
    assert (len(rounds), stop) == (2, Stop.ROUNDS)


def test_stop_at_the_tolerance_asked_for():
    matrix, target = hard(LONG)
    *_, whole, _, _ = pursue(atoms_of(matrix), target, 10)
    *_, rounds, _, stop = pursue(atoms_of(matrix), target, 10, tolerance=whole[1].residual)
    assert (len(rounds), stop) == (2, Stop.TOLERANCE)
    assert rounds == whole[:2]


def test_cancelling_keeps_the_best_round_so_far():
    matrix, target = hard(LONG)
    seen: list[Round] = []

    def second(round_):
        seen.append(round_)
        return len(seen) == 2

    support, weights, rounds, _, stop = pursue(atoms_of(matrix), target, 10, on_round=second)
    assert stop is Stop.CANCELLED
    assert tuple(seen) == rounds
    left = np.linalg.norm(target - weights @ matrix[support]) / np.linalg.norm(target)
    assert left == pytest.approx(rounds[-1].residual)


def test_exhausted_when_what_is_left_points_away():
    support, *_, stop = pursue(atoms_of(np.eye(3)), np.array([1.0, -1.0, 0.0]), 2)
    assert (support.tolist(), stop) == ([0], Stop.EXHAUSTED)


# --- the estimate ----------------------------------------------------------------------------


@settings(max_examples=120, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    m=st.integers(1, 30),
    dim=st.integers(1, 30),
    copies=st.integers(0, 6),
    ridge=st.sampled_from([1e-4, 1e-3, 0.1, 1.0, 100.0]),
    warm=st.booleans(),
)
def test_estimate_meets_the_optimality_conditions_and_is_that_of_nnls(
    seed, m, dim, copies, ridge, warm
):
    rows, target = hard(seed, m, dim)
    rows = np.vstack([rows, rows[np.arange(copies) % m]])
    gram, product = rows @ rows.T, rows @ target
    start = np.random.default_rng(seed).uniform(-1, 1, len(rows)) if warm else None
    w = non_negative_ridge(gram, product, ridge, start)
    gradient = gram @ w + ridge * w - product
    room = 1e-8 * np.abs(product).max()
    assert np.all(w >= 0)
    assert gradient.min() >= -room
    assert np.abs(gradient[w > 0]).max(initial=0) <= room
    columns = np.vstack([rows.T, np.sqrt(ridge) * np.eye(len(rows))])
    exact = nnls(columns, np.concatenate([target, np.zeros(len(rows))]), maxiter=10000)[0]
    fit, wanted = (0.5 * np.sum((target - x @ rows) ** 2) + 0.5 * ridge * x @ x for x in (w, exact))
    assert fit == pytest.approx(wanted, abs=1e-12 * target @ target)
    assert np.allclose(w, exact, atol=1e-6 * max(1, exact.max()))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("ridge", [0.0, 1e-9, 1e-6])
def test_estimate_with_next_to_no_ridge_fits_as_well_as_nnls(seed, ridge):
    rows, target = hard(seed, 60, 20)
    rows[30:] = rows[:30] + 1e-5 * rows[30:]  # nearly equal pairs
    w = non_negative_ridge(rows @ rows.T, rows @ target, ridge)
    left = np.linalg.norm(target - nnls(rows.T, target, maxiter=10000)[0] @ rows)
    assert np.linalg.norm(target - w @ rows) <= left + 1e-4 * np.linalg.norm(target)


def test_estimate_of_nothing_and_of_what_does_not_help():
    assert non_negative_ridge(np.zeros((0, 0)), np.zeros(0), 0.0).shape == (0,)
    assert non_negative_ridge(np.eye(2), np.array([-1.0, -2.0]), 0.0).tolist() == [0, 0]
    assert non_negative_ridge(np.zeros((2, 2)), np.zeros(2), 0.0).tolist() == [0, 0]


def test_estimate_leaves_its_arrays_alone():
    rows, target = hard(0, 10, 5)
    arrays = [rows @ rows.T, rows @ target, np.full(10, 0.5)]
    before = [a.copy() for a in arrays]
    for array in arrays:
        array.flags.writeable = False
    non_negative_ridge(arrays[0], arrays[1], 0.1, arrays[2])
    assert all(np.array_equal(a, b) for a, b in zip(arrays, before, strict=True))


# --- residuals -------------------------------------------------------------------------------


@pytest.mark.parametrize("ridge", [0.0, 0.1, 10.0])
def test_residuals_are_those_of_the_weights_reported(ridge):
    matrix, target = hard(4)
    chosen = select(pose_array(matrix, target), 9, settings=Settings(ridge=ridge))
    scale, total = np.linalg.norm(target), matrix[chosen.support].sum(axis=0)
    left = np.linalg.norm(target - chosen.weights @ matrix[chosen.support]) / scale
    equal = minimize_scalar(lambda c: np.linalg.norm(target - c * total), (0, 1)).fun / scale
    assert chosen.residual_weighted == pytest.approx(left, abs=1e-9)
    assert chosen.residual_as_trained == pytest.approx(equal, abs=1e-6)
    assert chosen.residual_weighted <= chosen.residual_as_trained + (ridge > 0)


def test_equal_weights_never_go_below_zero():
    total, target = np.ones(2), np.array([-1.0, -1.0])
    assert best_multiple(total, target) == 0.0
    assert best_multiple(total, np.array([1.0, 3.0])) == pytest.approx(2.0)
    assert best_multiple(np.zeros(2), target) == 0.0
    assert relative_residuals(np.zeros(2), total, target) == (1.0, 1.0)


# --- very many atoms: rows kept instead of products ------------------------------------------


def objective_of(matrix, target, ridge, support, weights):
    left = target - weights @ matrix[support]
    return 0.5 * left @ left + 0.5 * ridge * weights @ weights


WAYS = {"products": 4e11, "rows": 0}


def only(monkeypatch, way: str) -> None:
    """Have pursuit keep the atoms it meets in this way, however few they are."""
    monkeypatch.setattr("gtp_core.pursuit.pace._MOST_WORK", WAYS[way])


@pytest.mark.parametrize("dear", [False, True])
@pytest.mark.parametrize("ridge", [0.01, 0.1, 1.0])
def test_rows_end_as_low_as_products(monkeypatch, ridge, dear):
    """Rows have no single exchanges to end with, and guess what to keep: 0.1 % was seen."""
    generator = np.random.default_rng(0)
    matrix = unit(generator.standard_normal((3000, 400)) + 0.5 * generator.standard_normal(400))
    target = matrix[:60].mean(0) + 0.02 * generator.standard_normal(400)
    exact = pursue(atoms_of(matrix), target, 150, ridge=ridge)
    only(monkeypatch, "rows")
    if dear:
        monkeypatch.setattr("gtp_core.pursuit.pace._CHEAP_PASS", 0)
        monkeypatch.setattr("gtp_core.pursuit.pace._LIGHT", 16)
    rows = pursue(atoms_of(matrix), target, 150, ridge=ridge)
    low, found = (objective_of(matrix, target, ridge, *a[:2]) for a in (exact, rows))
    assert len(rows[0]) <= 150
    assert found <= 1.005 * low


@pytest.mark.parametrize("ridge", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_rows_of_few_atoms_end_nearly_as_low(monkeypatch, seed, ridge):
    """Half as many atoms as numbers in each, fetched forty at a time: 13 % was seen.

    Both grow by sixteenths alone.
    """
    monkeypatch.setattr(hunt, "_SMALL_RIDGE", 0.0)
    generator = np.random.default_rng(seed)
    matrix = unit(generator.standard_normal((500, 80)) + 0.5 * generator.standard_normal(80))
    target = matrix[:60].mean(0) + 0.02 * generator.standard_normal(80)
    exact = pursue(atoms_of(matrix), target, 40, ridge=ridge)
    only(monkeypatch, "rows")
    rows = pursue(atoms_of(matrix), target, 40, ridge=ridge)
    low, found = (objective_of(matrix, target, ridge, *a[:2]) for a in (exact, rows))
    assert len(rows[0]) <= 40
    assert found <= (1.15 if ridge < 0.1 else 1.05) * low


def compared_at_the_end(monkeypatch, budget: int, dim: int) -> None:
    """Keep rows, and write down inner products of twice the budget when rounds are over."""
    monkeypatch.setattr("gtp_core.pursuit.pace._MOST_WORK", (2 * budget) ** 2 * dim)


@pytest.mark.parametrize("dear", [False, True])
@pytest.mark.parametrize("ridge", [0.01, 0.1, 1.0])
def test_rows_compared_at_the_end_are_not_above_orthogonal_matching_pursuit(
    monkeypatch, ridge, dear
):
    """But for exchanges that win less than 1e-4, which are not made; rows alone: up to 1e-3."""
    generator = np.random.default_rng(1)
    matrix = unit(generator.standard_normal((3000, 400)) + 0.5 * generator.standard_normal(400))
    target = matrix[:60].mean(0) + 0.02 * generator.standard_normal(400)
    greedy = select(pose_array(matrix, target), 150, method="omp", settings=Settings(ridge=ridge))
    if dear:
        monkeypatch.setattr("gtp_core.pursuit.pace._CHEAP_PASS", 0)
        monkeypatch.setattr("gtp_core.pursuit.pace._LIGHT", 16)
    only(monkeypatch, "rows")
    alone = pursue(atoms_of(matrix), target, 150, ridge=ridge)
    compared_at_the_end(monkeypatch, 150, 400)
    found = pursue(atoms_of(matrix), target, 150, ridge=ridge)
    low, rows, compared = (
        objective_of(matrix, target, ridge, *pair)
        for pair in ((greedy.support, greedy.weights), alone[:2], found[:2])
    )
    assert len(found[0]) <= 150
    assert compared <= rows
    assert compared <= low * (1 + 1e-4)


def test_pins_and_caps_hold_when_rows_are_compared_at_the_end(monkeypatch):
    compared_at_the_end(monkeypatch, 12, 40)
    problem, groups = capped(0, 4, pinned=(3, 5))
    chosen = select(problem, 10, settings=Settings(ridge=0.1))
    assert {3, 5} <= set(chosen.support.tolist())
    assert max(np.bincount(groups[chosen.support][groups[chosen.support] >= 0])) <= 4


@pytest.mark.parametrize(("promise", "tried"), [(1e-3, True), (0.9, False)])
def test_a_pass_whose_atoms_promise_little_is_the_last(monkeypatch, promise, tried):
    """Where what a round wins is foreseen; here the second pass brings some 30 %."""
    generator = np.random.default_rng(1)
    matrix = unit(generator.standard_normal((3000, 400)) + 0.5 * generator.standard_normal(400))
    target = matrix[:60].mean(0) + 0.02 * generator.standard_normal(400)
    only(monkeypatch, "rows")
    for name, value in (("_CHEAP_PASS", 0), ("_LIGHT", 16)):
        monkeypatch.setattr(f"gtp_core.pursuit.pace.{name}", value)
    passes, real = [], hunt.pace_of
    monkeypatch.setattr(hunt, "pace_of", lambda *given: replace(real(*given), promise=promise))
    strongest = ArrayAtoms.strongest
    monkeypatch.setattr(
        ArrayAtoms, "strongest", lambda *given: passes.append(given) or strongest(*given)
    )
    *_, stop = pursue(atoms_of(matrix), target, 150, ridge=1.0)
    assert (len(passes) > 2) == tried
    assert stop is Stop.NO_PROGRESS


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("n", "dim", "sparsity"), [(200, 64, 4), (500, 128, 10)])
def test_recovers_a_planted_support_without_growing(monkeypatch, n, dim, sparsity, seed, way):
    matrix, target, support, weights = planted(n, dim, sparsity, seed)
    monkeypatch.setattr("gtp_core.pursuit.pace._CHEAP_PASS", 0)
    only(monkeypatch, way)
    found, found_weights, *_ = pursue(atoms_of(matrix), target, sparsity)
    assert sorted(found.tolist()) == support.tolist()
    assert np.allclose(found_weights[np.argsort(found)], weights, rtol=1e-4)


@pytest.mark.parametrize("dim", [40, 80, 160])
def test_recovers_every_support_well_below_the_phase_transition(dim):
    """Of 400 atoms: up to dim / 8 always; up to dim / 4 what is found still fits."""
    for sparsity in (1, dim // 16, dim // 8, dim // 4):
        for seed in range(4):
            matrix, target, support, _ = planted(400, dim, sparsity, seed)
            found, _, rounds, *_ = pursue(atoms_of(matrix), target, sparsity)
            assert len(found) <= sparsity
            assert rounds[-1].residual < 0.5
            if sparsity <= dim // 8:
                assert sorted(found.tolist()) == support.tolist()


# --- caps ------------------------------------------------------------------------------------


def capped(seed: int, most: int, pinned=()):
    """A problem whose strongest atoms are all of group 0."""
    matrix, target = hard(seed, 200, 40)
    groups = np.random.default_rng(seed).integers(-1, 6, 200)
    groups[np.argsort(-(matrix @ target))[:30]] = 0
    problem = pose_array(matrix, target, pinned=pinned)
    return replace(problem, caps=(Cap(groups, most, "source"),)), groups


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("pinned", [(), (3, 5)])
@pytest.mark.parametrize("seed", range(3))
def test_caps_hold_after_every_round(monkeypatch, seed, pinned, way):
    only(monkeypatch, way)
    problem, groups = capped(seed, 2, pinned)
    what = {"pinned": problem.pinned, "first": problem.first, "ridge": 0.01}
    *_, rounds, _, _ = pursue(problem.atoms, problem.target, 12, **what)
    for last in range(1, len(rounds) + 1):
        support, *_ = pursue(problem.atoms, problem.target, 12, max_rounds=last, **what)
        among = groups[support]
        assert np.bincount(among[among >= 0]).max() <= 2
        assert set(pinned) <= set(support.tolist())
        assert len(support) <= 12


@pytest.mark.parametrize("seed", range(5))
def test_a_full_group_leaves_room_for_others(seed):
    problem, groups = capped(seed, 2)
    what = {"first": problem.first, "ridge": 0.1}
    support, weights, *_ = pursue(problem.atoms, problem.target, 10, **what)
    assert len(support) == 10
    assert (groups[support] == 0).sum() == 2
    allowed = groups != 0  # nor does it end above a pursuit that has no such group at all
    others = replace(problem, atoms=replace(problem.atoms, candidates=allowed))
    without = pursue(others.atoms, problem.target, 10, **what)
    matrix, target = problem.atoms.matrix, problem.target
    found = objective_of(matrix, target, 0.1, support, weights)
    assert found <= objective_of(matrix, target, 0.1, *without[:2])
