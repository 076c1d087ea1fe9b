"""Promises of gtp_core.estimate: few atoms or many, the same exact weights and the same bytes."""

import threading

import numpy as np
import pytest
from scipy.optimize import nnls
from threadpoolctl import threadpool_info

from gtp_core import trajectories
from gtp_core.atoms import ArrayAtoms, pose
from gtp_core.atoms.block import block_of
from gtp_core.estimate import (
    EXACT,
    Goal,
    ProductsKept,
    RowsKept,
    on_one_thread,
    places_of,
)
from gtp_core.estimate.fold import Fold
from gtp_core.estimate.likeness import _CAUTION, Likeness
from gtp_core.estimate.products import _own_inner
from gtp_core.estimate.space import Space
from gtp_core.estimate.steps import may_fall
from gtp_core.trajectories import Trajectories

EVERY = pytest.mark.parametrize("kind", [ProductsKept, RowsKept])
GEOMETRIES = pytest.mark.parametrize("direction", ["removed", "kept"])


def atoms_of(matrix: np.ndarray) -> ArrayAtoms:
    return ArrayAtoms(matrix, np.ones(len(matrix), bool))


def coherent(seed: int, m: int = 80, dim: int = 50):
    """Unit atoms that all lean one way, float32 exactly, and a target among them."""
    generator = np.random.default_rng(seed)
    matrix = generator.standard_normal((m, dim)) + generator.standard_normal(dim)
    matrix = (matrix / np.linalg.norm(matrix, axis=1, keepdims=True)).astype(np.float32)
    return matrix.astype(np.float64), matrix[:10].sum(0) + 0.3 * generator.standard_normal(dim)


def working_of(kind, matrix, target, ridge=0.1):
    working = kind(atoms_of(matrix), target, ridge)
    working.admit(np.arange(len(matrix)))
    return working


def exact(rows, target, ridge):
    columns = np.vstack([rows.T, np.sqrt(ridge) * np.eye(len(rows))])
    return nnls(columns, np.concatenate([target, np.zeros(len(rows))]), maxiter=10000)[0]


def fit_of(rows, target, ridge, weights):
    left = target - weights @ rows
    return 0.5 * left @ left + 0.5 * ridge * weights @ weights


# --- the same weights ------------------------------------------------------------------------


@EVERY
@pytest.mark.parametrize("ridge", [0.03, 1.0, 30.0])
@pytest.mark.parametrize("seed", range(3))
def test_weights_are_those_of_nnls_to_the_promised_gradient(kind, seed, ridge):
    matrix, target = coherent(seed)
    start = np.random.default_rng(seed).uniform(-1, 1, len(matrix))
    places = np.random.default_rng(seed).permutation(len(matrix))[:60]
    for guess in (np.zeros(60), start[:60]):
        weights = working_of(kind, matrix, target, ridge).estimate(places, guess)
        rows, wanted = matrix[places], exact(matrix[places], target, ridge)
        room = (2 * EXACT if kind is not ProductsKept else 1e-8) * np.abs(rows @ target).max()
        gradient = ridge * weights - rows @ (target - weights @ rows)
        assert (weights >= 0).all()
        assert gradient.min() >= -room
        assert np.abs(gradient[weights > 0]).max(initial=0) <= room
        # By strong convexity a gradient this small leaves weights no farther than it over ridge.
        assert np.linalg.norm(weights - wanted) <= np.sqrt(60) * room / ridge + 1e-9


@GEOMETRIES
@pytest.mark.parametrize("ridge", [0.02, 1.0])
def test_stored_rows_meet_the_optimality_conditions(catalog, direction, ridge):
    problem = pose(catalog, "maths", common_direction=direction)
    index = np.flatnonzero(problem.atoms.candidates)
    working = RowsKept(problem.atoms, problem.target, ridge)
    working.admit(index)
    weights = working.estimate(np.arange(len(index)), np.zeros(len(index)))
    rows = problem.atoms.rows(index).astype(np.float64)
    gradient = ridge * weights - rows @ (problem.target - weights @ rows)
    room = 2 * EXACT * np.abs(rows @ problem.target).max()
    assert weights.max() > 0
    assert weights.min() >= 0
    assert gradient.min() >= -room
    assert np.abs(gradient[weights > 0]).max() <= room


@EVERY
def test_exact_duplicates_without_ridge_fit_as_well_as_nnls(kind):
    matrix, target = coherent(1, 20, 60)
    doubled = np.vstack([matrix, matrix, matrix[:5]])
    weights = working_of(kind, doubled, target, 0.0).estimate(np.arange(45), np.full(45, 0.1))
    best = fit_of(matrix, target, 0.0, exact(matrix, target, 0.0))
    assert weights.min() >= 0
    assert fit_of(doubled, target, 0.0, weights) <= best + 1e-6 * target @ target


@EVERY
@pytest.mark.parametrize("ridge", [0.0, 0.1])
def test_atoms_of_zeros_have_no_say(kind, ridge):
    matrix, target = coherent(2, 12)
    mixed = np.vstack([matrix, np.zeros((3, matrix.shape[1]))])
    weights = working_of(kind, mixed, target, ridge).estimate(np.arange(15), np.full(15, 0.5))
    alone = working_of(kind, matrix, target, ridge).estimate(np.arange(12), np.full(12, 0.5))
    assert np.allclose(weights[:12], alone, atol=1e-4)
    assert np.isfinite(weights).all()
    nothing = working_of(kind, np.zeros((3, 4)), np.ones(4), ridge)
    assert np.isfinite(nothing.estimate(np.arange(3), np.ones(3))).all()
    assert nothing.combine(np.arange(3), np.ones(3)).tolist() == [0.0] * 4


@EVERY
@pytest.mark.parametrize("ridge", [0.0, 0.1])
def test_nothing_at_all_is_a_case_too(kind, ridge):
    matrix, target = coherent(3, 6)
    none = np.empty(0, np.int64)
    for working in (
        kind(atoms_of(matrix), target, ridge),
        working_of(kind, matrix, target, ridge),
    ):
        assert working.estimate(none, np.zeros(0)).shape == (0,)
        assert working.combine(none, np.zeros(0)).tolist() == [0.0] * len(target)
        assert working.exchanges(none, np.zeros(0)) == []
        assert len(working.proxies(target)) == len(working.index)
        working.admit(none)
        working.keep(none)
        assert (len(working.index), len(working.proxies(target))) == (0, 0)


# --- places ----------------------------------------------------------------------------------


@EVERY
def test_places_follow_whoever_comes_and_goes(kind):
    matrix, target = coherent(4)
    working = kind(atoms_of(matrix), target, 0.1)
    working.admit(np.array([9, 3, 40]))
    working.admit(np.array([3, 7, 9, 1]))
    assert working.index.tolist() == [9, 3, 40, 7, 1]
    working.keep(np.array([0, 2, 4]))
    working.admit(np.array([40, 3]))
    assert working.index.tolist() == [9, 40, 1, 3]
    assert places_of(working, np.array([3, 1, 40])).tolist() == [3, 2, 1]
    assert np.allclose(working.proxies(target), matrix[working.index] @ target, rtol=1e-5)
    places, ones = np.array([3, 2]), np.array([2.0, 5.0])
    assert np.allclose(working.combine(places, ones), ones @ matrix[[3, 1]])
    weights = working.estimate(np.arange(4), np.zeros(4))
    assert np.allclose(weights, exact(matrix[working.index], target, 0.1), atol=1e-5)


# --- rows as they are stored -----------------------------------------------------------------


@GEOMETRIES
def test_a_block_computes_as_the_dense_atoms_do(catalog, direction):
    """Three checkpoints of unequal step sizes, a direction removed at each or none."""
    atoms = pose(catalog, "maths", common_direction=direction).atoms
    index = np.flatnonzero(atoms.candidates)
    dense, block = atoms.rows(index).astype(np.float64), atoms.block(index)
    generator = np.random.default_rng(0)
    vector = generator.standard_normal(atoms.dim)
    places = generator.permutation(len(index))[:20]
    weights = generator.standard_normal(20)
    assert block.rows.dtype == np.float16
    assert len(set(block.scale)) == 3
    assert np.allclose(block.lengths, np.linalg.norm(dense, axis=1), atol=1e-6)
    assert np.allclose(block.products(vector), dense @ vector, atol=1e-5)
    assert np.allclose(block.products(vector, places), dense[places] @ vector, atol=1e-5)
    assert np.allclose(block.combine(places, weights), weights @ dense[places], atol=1e-6)


@GEOMETRIES
def test_descent_takes_the_steps_of_the_dense_atoms(catalog, direction):
    problem = pose(catalog, "maths", common_direction=direction)
    index = np.flatnonzero(problem.atoms.candidates)
    dense, block = problem.atoms.rows(index).astype(np.float64), problem.atoms.block(index)
    places = np.random.default_rng(1).permutation(len(index))[:30]
    weights = np.full(30, 0.02)
    wanted, residual = weights.copy(), problem.target - weights @ dense[places]
    block.descend(places, weights, residual.copy(), 0.1, 0.0, 3)
    for position in list(range(30)) * 3:
        row = dense[places[position]]
        step = (row @ residual - 0.1 * wanted[position]) / (row @ row + 0.1)
        step = max(step, -wanted[position])
        wanted[position] += step
        residual -= step * row
    assert np.allclose(weights, wanted, atol=1e-6)


@GEOMETRIES
def test_joined_and_taken_blocks_are_the_block_of_those_rows(catalog, direction):
    atoms = pose(catalog, "maths", common_direction=direction).atoms
    index = np.flatnonzero(atoms.candidates)
    order = np.random.default_rng(2).permutation(25)
    found = atoms.block(index[:10]).joined(atoms.block(index[10:25])).taken(order)
    assert_same_block(found, atoms.block(index[:25][order]))


@GEOMETRIES
def test_blocks_written_to_a_space_and_moved_in_it_are_the_same(catalog, direction):
    for gradients in ("unit", "raw"):
        problem = pose(catalog, "maths", common_direction=direction, gradients=gradients)
        index = np.flatnonzero(problem.atoms.candidates)[:25]
        wanted = problem.atoms.block(index)
        space = np.full_like(wanted.rows, 7)
        some = problem.atoms.block(index[:10], space[:10])
        found = some.joined(problem.atoms.block(index[10:], space[10:]), space)
        assert found.rows is space
        places = np.array([0, 3, 4, 17, 24])
        assert_same_block(found, wanted)
        assert_same_block(found.moved(places), wanted.taken(places))


def assert_same_block(found, wanted):
    for name in ("rows", "scale", "along", "lengths"):
        assert getattr(found, name).tobytes() == getattr(wanted, name).tobytes()


# --- rough estimates -------------------------------------------------------------------------


@pytest.mark.parametrize("slack", [1e-2, 1e-4])
def test_a_rough_estimate_leaves_no_more_gradient_than_it_may(slack):
    matrix, target = coherent(7)
    working = working_of(RowsKept, matrix, target, 0.1)
    weights = working.estimate(np.arange(len(matrix)), np.zeros(len(matrix)), slack)
    assert weights.min() >= 0
    gradient = matrix @ (weights @ matrix - target) + 0.1 * weights
    room = 1.1 * slack * np.abs(matrix @ target).max()
    assert gradient.min() >= -room
    assert np.abs(gradient[weights > 0]).max() <= room


# --- what inner products are like ------------------------------------------------------------


def alike(m: int = 300, dim: int = 400, seed: int = 0):
    """Atoms of a few strong directions and much that is each one's own, and a target."""
    generator = np.random.default_rng(seed)
    shared = generator.standard_normal((m, 12)) @ generator.standard_normal((12, dim))
    matrix = shared + 2 * generator.standard_normal((m, dim)) + generator.standard_normal(dim)
    matrix = (matrix / np.linalg.norm(matrix, axis=1, keepdims=True)).astype(np.float32)
    return matrix.astype(np.float64), matrix[:30].sum(0) + 0.3 * generator.standard_normal(dim)


def likeness_of(matrix, monkeypatch, directions: int) -> Likeness:
    monkeypatch.setattr("gtp_core.estimate.likeness._DIRECTIONS", directions)
    likeness = Likeness(matrix.shape[1])
    likeness.admit(atoms_of(matrix).block(np.arange(len(matrix))))
    return likeness


def model_of(likeness, ridge):
    some = likeness._coordinates.astype(np.float64)
    return some @ some.T + np.diag(_CAUTION * likeness._rest + ridge)


@pytest.mark.parametrize("ridge", [0.1, 1.0])
def test_a_step_is_the_best_there_is_if_products_were_what_they_are_like(monkeypatch, ridge):
    matrix, target = alike()
    likeness = likeness_of(matrix, monkeypatch, 20)
    start = np.random.default_rng(1).uniform(0, 0.3, len(matrix))
    gradient = (matrix @ matrix.T + ridge * np.eye(len(matrix))) @ start - matrix @ target
    model = model_of(likeness, ridge)
    factor = np.linalg.cholesky(model).T
    wanted = nnls(factor, np.linalg.solve(factor.T, model @ start - gradient), maxiter=10000)[0]
    found = likeness.step(np.arange(len(matrix)), start, gradient, ridge)
    assert 0 < (wanted > 0).sum() < len(matrix)
    assert np.abs(found - wanted).max() < 2e-3 * wanted.max()


def test_a_step_gives_nothing_to_those_it_may_not(monkeypatch):
    matrix, target = alike()
    likeness, allowed = likeness_of(matrix, monkeypatch, 20), np.arange(300) % 3 == 0
    start = np.full(300, 0.1)
    gradient = (matrix @ matrix.T + np.eye(300)) @ start - matrix @ target
    found = likeness.step(np.arange(300), start, gradient, 1.0, allowed)
    assert found[~allowed].max() == 0.0
    assert found[allowed].max() > 0.0


@pytest.mark.parametrize("penalty", [0.1, 1.0])
def test_what_joins_and_leaves_gives_the_sum_of_all(monkeypatch, penalty):
    """Sums of b b' / D go on from the last one; they must be those found anew."""
    matrix, _ = alike()
    likeness, generator = likeness_of(matrix, monkeypatch, 20), np.random.default_rng(0)
    curve, chosen = likeness._curve, np.arange(300) < 200
    for _ in range(12):
        chosen = chosen ^ (generator.random(300) < 0.05)
        places = np.flatnonzero(chosen)
        some = likeness._coordinates[places].astype(np.float64)
        diagonal = _CAUTION * likeness._rest[places] + penalty
        wanted = some.T @ (some / diagonal[:, None])
        assert np.abs(curve.of(places, penalty) - wanted).max() < 1e-5 * np.abs(wanted).max()
    few = curve.of(np.arange(5), 2.0)
    some = likeness._coordinates[:5].astype(np.float64)
    wanted = some.T @ (some / (_CAUTION * likeness._rest[:5] + 2.0)[:, None])
    assert np.abs(few - wanted).max() < 1e-5 * np.abs(wanted).max()


def test_the_inverse_of_what_products_are_like_nearly_undoes_the_true_ones(monkeypatch):
    matrix, _ = alike()
    likeness, places = likeness_of(matrix, monkeypatch, 20), np.arange(40, 240)
    curvature = matrix[places] @ matrix[places].T + np.eye(200)
    vector = np.random.default_rng(2).standard_normal(200)
    found = likeness.inverse(places, 1.0)(curvature @ vector)
    assert np.linalg.norm(found - vector) < 0.4 * np.linalg.norm(vector)
    worse = np.linalg.norm(curvature @ vector - vector)
    assert np.linalg.norm(found - vector) < 0.2 * worse


def test_directions_are_found_anew_until_there_are_enough_atoms_for_them(monkeypatch):
    matrix, _ = alike()
    block = atoms_of(matrix).block
    grown, whole = Likeness(400), Likeness(400)
    for count in (10, 300):
        grown.admit(block(np.arange(count)))
    whole.admit(block(np.arange(300)))
    assert grown._coordinates.tobytes() == whole._coordinates.tobytes()
    monkeypatch.setattr("gtp_core.estimate.likeness._SAMPLE", 10)
    early = Likeness(400)
    for count in (10, 300):
        early.admit(block(np.arange(count)))
    assert early._coordinates.shape == (300, 10)


def test_directions_are_found_anew_when_there_are_four_times_as_many_atoms(monkeypatch):
    monkeypatch.setattr("gtp_core.estimate.likeness._SAMPLE", 10)
    matrix, _ = alike()
    block, likeness, found = atoms_of(matrix).block, Likeness(400), []
    for count in (20, 79, 80):
        likeness.admit(block(np.arange(count)))
        found.append(likeness._basis)
    assert found[1] is found[0]
    assert found[2] is not found[0]
    assert len(likeness._coordinates) == len(likeness._rest) == 80


@pytest.mark.parametrize("removed", [False, True])
def test_atoms_folded_to_a_part_keep_their_inner_products(monkeypatch, removed):
    """A thousand numbers into 251 and the rest; of shorter atoms nothing changes."""
    matrix, _ = alike(60, 1004)
    generator = np.random.default_rng(3)
    direction = generator.standard_normal((4, 251))
    direction = direction / np.linalg.norm(direction, axis=1, keepdims=True) if removed else None
    block = block_of(matrix.astype(np.float16), np.array([0.1, 0.5, 0.5, 0.7]), direction)
    wide = block.wide(0, 60)
    assert np.array_equal(Fold(1004).all(block), wide)
    monkeypatch.setattr("gtp_core.estimate.fold._LENGTH", 300)
    fold = Fold(1004)
    folded = fold.all(block)
    assert folded.shape == (60, fold.length) == (60, 335)
    lengths = np.linalg.norm(wide, axis=1)
    errors = (folded @ folded.T - wide @ wide.T) / np.outer(lengths, lengths)
    assert 0.5 < errors.std() * np.sqrt(335) < 1.5
    basis = generator.standard_normal((335, 7)).astype(np.float32)
    assert np.allclose(fold.products(block, 20, basis), folded[20:] @ basis, atol=1e-5)


def test_estimates_among_folded_atoms_are_exact_too(monkeypatch):
    """Only steps come from what is folded."""
    monkeypatch.setattr("gtp_core.estimate.fold._LENGTH", 100)
    matrix, target = alike(200, 400)
    for ridge in (0.01, 1.0):
        working = working_of(RowsKept, matrix, target, ridge)
        weights = working.estimate(np.arange(200), np.zeros(200), 1e-8)
        assert np.allclose(weights, exact(matrix, target, ridge), atol=1e-5)


def test_a_few_steps_do_where_the_ridge_is_not_small(monkeypatch):
    """No descent: eight steps leave a millionth of the gradient."""
    monkeypatch.setattr("gtp_core.estimate.rows._descended", lambda *_: pytest.fail("descended"))
    matrix, target = alike(600, 900)
    weights = working_of(RowsKept, matrix, target, 1.0).estimate(np.arange(600), np.zeros(600))
    assert np.allclose(weights, exact(matrix, target, 1.0), atol=1e-5)


@pytest.mark.parametrize("ridge", [0.05, 1.0])
def test_no_weights_fall_further_than_they_may(ridge):
    matrix, target = alike()
    low = fit_of(matrix, target, ridge, exact(matrix, target, ridge))
    generator = np.random.default_rng(5)
    for scale in (0.0, 0.01, 0.3):
        weights = scale * np.maximum(generator.standard_normal(len(matrix)), 0)
        gradient = matrix @ (weights @ matrix - target) + ridge * weights
        most = may_fall(weights, gradient, ridge)
        assert fit_of(matrix, target, ridge, weights) - most <= low * (1 + 1e-9)
    best = exact(matrix, target, ridge)
    gradient = matrix @ (best @ matrix - target) + ridge * best
    assert may_fall(best, gradient, ridge) == pytest.approx(0, abs=1e-6 * low)


@pytest.mark.parametrize("share", [0.5, 0.99, 1.0001, 1.01, 1.5, 3.0])
def test_an_estimate_with_a_goal_tells_whether_it_can_be_reached(share):
    """However rough: whether the objective may fall to so many times its least."""
    matrix, target = alike()
    low = fit_of(matrix, target, 1.0, exact(matrix, target, 1.0))
    nothing, places = np.zeros(len(matrix)), np.arange(len(matrix))
    goal = Goal(fit_of(matrix, target, 1.0, nothing), share * low)
    working = working_of(RowsKept, matrix, target, 1.0)
    weights = working.estimate(places, nothing, 1e-6, goal)
    assert weights.min() >= 0
    assert (fit_of(matrix, target, 1.0, weights) < goal.enough) == (share > 1)


def test_a_goal_that_is_far_off_ends_an_estimate_early():
    matrix, target = alike()
    places, nothing, read = np.arange(len(matrix)), np.zeros(len(matrix)), []
    for share in (1.5, 1.0 + 1e-7):
        working = working_of(RowsKept, matrix, target, 1.0)
        low = fit_of(matrix, target, 1.0, exact(matrix, target, 1.0))
        block = working._block
        counted = CountedBlock(block)
        working._block = counted
        working.estimate(places, nothing, 1e-7, Goal(low * 2, share * low))
        read.append(counted.combined)
    assert read[0] < read[1]


def test_memory_made_ready_keeps_what_is_written(monkeypatch):
    """Rows come while later ones are still being touched, and more than were expected."""
    monkeypatch.setattr("gtp_core.estimate.space._AT_ONCE", 1 << 16)
    space, rows = Space(1000, 4096, np.dtype(np.float16)), np.ones((1500, 4096), np.float16)
    space.first(10, 0)[:] = rows[:10]
    for touched in space._touched:
        touched.result()
    space.first(1000, 10)[10:] = rows[10:1000]
    assert (space.first(1000, 1000) == 1).all()
    more = space.first(1500, 1000)
    assert more.shape == (1500, 4096)
    assert np.shares_memory(more[:1000], space.first(10, 1000)), "up to twice as many stay"
    more[1000:] = rows[1000:]
    larger = space.first(2500, 1500)
    assert larger.shape == (2500, 4096)
    assert (larger[:1500] == 1).all()


def test_the_sum_of_an_estimate_is_not_formed_again(monkeypatch):
    matrix, target = alike()
    working, places = working_of(RowsKept, matrix, target, 1.0), np.arange(40, 240)
    weights = working.estimate(places, np.zeros(200))
    counted = CountedBlock(working._block)
    monkeypatch.setattr(working, "_block", counted)
    kept = weights > 0
    assert 0 < kept.sum() < 200
    found = working.combine(places[kept], weights[kept])
    assert counted.combined == 0
    assert np.allclose(found, weights @ matrix[places], atol=1e-6)
    others = working.combine(places[kept] + 1, weights[kept])
    assert counted.combined == 1
    assert np.allclose(others, weights[kept] @ matrix[places[kept] + 1], atol=1e-6)


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 9])
def test_inner_products_of_all_are_those_of_each(monkeypatch, count):
    monkeypatch.setattr("gtp_core.estimate.products._BLOCK", 2)
    rows = np.random.default_rng(count).standard_normal((count, 6))
    found = _own_inner(rows)
    assert np.allclose(found, rows @ rows.T)
    assert (found == found.T).all()


class CountedBlock:
    """A block that counts how often its rows are read for a combination."""

    def __init__(self, block):
        self.block, self.combined = block, 0

    def __getattr__(self, name):
        return getattr(self.block, name)

    def combine(self, *given):
        self.combined += 1
        return self.block.combine(*given)


def test_what_a_step_wins_is_foreseen_where_the_ridge_outweighs_the_rest():
    matrix, target = alike(600, 900)
    places, start = np.arange(600), np.random.default_rng(1).uniform(0, 0.05, 600)
    residual = target - start @ matrix
    working = working_of(RowsKept, matrix, target, 1.0)
    weights = working.guess(places, start, residual)
    won = fit_of(matrix, target, 1.0, start) - fit_of(matrix, target, 1.0, weights)
    assert won > 0
    assert working.foreseen(places, start, residual, weights) == pytest.approx(won, rel=0.1)
    little = working_of(RowsKept, matrix, target, 0.01)
    assert little.foreseen(places, start, residual, weights) == np.inf
    few = working_of(ProductsKept, matrix, target, 1.0)
    assert few.foreseen(places, start, residual, weights) == np.inf


# --- exchanges -------------------------------------------------------------------------------


def free(matrix, target, ridge, index):
    """The lowest objective on some atoms whatever the signs, and its weights."""
    rows = matrix[index]
    weights = np.linalg.solve(rows @ rows.T + ridge * np.eye(len(rows)), rows @ target)
    return fit_of(rows, target, ridge, weights), weights


@pytest.mark.parametrize("seed", range(6))
def test_exchanges_are_the_best_of_all_single_ones(seed):
    """Exact where every weight stays positive; others count as leaving for nothing."""
    generator = np.random.default_rng(seed)
    matrix, ridge = np.abs(generator.standard_normal((14, 10))) + 2 * np.eye(14, 10), 0.5
    target, support = matrix.sum(0), [0, 2, 5, 7]
    now, weights = free(matrix, target, ridge, support)
    assert weights.min() > 0
    wins = {}
    for j in set(range(14)) - set(support):
        joined, after = free(matrix, target, ridge, [*support, j])
        for i, leaver in enumerate(support):
            rest = [*(s for s in support if s != leaver), j]
            left = free(matrix, target, ridge, rest)[0] if after[i] > 0 else joined
            wins[j] = max(wins.get(j, (-np.inf, i)), (now - left, i), key=lambda pair: pair[0])
    rows = matrix @ (target - weights @ matrix[support])
    best = sorted(((w, j, i) for j, (w, i) in wins.items() if w > 0 and rows[j] > 0), reverse=True)
    found = working_of(ProductsKept, matrix, target, ridge).exchanges(np.array(support), weights)
    assert len(best) > 0
    assert [(i, j) for i, j, _ in found] == [(i, j) for _, j, i in best[:8]]
    assert np.allclose([w for *_, w in found], [w for w, *_ in best[:8]])


# --- threads ---------------------------------------------------------------------------------


def admitted(kind, matrix, target):
    working = kind(atoms_of(matrix), target, 0.1)
    working.admit(np.arange(700))
    working.admit(np.arange(len(matrix)))
    return working


def test_any_number_of_threads_gives_the_same_bytes(monkeypatch):
    matrix, target = coherent(5, 1300, 24)
    stored = Trajectories(((matrix.astype(np.float16).repeat(8, 0),),) * 2, np.array([0.3, 0.7]))

    def work(cores):
        monkeypatch.setattr(trajectories, "_cores", lambda: cores)
        few, many = (admitted(kind, matrix, target) for kind in (ProductsKept, RowsKept))
        rough = many.guess(np.arange(len(matrix)), np.zeros(len(matrix)), target)
        weights = many.estimate(np.arange(len(matrix)), np.zeros(len(matrix)))
        passes = stored.products(np.tile(target, 2)[None])
        found = (few._gram, rough, weights, many.proxies(target), passes)
        return [a.tobytes() for a in found]

    assert work(1) == work(2) == work(3)


def blas_threads() -> list[int]:
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


def test_overlapping_calls_restore_the_threads_of_blas():
    """The first to come ends first, then the other way round, then one within another."""
    work = on_one_thread(lambda begun, end: (begun.set(), end.wait(10), blas_threads())[2])
    on_one_thread(blas_threads)()  # its libraries are loaded now
    before = blas_threads()
    for first in (0, 1):
        events = [(threading.Event(), threading.Event()) for _ in range(2)]
        calls = [threading.Thread(target=work, args=pair) for pair in events]
        for call, (begun, _) in zip(calls, events, strict=True):
            call.start()
            assert begun.wait(10)
        for which in (first, 1 - first):
            assert set(blas_threads()) == {1}
            events[which][1].set()
            calls[which].join(10)
        assert blas_threads() == before
    assert set(on_one_thread(on_one_thread(blas_threads))()) == {1}
    with pytest.raises(ZeroDivisionError):
        on_one_thread(lambda: 1 / 0)()
    assert blas_threads() == before
