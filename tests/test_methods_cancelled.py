"""A promise of every method with rounds: cancelled within a pass, it keeps the best so far."""

from dataclasses import replace

import numpy as np
import pytest

from gtp_core.atoms import cancellable, pose
from gtp_core.errors import CancelledError
from gtp_core.methods import Settings, groups, hierarchical, select
from gtp_core.pursuit import Stop

WAYS = {
    "plain": ("gtp", 12, Settings(ridge=0.1)),
    "each": ("gtp", 12, Settings(ridge=0.1, subtasks="each")),
    "each, filled": ("gtp", 40, Settings(ridge=0.0, subtasks="each", fill="influence")),
    "uniform": ("gtp", 12, Settings(ridge=0.1, weights="uniform")),
    "filled": ("gtp", 50, Settings(ridge=0.0, fill="influence")),
    "in a subspace": ("gtp", 12, Settings(ridge=0.1, subspace="pca:8")),
    "in groups": ("gtp", 50, Settings()),
    "omp": ("omp", 12, Settings(ridge=0.1)),
    "omp, filled": ("omp", 50, Settings(ridge=0.0, fill="influence")),
    "grad-match": ("grad-match", 12, Settings(ridge=0.1)),
    "in parts": ("gtp-hierarchical", 12, Settings(ridge=0.1)),
    "in parts, filled": ("gtp-hierarchical", 50, Settings(ridge=0.0, fill="influence")),
    "in parts, each": ("gtp-hierarchical", 12, Settings(ridge=0.1, subtasks="each")),
    "in parts, uniform": ("gtp-hierarchical", 12, Settings(ridge=0.1, weights="uniform")),
}

PINNED = ("each", "uniform", "in groups", "in parts", "in parts, each", "in parts, uniform")


def stop_after(count: int):
    left = iter(range(count))

    def between():
        if next(left, None) is None:
            raise CancelledError("cancelled before anything was chosen")

    return between


@pytest.fixture
def problem(own_catalog, monkeypatch):
    monkeypatch.setattr(hierarchical, "PART", 20)
    monkeypatch.setattr(groups, "_SHARE", 2)
    return pose(own_catalog, "maths")


def calls_of(problem, budget, method, settings):
    """How often a selection that nobody cancels might have been, and the selection."""
    asked: list[int] = []
    whole = select(cancellable(problem, lambda: asked.append(1)), budget, **told(method, settings))
    return len(asked), whole


def told(method, settings):
    return {"method": method, "settings": settings}


def cancelled_at(problem, when, budget, method, settings):
    """The selection cancelled at the so manyeth part of a pass, after all it promises."""
    heard = cancellable(problem, stop_after(when))
    found = select(heard, budget, **told(method, settings))
    support = found.support
    free = problem.atoms.candidates.copy()
    free[problem.pinned] = True
    assert found.stop is Stop.CANCELLED
    assert len(np.unique(support)) == len(support) <= found.budget
    assert free[support].all()
    assert np.isin(problem.pinned, support).all()
    assert not set(found.pruned.tolist()) & set(support.tolist())
    if settings.weights == "uniform":
        assert len(set(found.weights.tolist())) == 1
    if settings.subtasks == "mean":
        rows = problem.atoms.rows(support).astype(np.float64)
        left = np.linalg.norm(problem.target - found.weights @ rows)
        scale = np.linalg.norm(problem.target)
        assert found.residual_weighted == pytest.approx(left / scale, abs=1e-6)
    return found


@pytest.mark.parametrize(
    ("way", "pins"), [*((way, []) for way in WAYS), *((way, ["id-0050"]) for way in PINNED)]
)
def test_what_was_chosen_before_a_cancel_is_kept(problem, own_catalog, way, pins):
    method, budget, settings = WAYS[way]
    problem = pose(own_catalog, "maths", pins=pins)
    calls, whole = calls_of(problem, budget, method, settings)
    one_pass = sum(map(len, problem.atoms.trajectories.parts))
    left = []
    # After one pass something is chosen, and no part of any later pass loses it.
    for when in sorted({min(one_pass, calls - 1), calls // 3, 2 * calls // 3, calls - 1}):
        found = cancelled_at(problem, when, budget, method, settings)
        assert len(found.support) > len(pins)
        left.append(found.residual_weighted)
    assert left[-1] <= left[0] + 1e-9
    assert left[-1] <= 1.1 * whole.residual_weighted + 0.05


@pytest.mark.parametrize("way", ["each", "uniform", "omp", "grad-match", "in parts, each"])
def test_before_anything_was_chosen_it_says_so(problem, way):
    method, budget, settings = WAYS[way]
    with pytest.raises(CancelledError):
        select(cancellable(problem, stop_after(0)), budget, **told(method, settings))


@pytest.mark.parametrize("way", ["plain", "omp", "uniform", "in parts"])
def test_a_cancelled_budget_in_tokens_keeps_the_best_that_fits(problem, way):
    method, _, settings = WAYS[way]
    tokens = int(problem.tokens.sum() // 5)
    calls, whole = calls_of(problem, f"{tokens}tok", method, settings)
    found = cancelled_at(problem, calls - 1, f"{tokens}tok", method, settings)
    assert 0 < problem.tokens[found.support].sum() <= tokens
    assert len(found.support) >= len(whole.support) - 1


def test_the_best_part_is_no_worse_than_any_other(problem):
    """Cancelled at the start of the pursuit among the winners."""
    method, budget, settings = WAYS["in parts"]
    free = problem.atoms.candidates
    alone = []
    for part in np.array_split(np.flatnonzero(free), 3):
        inside = replace(problem.atoms, candidates=np.isin(np.arange(len(free)), part))
        some = replace(problem, atoms=inside)
        calls, answer = calls_of(some, budget, "gtp", settings)
        alone.append((calls, answer))
    before = sum(calls for calls, _ in alone)
    found = cancelled_at(problem, before, budget, method, settings)
    best = min((answer for _, answer in alone), key=lambda s: s.residual_weighted)
    assert found.support.tolist() == best.support.tolist()
    assert np.allclose(found.weights, best.weights)
    assert found.rounds == best.rounds
