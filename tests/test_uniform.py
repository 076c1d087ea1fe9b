"""Promises of gtp_core.methods.uniform: equal weights that end no worse than any that began."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from gtp_core.atoms import Cap, pose, pose_array
from gtp_core.errors import MethodError
from gtp_core.methods import Settings, hierarchical, select
from gtp_core.methods.uniform import even_support

UNIFORM = Settings(weights="uniform", fill="influence")  # the whole budget
ROUNDED = Settings(fill="influence")  # the same size, and what is left when weights are dropped
AS_MANY_AS_HELP = Settings(weights="uniform")
OF_TARGET = 1e-9  # of the target: float64 sums in another order


def random_problem(seed: int):
    """Coherent or not, with copies, bans and pins, few dimensions or many."""
    generator = np.random.default_rng(seed)
    n, dim = int(generator.integers(2, 90)), int(generator.integers(1, 30))
    matrix = generator.standard_normal((n, dim)) + generator.choice([0, 1, 3]) * np.eye(1, dim)
    matrix[generator.random(n) < 0.1] = matrix[0]
    matrix *= generator.lognormal(0, generator.choice([0.0, 0.5]), (n, 1))
    target = matrix[: 1 + n // 3].mean(0) + generator.choice([0, 0.3]) * generator.normal(size=dim)
    pinned = np.flatnonzero(generator.random(n) < generator.choice([0, 0.05]))
    problem = pose_array(matrix, target, pinned=pinned.tolist())
    allowed = (generator.random(n) < 0.8) | np.isin(np.arange(n), [0, 1])
    problem = replace(problem, atoms=replace(problem.atoms, candidates=allowed))
    problem = replace(problem, less_atoms=problem.atoms)
    least = max(1, len(pinned))
    return problem, int(generator.integers(least, max(least, problem.most) + 1))


def checked(problem, count, **what):
    """The selection with equal weights, after all that every such selection promises."""
    chosen = select(problem, count, settings=replace(UNIFORM, **what))
    others = [select(problem, count, method="top-k"), select(problem, count, settings=ROUNDED)]
    promised(problem, chosen, others)
    assert len(chosen.support) == count
    return chosen


def promised(problem, chosen, others):
    """What a selection with equal weights promises, whatever its size."""
    rows = problem.atoms.rows(chosen.support).astype(np.float64)
    free = problem.atoms.candidates.copy()
    free[problem.pinned] = True
    assert len(set(chosen.support.tolist())) == len(chosen.support)
    assert chosen.n_filled == 0
    assert free[chosen.support].all()
    assert np.isin(problem.pinned, chosen.support).all()
    assert len(set(chosen.weights.tolist())) == 1
    assert not set(chosen.pruned.tolist()) & set(chosen.support.tolist())
    for cap in problem.caps:
        groups = cap.groups[chosen.support]
        assert np.bincount(groups[groups >= 0], minlength=1).max() <= cap.most
    scale = np.linalg.norm(problem.target)
    left = np.linalg.norm(problem.target - chosen.weights @ rows)
    assert chosen.residual_weighted == pytest.approx(left / scale if scale else 1.0, abs=1e-9)
    assert chosen.residual_as_trained == pytest.approx(chosen.residual_weighted, abs=1e-9)
    assert all(chosen.residual_as_trained <= o.residual_as_trained + OF_TARGET for o in others)


# --- never above what it began with ----------------------------------------------------------


@pytest.mark.parametrize("seed", range(80))
def test_never_ends_above_top_k_nor_rounded_weights(seed):
    problem, count = random_problem(seed)
    checked(problem, count)


@pytest.mark.parametrize("seed", range(30))
def test_caps_hold_and_the_promise_with_them(seed):
    problem, _ = random_problem(seed)
    generator = np.random.default_rng(seed)
    n = problem.atoms.n_samples
    groups = generator.integers(-1, 4, n)
    most = max(
        int(generator.integers(1, 6)), np.bincount(groups[problem.pinned] + 1).max(initial=0)
    )
    problem = replace(problem, caps=(Cap(groups, most, "source"),))
    checked(problem, max(1, len(problem.pinned), int(0.6 * problem.most)))


# --- fewer samples than the budget -----------------------------------------------------------


def as_many_as_help(problem, count, **what):
    """The selection that may leave a part of its budget, after all that it promises."""
    settings = replace(AS_MANY_AS_HELP, **what)
    chosen = select(problem, count, settings=settings)
    pursued = select(problem, count, settings=replace(settings, weights="non-negative"))
    whole = select(problem, count, settings=replace(settings, fill="influence"))
    promised(problem, chosen, [pursued, whole, select(problem, count, method="top-k")])
    assert min(len(pursued.support), count) <= len(chosen.support) <= count
    if len(pursued.support) in (0, count):
        assert chosen.support.tobytes() == whole.support.tobytes()
        assert chosen.weights.tobytes() == whole.weights.tobytes()
        assert chosen.rounds == whole.rounds
    return chosen, whole


@pytest.mark.parametrize("ridge", [0.0, 1.0])
def test_three_samples_that_are_the_target_need_no_others(ridge):
    """With the budget of six used up 0.707 of the target is left."""
    problem = pose_array(np.eye(10), np.r_[1.0, 1, 1, np.zeros(7)])
    chosen, whole = as_many_as_help(problem, 6, ridge=ridge)
    assert (chosen.support.tolist(), chosen.budget, len(whole.support)) == ([0, 1, 2], 6, 6)
    assert chosen.residual_as_trained == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("seed", range(40))
def test_never_ends_above_the_pursuit_it_began_with(seed):
    problem, count = random_problem(seed)
    as_many_as_help(problem, count)


def test_what_is_left_over_is_left_where_that_helps():
    fewer = []
    for seed in range(20):
        problem, count = random_problem(seed)
        chosen, whole = as_many_as_help(problem, count, ridge=0.1)
        if len(chosen.support) < count:
            fewer.append(whole.residual_as_trained - chosen.residual_as_trained)
    assert len(fewer) >= 5
    assert min(fewer) >= 0


@pytest.mark.parametrize("fill", ["none", "influence"])
def test_parts_keep_the_promise_too(monkeypatch, fill):
    monkeypatch.setattr(hierarchical, "PART", 5)
    problem = pose_array(np.eye(10), np.r_[1.0, 1, 1, np.zeros(7)])
    settings = replace(AS_MANY_AS_HELP, fill=fill)
    chosen = select(problem, 6, method="gtp-hierarchical", settings=settings)
    assert len(set(chosen.weights.tolist())) == 1
    assert len(chosen.support) == (3 if fill == "none" else 6)
    assert {0, 1, 2} <= set(chosen.support.tolist())


@pytest.mark.parametrize("direction", ["removed", "kept"])
@pytest.mark.parametrize("count", [1, 5, 20, 40])
def test_a_store_is_no_exception(catalog, direction, count):
    pins, bans = ["id-0003"], ["id-0001", "id-0010"]
    problem = pose(
        catalog, "maths", common_direction=direction, pins=pins, bans=bans, caps={"source": 16}
    )
    chosen = checked(problem, count)
    assert 3 in chosen.support
    assert not {1, 10, 7, 20, 33} & set(chosen.support.tolist())


def test_rounding_is_often_left_far_behind():
    generator = np.random.default_rng(0)
    matrix = generator.standard_normal((300, 40)) * generator.lognormal(0, 0.5, (300, 1))
    problem = pose_array(matrix, matrix[:30].mean(0))
    rounded = select(problem, 30, settings=ROUNDED).residual_as_trained
    assert checked(problem, 30).residual_as_trained < 0.7 * rounded


def tiny(seed: int):
    """Unit atoms few enough to try every subset: problem, size and what a support leaves."""
    generator = np.random.default_rng(seed)
    n, dim = int(generator.integers(4, 10)), int(generator.integers(2, 7))
    matrix, count = generator.standard_normal((n, dim)), int(generator.integers(1, 5))
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    target = matrix[: n // 2].mean(0) + 0.2 * generator.standard_normal(dim)

    def left(support) -> float:
        total = matrix[list(support)].sum(0)
        share = max(0.0, total @ target / (total @ total))
        return float(np.linalg.norm(target - share * total) / np.linalg.norm(target))

    return pose_array(matrix, target), count, left


def test_tiny_problems_end_near_the_best_of_all_subsets():
    """No factor bounds a search by single exchanges: the best may leave next to nothing."""
    excess = []
    for seed in range(100):
        problem, count, left = tiny(seed)
        best = min(map(left, combinations(range(problem.atoms.n_samples), count)))
        excess.append(checked(problem, count).residual_as_trained - best)
    assert min(excess) > -1e-9
    assert np.mean(np.array(excess) < 1e-9) >= 0.7
    assert np.mean(excess) <= 0.05


def test_hardly_ever_is_a_single_exchange_left_that_helps():
    """Only atoms that point towards what is left are fetched, so now and then one is missed."""
    missed = 0
    for seed in range(40):
        problem, count, left = tiny(seed)
        chosen = set(checked(problem, count, ridge=0.0).support.tolist())
        others = set(range(problem.atoms.n_samples)) - chosen
        ends = [left(chosen - {i} | {j}) for i in chosen for j in others]
        missed += min(ends, default=1.0) < left(chosen) - 1e-5
    assert missed <= 1


# --- the ridge -------------------------------------------------------------------------------


@pytest.mark.parametrize("ridge", [0.0, 0.3, 3.0])
def test_with_a_ridge_it_ends_near_the_best_of_all_subsets(ridge):
    """The best penalised match of any subset, (S t)^2 / (|S|^2 + ridge * count)."""
    shares = []
    for seed in range(60):
        problem, count, _ = tiny(seed)

        def match(support, problem=problem, count=count) -> float:
            total = problem.atoms.matrix[list(support)].sum(0)
            length = total @ total + ridge * count
            return max(0, total @ problem.target) ** 2 / max(length, 1e-300)

        best = max(map(match, combinations(range(problem.atoms.n_samples), count)))
        start = np.argsort(-(problem.atoms.matrix @ problem.target))[:count]
        found = even_support(problem, [start], count, ridge)
        assert match(found) >= match(start) - 1e-12
        if best > 0:
            shares.append(match(found) / best)
    assert max(shares) < 1 + 1e-9
    assert np.mean(np.array(shares) > 1 - 1e-9) >= 0.7


def test_a_ridge_gives_up_fit_but_never_the_promise():
    """It is used as far as the residual stays 5 % below what rounding and top-k leave."""
    gained = 0
    for seed in range(12):
        generator = np.random.default_rng(seed)
        matrix = generator.standard_normal((200, 40))
        matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
        problem = pose_array(matrix, matrix[:15].mean(0) + 0.1 * generator.standard_normal(40))
        plain, used = (checked(problem, 20, ridge=ridge) for ridge in (0.0, 1.0))
        others = [
            select(problem, 20, method="top-k").residual_as_trained,
            select(problem, 20, settings=ROUNDED).residual_as_trained,
        ]
        # The start depends on the ridge too, so only what both leave is compared.
        if plain.residual_as_trained < used.residual_as_trained:
            gained += 1
            assert used.residual_as_trained <= 0.95 * min(others) + OF_TARGET
    assert gained >= 6


# --- awkward problems ------------------------------------------------------------------------


@pytest.mark.parametrize("target", [[0.0, 0, 0, 0], [0, 0, 0, 1.0], [-1.0, -1, -1, 0]])
@pytest.mark.parametrize("count", [1, 3, 12])
def test_a_target_that_nothing_helps(target, count):
    """Zero, orthogonal to everything, and behind everything: all of it is left."""
    matrix = np.abs(np.random.default_rng(0).standard_normal((12, 4)))
    matrix[:, 3] = 0
    chosen = checked(pose_array(matrix, np.array(target)), count)
    assert chosen.residual_as_trained == 1.0
    assert chosen.weights.tolist() == [0.0] * count


@pytest.mark.parametrize("pinned", [[], [2], list(range(10))])
@pytest.mark.parametrize("caps", [(), (Cap(np.arange(10) % 2, 5, "source"),)])
def test_everyone_may_be_wanted(pinned, caps):
    matrix = np.random.default_rng(1).standard_normal((10, 4)) + 1
    problem = replace(pose_array(matrix, np.ones(4), pinned=pinned), caps=caps)
    assert checked(problem, 10).support.tolist() == list(range(10))


def test_one_sample_is_the_one_that_points_best():
    """Unit atoms, as in a store."""
    matrix = np.random.default_rng(2).standard_normal((50, 6))
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    target = np.random.default_rng(3).standard_normal(6)
    best = int((matrix @ target).argmax())
    assert checked(pose_array(matrix, target), 1).support.tolist() == [best]


@pytest.mark.parametrize("seed", [*range(10), 372])
def test_caps_that_block_each_other_leave_the_pins_in(seed):
    """A ranking that two caps cut short must not cut the pins off the pursuit's own support."""
    generator = np.random.default_rng(seed)
    matrix = generator.standard_normal((12, 6))
    target = matrix[:5].sum(0)
    pinned = int((matrix @ target).argmin())
    groups = [generator.integers(-1, 3, 12) for _ in range(2)]
    caps = (Cap(groups[0], 1, "source"), Cap(groups[1], 1, "cluster"))
    problem = replace(pose_array(matrix, target, pinned=[pinned]), caps=caps)
    chosen = select(problem, min(5, problem.most), settings=replace(UNIFORM, ridge=0.0))
    assert pinned in chosen.support


def test_the_same_input_gives_the_same_bytes_and_is_left_alone():
    problem, count = random_problem(7)
    problem.atoms.matrix.flags.writeable = problem.target.flags.writeable = False
    one, two = (select(problem, count, settings=UNIFORM) for _ in range(2))
    assert one.support.tobytes() == two.support.tobytes()
    assert one.weights.tobytes() == two.weights.tobytes()
    assert one.rounds == two.rounds
    assert one.settings["weights"] == "uniform"


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_length_of_the_target_only_scales_the_weight(scale):
    problem, count = random_problem(11)
    one = select(problem, count, settings=replace(UNIFORM, ridge=0.1))
    longer = pose_array(problem.atoms.matrix, scale * problem.target, pinned=problem.pinned)
    longer = replace(longer, atoms=problem.atoms, less_atoms=problem.atoms)
    two = select(longer, count, settings=replace(UNIFORM, ridge=0.1))
    assert one.support.tolist() == two.support.tolist()
    assert np.allclose(scale * one.weights, two.weights)


@pytest.mark.parametrize("value", ["", "equal", None, 1, "Uniform"])
def test_unknown_weights_are_refused_in_one_sentence(says, value):
    with pytest.raises(MethodError) as caught:
        select(pose_array(np.eye(3), np.ones(3)), 1, settings=Settings(weights=value))
    says(caught.value, "weights", repr(value), "uniform", "non-negative")
