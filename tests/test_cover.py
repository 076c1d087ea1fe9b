"""Promises of the methods that cover the pool; caps and pins, for every method there is."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from gtp_core.atoms import Cap, Problem, pose, pose_array
from gtp_core.errors import BudgetError
from gtp_core.methods import METHODS, Settings, cover, select
from gtp_core.methods.cover import distances_between
from gtp_core.pursuit import Stop

SEEDS = pytest.mark.parametrize("seed", range(6))
COVERS = pytest.mark.parametrize("method", ["craig", "k-center"])


def clouds(seed: int, n: int = 70, dim: int = 8) -> Problem:
    """Samples in clouds of uneven size, and a target."""
    generator = np.random.default_rng(seed)
    centres = 3 * generator.standard_normal((6, dim))
    rows = centres[generator.choice(6, n, p=[0.4, 0.3, 0.1, 0.1, 0.05, 0.05])]
    return pose_array(rows + generator.standard_normal((n, dim)), generator.standard_normal(dim))


# --- against slow references -----------------------------------------------------------------


def covered(apart: np.ndarray, chosen) -> float:
    """The objective of CRAIG: how much nearer all are than the two that are farthest apart."""
    return float((apart.max() - apart[:, list(chosen)].min(axis=1)).sum()) if chosen else 0.0


def slow_craig(apart: np.ndarray, count: int, pinned=()) -> list[int]:
    chosen = list(pinned)
    while len(chosen) < count:
        worth = [
            -np.inf if j in chosen else covered(apart, [*chosen, j]) for j in range(len(apart))
        ]
        chosen.append(int(np.argmax(np.round(worth, 8))))  # equal gains are common
    return chosen


def slow_k_center(apart: np.ndarray, count: int, start: list[int]) -> list[int]:
    chosen = list(start)
    while len(chosen) < count:
        chosen.append(int(apart[:, chosen].min(axis=1).argmax()))
    return chosen


@SEEDS
@pytest.mark.parametrize("pinned", [(), (4, 31, 32)])
def test_craig_is_greedy_facility_location(seed, pinned):
    problem = replace(clouds(seed), pinned=np.array(pinned, np.int64))
    apart = cdist(problem.atoms.matrix, problem.atoms.matrix)
    for count in (3, 9, 40):
        wanted = slow_craig(apart, count, pinned)
        chosen = select(problem, count, method="craig")
        assert set(chosen.support.tolist()) == set(wanted)
        assert chosen.stop is Stop.RANKED


@SEEDS
def test_weights_of_craig_are_how_many_each_stands_for(seed):
    problem = clouds(seed)
    problem = replace(problem, target=problem.atoms.matrix.sum(axis=0))
    chosen = select(problem, 9, method="craig")
    apart = cdist(problem.atoms.matrix, problem.atoms.matrix[chosen.support])
    sizes = np.bincount(apart.argmin(axis=1), minlength=9)
    assert chosen.weights.min() > 0
    assert np.allclose(chosen.weights / chosen.weights.sum(), sizes / 70)
    assert (np.diff(chosen.weights) <= 0).all()
    fitted = chosen.weights @ problem.atoms.matrix[chosen.support]
    assert fitted @ problem.target == pytest.approx(fitted @ fitted)


@SEEDS
def test_craig_covers_at_least_the_guaranteed_share_of_the_best(seed):
    problem = clouds(seed, n=12)
    apart = cdist(problem.atoms.matrix, problem.atoms.matrix)
    for count in (2, 4):
        best = max(covered(apart, some) for some in combinations(range(12), count))
        mine = covered(apart, select(problem, count, method="craig").support.tolist())
        assert (1 - np.exp(-1)) * best <= mine <= best + 1e-6


@SEEDS
@pytest.mark.parametrize("pinned", [(), (4, 31)])
def test_k_center_goes_to_the_farthest(seed, pinned):
    problem = replace(clouds(seed), pinned=np.array(pinned, np.int64))
    apart = cdist(problem.atoms.matrix, problem.atoms.matrix)
    start = list(pinned) or [int(problem.influence.argmax())]
    for count in (3, 9, 40):
        wanted = slow_k_center(apart, count, start)
        assert select(problem, count, method="k-center").support.tolist() == wanted


@SEEDS
def test_the_radius_of_k_center_is_at_most_twice_the_best(seed):
    problem = clouds(seed, n=12)
    apart = cdist(problem.atoms.matrix, problem.atoms.matrix)
    for count in (2, 4):
        radii = [apart[:, some].min(axis=1).max() for some in combinations(range(12), count)]
        chosen = select(problem, count, method="k-center").support
        assert apart[:, chosen].min(axis=1).max() <= 2 * min(radii) + 1e-6


@pytest.mark.parametrize("block", [1, 7, 1024])
def test_distances_are_those_of_scipy_whatever_the_blocks(monkeypatch, block):
    monkeypatch.setattr(cover, "_BLOCK_ROWS", block)
    rows = clouds(0).atoms.matrix.copy()
    rows[50] = rows[3]
    atoms = pose_array(rows, rows[0]).atoms
    index = np.flatnonzero(np.arange(70) % 3 != 1)
    apart = distances_between(atoms, index)
    wanted = cdist(rows[index], rows[index])
    step = 2 * np.linalg.norm(rows[index], axis=1).max() / 2**30
    assert np.allclose(apart * step, wanted, rtol=0, atol=step)
    assert np.array_equal(apart, apart.T)
    assert apart[index == 50, index == 3] == 0
    assert (np.diagonal(apart) == 0).all()


# --- promises --------------------------------------------------------------------------------


@COVERS
def test_copies_are_not_taken(method):
    rows = np.repeat(clouds(1, n=9).atoms.matrix, 4, axis=0)
    chosen = select(pose_array(rows, rows[0]), 30, method=method)
    assert sorted(chosen.support.tolist()) == list(range(0, 36, 4))


@COVERS
def test_copies_that_are_pinned_are(method):
    rows = np.repeat(clouds(1, n=9).atoms.matrix, 4, axis=0)
    chosen = select(pose_array(rows, rows[0], pinned=[1, 2]), 5, method=method)
    assert {1, 2} <= set(chosen.support.tolist())
    assert len(set((chosen.support // 4).tolist())) == 4


@COVERS
def test_only_the_most_influential_are_covered(monkeypatch, says, method):
    monkeypatch.setattr(cover, "GROUND", 20)
    problem = replace(clouds(2), pinned=np.array([int(clouds(2).influence.argmin())]))
    ground = np.argsort(-problem.influence)[:20].tolist()
    chosen = select(problem, 20, method=method)
    assert set(chosen.support.tolist()) <= {*ground, int(problem.pinned[0])}
    assert len(chosen.support) == 20
    with pytest.raises(BudgetError) as caught:
        select(problem, 21, method=method)
    says(caught.value, "budget=21", method, "20", "top-k")


def test_k_center_starts_at_the_most_influential():
    problem = clouds(3)
    assert select(problem, 1, method="k-center").support.tolist() == [problem.influence.argmax()]


# --- caps and pins, for every method ---------------------------------------------------------

every_method = pytest.mark.parametrize("method", METHODS)


def capped(problem: Problem, most: int, n_groups: int = 7) -> Problem:
    groups = np.random.default_rng(5).integers(-1, n_groups, problem.atoms.n_samples)
    return replace(problem, caps=(Cap(groups, most, "source"),))


def keeps_caps(problem: Problem, support: np.ndarray) -> bool:
    sizes = [np.bincount(c.groups[support][c.groups[support] >= 0]) for c in problem.caps]
    return all(s.max(initial=0) <= c.most for s, c in zip(sizes, problem.caps, strict=True))


@every_method
@SEEDS
@pytest.mark.parametrize("ridge", [0.0, 1.0])
def test_no_method_goes_beyond_a_cap(method, seed, ridge):
    for most in (1, 2, 5):
        problem = capped(clouds(seed), most)
        for fill in ("none", "influence"):
            mine = Settings(ridge=ridge, fill=fill)
            chosen = select(problem, 12, method=method, settings=mine)
            assert keeps_caps(problem, chosen.support)
            assert len(set(chosen.support.tolist())) == len(chosen.support) <= 12


@every_method
@SEEDS
def test_two_caps_hold_at_once(method, seed):
    problem = capped(clouds(seed), 2)
    problem = replace(problem, caps=(*problem.caps, Cap(np.arange(70) // 10, 3, "cluster")))
    for fill in ("none", "influence"):
        chosen = select(problem, 12, method=method, settings=Settings(fill=fill))
        assert keeps_caps(problem, chosen.support)


@every_method
def test_pins_count_for_a_cap(method):
    problem = capped(clouds(0), 2)
    pinned = np.flatnonzero(problem.caps[0].groups == 3)[:2]
    problem = replace(problem, pinned=pinned)
    chosen = select(problem, 12, method=method).support
    assert set(pinned.tolist()) <= set(chosen.tolist())
    assert set(np.flatnonzero(problem.caps[0].groups == 3)) & set(chosen) == set(pinned.tolist())
    assert keeps_caps(problem, chosen)


@every_method
def test_a_full_group_leaves_the_rest_of_the_budget_to_others(method):
    """One group holds all that is nearest to the target; the others help too."""
    generator = np.random.default_rng(0)
    target = generator.standard_normal(40)
    rows = generator.standard_normal((300, 40))
    rows += np.where(np.arange(300) < 150, 1.5, 0.3)[:, None] * target
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    near = Cap(np.where(np.arange(300) < 150, 0, -1), 2, "source")
    problem = replace(pose_array(rows, target), caps=(near,))
    chosen = select(problem, 10, method=method)
    assert keeps_caps(problem, chosen.support)
    assert len(chosen.support) == 10


@every_method
def test_caps_on_a_store(catalog, method):
    problem = pose(catalog, "maths", pins=["id-0001", "id-0002"])
    problem = replace(problem, caps=(Cap(problem.sources, 3, "source"),))
    assert problem.most == 9
    for budget in (2, 6, 9, "100%"):
        chosen = select(problem, budget, method=method)
        assert keeps_caps(problem, chosen.support)
        assert set(problem.pinned.tolist()) <= set(chosen.support.tolist())
    with pytest.raises(BudgetError, match="at most 3 per source there are 9 samples"):
        select(problem, 20, method=method)
