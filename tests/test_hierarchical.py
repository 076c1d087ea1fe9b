"""Promises of pursuit in parts: the parts it says, the answer pursuit gives among their winners."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from gtp_core.atoms import Atoms, Cap, Problem, pose, pose_array
from gtp_core.methods import Settings, hierarchical, select
from gtp_core.methods.hierarchical import RestrictedAtoms
from gtp_core.pursuit import Stop, pursue

SEEDS = pytest.mark.parametrize("seed", range(4))
NAME = "gtp-hierarchical"


def noise(seed: int, n: int = 240, dim: int = 60) -> Problem:
    generator = np.random.default_rng(seed)
    rows = generator.standard_normal((n, dim))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return pose_array(rows, generator.standard_normal(dim))


def by_hand(problem: Problem, edges: list[int], count: int, ridge: float) -> np.ndarray:
    """Winners of every part, then the winners among them, with pursuit on rows that are kept."""
    candidates = problem.atoms.candidates
    met = problem.pinned
    for start, end in pairwise(edges):
        mask = candidates.copy()
        mask[:start] = mask[end:] = mask[problem.pinned] = False
        part = replace(problem.atoms, candidates=mask)
        met = np.union1d(met, pursue(part, problem.target, count, ridge=ridge)[0])
    mask = np.zeros(len(candidates), bool)
    mask[met] = True
    rest = replace(problem.atoms, candidates=mask)
    return pursue(rest, problem.target, count, ridge=ridge, pinned=problem.pinned)[0]


@SEEDS
@pytest.mark.parametrize("fill", ["none", "influence"])
def test_one_part_is_plain_pursuit(seed, fill):
    mine = Settings(ridge=0.1, fill=fill)
    one = select(noise(seed), 15, method=NAME, settings=mine)
    two = select(noise(seed), 15, method="gtp", settings=mine)
    assert one.support.tobytes() == two.support.tobytes()
    assert one.weights.tobytes() == two.weights.tobytes()
    assert (one.rounds, one.stop, one.method) == (two.rounds, two.stop, NAME)


@SEEDS
@pytest.mark.parametrize("ridge", [0.0, 0.5])
def test_parts_are_pursued_alone_and_their_winners_together(monkeypatch, seed, ridge):
    monkeypatch.setattr(hierarchical, "PART", 100)
    problem = noise(seed)
    chosen = select(problem, 12, method=NAME, settings=Settings(ridge=ridge))
    assert chosen.support.tolist() == by_hand(problem, [0, 80, 160, 240], 12, ridge).tolist()


@pytest.mark.parametrize("common_direction", ["kept", "removed"])
def test_parts_of_a_store_with_pins_bans_and_rows_that_sit_out(
    catalog, monkeypatch, common_direction
):
    monkeypatch.setattr(hierarchical, "PART", 20)
    problem = pose(
        catalog, "maths", common_direction=common_direction, pins=["id-0050"], bans=["id-0003"]
    )
    free = np.setdiff1d(np.flatnonzero(problem.atoms.candidates), problem.pinned)
    parts = np.array_split(free, 3)
    edges = [0, int(parts[1][0]), int(parts[2][0]), 60]
    chosen = select(problem, 9, method=NAME, settings=Settings(ridge=0.1))
    assert chosen.support.tolist() == by_hand(problem, edges, 9, 0.1).tolist()
    assert 50 in chosen.support


@SEEDS
@pytest.mark.parametrize("part", [30, 64, 239])
def test_a_planted_support_is_recovered_over_parts(monkeypatch, seed, part):
    monkeypatch.setattr(hierarchical, "PART", part)
    generator = np.random.default_rng(seed)
    problem = noise(seed, dim=400)
    support = np.sort(generator.choice(240, 12, replace=False))
    weights = generator.uniform(1, 2, 12)
    problem = pose_array(problem.atoms.matrix, weights @ problem.atoms.matrix[support])
    chosen = select(problem, 40, method=NAME, settings=Settings(ridge=0.0))
    order = np.argsort(chosen.support)
    assert chosen.support[order].tolist() == support.tolist()
    assert np.allclose(chosen.weights[order], weights)
    assert chosen.residual_weighted < 1e-6


@SEEDS
def test_the_answer_is_no_worse_than_that_of_any_part(monkeypatch, seed):
    monkeypatch.setattr(hierarchical, "PART", 80)
    problem, mine = noise(seed), Settings(ridge=0.0)
    chosen = select(problem, 10, method=NAME, settings=mine)
    for start in (0, 80, 160):
        rows = problem.atoms.matrix[start : start + 80]
        alone = select(pose_array(rows, problem.target), 10, settings=mine)
        assert chosen.residual_weighted <= alone.residual_weighted + 1e-9


def test_what_won_in_a_part_and_lost_is_pruned(monkeypatch):
    monkeypatch.setattr(hierarchical, "PART", 80)
    chosen = select(noise(0), 10, method=NAME)
    assert len(chosen.pruned) >= 10
    assert not set(chosen.pruned.tolist()) & set(chosen.support.tolist())


def test_the_rest_of_the_budget_is_filled_from_the_whole_pool(monkeypatch):
    monkeypatch.setattr(hierarchical, "PART", 2)
    problem = pose_array(np.eye(6), np.array([3.0, 2.0, 0, 0, -1, -2]))
    full = select(problem, 5, method=NAME, settings=Settings(ridge=0.0, fill="influence"))
    assert (full.support.tolist(), full.n_filled) == ([0, 1, 2, 3, 4], 3)
    bare = select(problem, 5, method=NAME, settings=Settings(ridge=0.0))
    assert (bare.support.tolist(), bare.n_filled) == ([0, 1], 0)


@pytest.mark.parametrize("patience", [0, 1, 5])
def test_cancelling_in_a_part_ends_the_others_and_gives_an_answer(monkeypatch, patience):
    monkeypatch.setattr(hierarchical, "PART", 80)
    calls = []
    chosen = select(
        noise(1), 10, method=NAME, on_round=lambda done: calls.append(done) or len(calls) > patience
    )
    assert chosen.stop is Stop.CANCELLED
    assert 1 <= len(chosen.support) <= 10
    assert len(calls) <= patience + 2


def test_a_part_in_which_nothing_helps(monkeypatch):
    monkeypatch.setattr(hierarchical, "PART", 20)
    rows = noise(2).atoms.matrix[:60].copy()
    target = rows[:20].sum(axis=0)
    rows[20:40] *= -np.sign(rows[20:40] @ target)[:, None]
    chosen = select(pose_array(rows, target), 8, method=NAME)
    assert len(chosen.support) == 8
    assert not set(range(20, 40)) & set(chosen.support.tolist())


@pytest.mark.parametrize("fill", ["none", "influence"])
def test_caps_hold_over_all_parts(monkeypatch, fill):
    monkeypatch.setattr(hierarchical, "PART", 50)
    groups = np.arange(240) % 9 - 1
    problem = replace(noise(3), caps=(Cap(groups, 2, "source"),), pinned=np.array([1, 10]))
    chosen = select(problem, 30, method=NAME, settings=Settings(fill=fill)).support
    assert {1, 10} <= set(chosen.tolist())
    assert np.bincount(groups[chosen] + 1, minlength=9)[1:].max() <= 2
    assert len(chosen) > 10


# --- restricted atoms ------------------------------------------------------------------------


@pytest.mark.parametrize("span", [(0, 60), (3, 4), (20, 30), (24, 60), (59, 60)])
@pytest.mark.parametrize("common_direction", ["kept", "removed"])
def test_restricted_atoms_are_the_same_atoms(catalog, span, common_direction):
    problem = pose(catalog, "dates", common_direction=common_direction)
    whole: Atoms = problem.atoms
    inside = np.zeros(60, bool)
    inside[slice(*span)] = True
    some = RestrictedAtoms(whole, whole.candidates & inside)
    masked = replace(whole, candidates=whole.candidates & inside)
    assert (some.n_samples, some.dim) == (60, whole.dim)
    products = whole.products(problem.target[None])
    usable = some.candidates
    assert np.array_equal(some.products(problem.target[None])[usable], products[usable])
    for count in (1, 5, 60):
        wanted = masked.strongest(problem.target, count)
        assert some.strongest(problem.target, count).tolist() == wanted.tolist()
    index = np.array([40, 2, 2])
    assert np.array_equal(some.rows(index), whole.rows(index))


def test_a_pass_reads_the_rows_of_the_part_only(catalog):
    problem = pose(catalog, "maths")
    some = RestrictedAtoms(problem.atoms, np.isin(np.arange(60), [22, 27]))
    view = hierarchical._between(problem.atoms, 22, 28)
    assert view.n_samples == 6
    assert sum(len(rows) for rows in view.trajectories.parts[0]) == 6
    for ours, theirs in zip(view.trajectories.parts, problem.atoms.trajectories.parts, strict=True):
        assert all(
            np.shares_memory(a, b) for a, b in zip(ours, theirs, strict=True) if len(a) and len(b)
        )
    read = np.flatnonzero(some.products(problem.target[None])[:, 0])
    assert read.min() == 22
    assert read.max() == 27


def test_no_candidates_have_no_strongest(catalog):
    problem = pose(catalog, "maths")
    some = RestrictedAtoms(problem.atoms, np.zeros(60, bool))
    assert len(some.strongest(problem.target, 5)) == 0
