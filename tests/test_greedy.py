"""Promises of the methods that take one sample at a time: the published algorithms, exactly."""

import numpy as np
import pytest
from scipy.optimize import nnls
from sklearn.linear_model import orthogonal_mp

from gtp_core.atoms import Problem, pose, pose_array
from gtp_core.errors import BudgetError
from gtp_core.estimate import non_negative_ridge as best_weights
from gtp_core.methods import Settings, greedy, select
from gtp_core.methods.greedy import drop_negatives
from gtp_core.pursuit import Stop

BOTH = pytest.mark.parametrize("method", ["omp", "grad-match"])
SEEDS = pytest.mark.parametrize("seed", range(6))
EXACT = Settings(ridge=0.0, tolerance=0.0)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def mixed(seed: int, n: int = 60, dim: int = 25) -> Problem:
    """Atoms that lean one way, so that several explain the same and weights turn negative."""
    generator = np.random.default_rng(seed)
    shared = generator.standard_normal(dim)
    rows = unit(generator.standard_normal((n, dim)) + 0.8 * shared)
    return pose_array(rows, generator.standard_normal(dim) + 0.8 * shared)


def planted(seed: int) -> tuple[Problem, np.ndarray, np.ndarray]:
    """A target made of ten atoms with weights above zero."""
    generator = np.random.default_rng(seed)
    rows = unit(generator.standard_normal((120, 300)))
    support = np.sort(generator.choice(120, 10, replace=False))
    weights = generator.uniform(1, 2, 10)
    return pose_array(rows, weights @ rows[support]), support, weights


def by_index(chosen) -> tuple[list[int], np.ndarray]:
    order = np.argsort(chosen.support)
    return chosen.support[order].tolist(), chosen.weights[order]


def objective(matrix, target, support, weights, ridge) -> float:
    left = target - weights @ matrix[support]
    return float(left @ left + ridge * weights @ weights)


# --- against slow references -----------------------------------------------------------------


def slow_omp(matrix, target, count, ridge):
    """Pati et al. 1993 with weights from SciPy's non-negative least squares."""
    support, weights, left = [], np.empty(0), target
    while len(support) < count:
        proxies = matrix @ left
        proxies[support] = -np.inf
        if proxies.max() <= 1e-9:
            break
        support.append(int(proxies.argmax()))
        tall = np.vstack([matrix[support].T, np.sqrt(ridge) * np.eye(len(support))])
        fitted = nnls(tall, np.concatenate([target, np.zeros(len(support))]))[0]
        alive = fitted > 1e-9 * fitted.max()
        support = [i for i, ok in zip(support, alive, strict=True) if ok]
        weights = fitted[alive]
        left = target - weights @ matrix[support]
    return support, weights


def slow_grad_match(matrix, target, count, ridge):
    """Killamsetty et al. 2021: the steepest, ridge weights, negative ones dropped in turn."""
    support, weights, left = [], np.empty(0), target
    for _ in range(count):
        steepest = -matrix @ left
        steepest[support] = np.inf
        if steepest.min() >= -1e-9:
            break
        support.append(int(steepest.argmin()))
        while True:
            rows = matrix[support]
            weights = np.linalg.solve(rows @ rows.T + ridge * np.eye(len(rows)), rows @ target)
            if weights.min() >= 0:
                break
            del support[int(weights.argmin())]
        left = target - weights @ matrix[support]
    return support, weights


@SEEDS
def test_omp_is_that_of_scikit_learn_where_no_weight_wants_to_be_negative(seed):
    problem, _, _ = planted(seed)
    matrix = problem.atoms.matrix
    for count in range(1, 11):
        wanted = orthogonal_mp(matrix.T, problem.target, n_nonzero_coefs=count)
        assert (wanted >= 0).all()
        support, weights = by_index(select(problem, count, method="omp", settings=EXACT))
        assert support == np.flatnonzero(wanted).tolist()
        assert np.allclose(weights, wanted[support], rtol=1e-6)


@SEEDS
@pytest.mark.parametrize("ridge", [0.0, 0.01, 0.3, 1.0])
@pytest.mark.parametrize(("method", "slow"), [("omp", slow_omp), ("grad-match", slow_grad_match)])
def test_the_slow_reference_finds_the_same(method, slow, ridge, seed):
    problem = mixed(seed)
    for count in (1, 4, 12, 20):
        support, weights = slow(problem.atoms.matrix, problem.target, count, ridge)
        mine = Settings(ridge=ridge, tolerance=0.0)
        chosen = select(problem, count, method=method, settings=mine)
        assert set(chosen.support.tolist()) == set(support)
        assert np.allclose(by_index(chosen)[1], weights[np.argsort(support)], rtol=1e-5, atol=1e-8)


def test_samples_leave_in_the_cases_above():
    for method in ("omp", "grad-match"):
        chosen = [select(mixed(s), 20, method=method, settings=EXACT) for s in range(6)]
        assert any(len(one.pruned) for one in chosen)


def test_dropping_for_good_is_never_better_than_the_best_weights_and_sometimes_worse():
    worse = 0
    for seed in range(12):
        problem = mixed(seed)
        rows = problem.atoms.matrix[:20]
        gram, product = rows @ rows.T, rows @ problem.target
        fits = [refit(gram, product, 0.0, np.zeros(20)) for refit in (drop_negatives, best_weights)]
        left = [objective(rows, problem.target, np.arange(20), w, 0.0) for w in fits]
        assert left[0] >= left[1] - 1e-9
        assert fits[0].min() >= 0
        worse += left[0] > left[1] + 1e-3
    assert worse


@SEEDS
def test_no_other_weights_of_the_support_are_better(seed):
    problem = mixed(seed)
    for ridge in (0.0, 0.5):
        mine = Settings(ridge=ridge, tolerance=0.0)
        chosen = select(problem, 12, method="omp", settings=mine)
        rows = problem.atoms.matrix[chosen.support]
        slope = rows @ (problem.target - chosen.weights @ rows) - ridge * chosen.weights
        assert np.abs(slope).max() < 1e-7


# --- promises --------------------------------------------------------------------------------


@BOTH
@SEEDS
def test_a_planted_support_is_recovered(method, seed):
    problem, support, weights = planted(seed)
    chosen = select(problem, 30, method=method, settings=Settings(ridge=0.0))
    assert by_index(chosen)[0] == support.tolist()
    assert np.allclose(by_index(chosen)[1], weights)
    assert chosen.stop is Stop.TOLERANCE
    assert chosen.residual_weighted < 1e-6


@SEEDS
def test_the_objective_of_omp_never_rises_with_the_budget(seed):
    problem = mixed(seed)
    for ridge in (0.0, 0.3):
        chosen = [
            select(problem, k, method="omp", settings=Settings(ridge=ridge)) for k in range(1, 25)
        ]
        left = [
            objective(problem.atoms.matrix, problem.target, c.support, c.weights, ridge)
            for c in chosen
        ]
        assert np.all(np.diff(left) <= 1e-9)


@BOTH
def test_rounds_tell_what_happened(method):
    problem = mixed(0)
    chosen = select(problem, 20, method=method, settings=EXACT)
    size = 0
    for done in chosen.rounds:
        assert (done.entered, done.kept + done.left) in {(1, size), (0, size)}
        size = done.entered + done.kept
    assert size == len(chosen.support)
    assert chosen.rounds[-1].residual == pytest.approx(chosen.residual_weighted)


@BOTH
def test_a_budget_used_up_takes_one_pass_per_sample(method):
    chosen = select(mixed(1), 9, method=method, settings=Settings(ridge=1.0))
    assert (len(chosen.support), len(chosen.rounds), len(chosen.pruned)) == (9, 9, 0)
    assert chosen.stop is Stop.ROUNDS


@BOTH
@pytest.mark.parametrize("ridge", [0.0, 1.0])
def test_nothing_helps_a_target_all_atoms_turn_from(method, ridge):
    problem = pose_array(np.abs(mixed(0).atoms.matrix), -np.ones(25))
    chosen = select(problem, 5, method=method, settings=Settings(ridge=ridge))
    assert len(chosen.support) == 0
    assert chosen.stop is Stop.EXHAUSTED
    assert chosen.residual_weighted == 1.0


@BOTH
def test_a_target_of_zero_is_matched_at_once(method):
    chosen = select(pose_array(np.eye(4), np.zeros(4)), 3, method=method)
    assert (len(chosen.support), chosen.stop) == (0, Stop.TOLERANCE)


@BOTH
def test_more_samples_than_the_atoms_have_dimensions(method):
    chosen = select(mixed(2, n=80, dim=6), 50, method=method, settings=EXACT)
    assert len(chosen.support) <= 6
    assert chosen.stop in (Stop.EXHAUSTED, Stop.TOLERANCE, Stop.ROUNDS)


@BOTH
def test_of_equal_atoms_the_first_is_taken_and_without_ridge_no_other(method):
    rows = np.repeat(unit(np.random.default_rng(3).standard_normal((8, 20))), 3, axis=0)
    problem = pose_array(rows, rows[[3, 9, 15]].sum(axis=0))
    chosen = select(problem, 9, method=method, settings=Settings(ridge=0.0))
    assert sorted(chosen.support.tolist()) == [3, 9, 15]
    assert len(chosen.pruned) == 0
    shared = select(problem, 9, method=method, settings=Settings(ridge=1.0))
    assert {3, 4, 5, 9, 10, 11, 15, 16, 17} == set(shared.support.tolist())


@BOTH
def test_rows_that_are_not_finite_sit_out(method):
    problem = mixed(4)
    first = select(problem, 5, method=method).support
    rows = problem.atoms.matrix.copy()
    rows[first[0]] = np.nan
    chosen = select(pose_array(rows, problem.target), 5, method=method).support
    assert first[0] not in chosen
    assert len(chosen) == 5


@BOTH
def test_pinned_samples_stay_whatever_their_weight(method):
    problem = mixed(5)
    away = int((problem.atoms.matrix @ problem.target).argmin())
    pinned = pose_array(problem.atoms.matrix, problem.target, pinned=[away, away - 1])
    chosen = select(pinned, 6, method=method, settings=Settings(ridge=0.1))
    assert {away, away - 1} <= set(chosen.support.tolist())
    assert len(chosen.support) == 6
    assert chosen.weights[chosen.support == away] == 0


@BOTH
def test_equal_pins_without_ridge(method):
    rows = mixed(0).atoms.matrix.copy()
    rows[7] = rows[3]
    chosen = select(
        pose_array(rows, mixed(0).target, pinned=[3, 7]), 6, method=method, settings=EXACT
    )
    assert {3, 7} <= set(chosen.support.tolist())
    assert np.isfinite(chosen.weights).all()


@BOTH
def test_cancelling_keeps_what_was_taken(method):
    chosen = select(mixed(0), 20, method=method, on_round=lambda done: done.kept + done.entered > 3)
    assert chosen.stop is Stop.CANCELLED
    assert len(chosen.support) == 4


@BOTH
def test_what_is_left_of_the_budget_is_filled_when_asked(method):
    problem = pose_array(np.eye(6), np.array([3.0, 2.0, 0, 0, -1, -2]))
    full = select(problem, 5, method=method, settings=Settings(ridge=0.0, fill="influence"))
    assert (full.support.tolist(), full.n_filled) == ([0, 1, 2, 3, 4], 3)
    assert full.weights[2:].tolist() == [0, 0, 0]
    assert len(full.pruned) == 0


@BOTH
def test_a_store_and_an_array_give_the_same(catalog, method):
    stored = pose(catalog, "maths")
    rows = np.full((stored.atoms.n_samples, stored.atoms.dim), np.nan)
    valid = np.flatnonzero(stored.atoms.candidates)
    rows[valid] = stored.atoms.rows(valid)
    array = pose_array(rows, stored.target)
    for ridge in (0.0, 0.5):
        one, two = (
            select(p, 12, method=method, settings=Settings(ridge=ridge)) for p in (stored, array)
        )
        assert by_index(one)[0] == by_index(two)[0]
        assert np.allclose(by_index(one)[1], by_index(two)[1], rtol=1e-5, atol=1e-7)


@BOTH
def test_too_many_to_refit_are_refused(says, monkeypatch, method):
    monkeypatch.setattr(greedy, "MOST", 10)
    with pytest.raises(BudgetError) as caught:
        select(mixed(0), 11, method=method)
    says(caught.value, "budget=11", method, "10", "top-k")
