"""What a pursuit keeps of the atoms it meets, by which it is decided how many run side by side."""

import tracemalloc

import numpy as np
import pytest

from gtp_core.atoms import pose_array
from gtp_core.methods import select
from gtp_core.pursuit import kept_bytes, pace
from gtp_core.report.quality import _at_once


@pytest.mark.parametrize("products", [True, False])
def test_a_pursuit_keeps_about_what_is_foretold(monkeypatch, products):
    monkeypatch.setattr(pace, "_CHEAP_PASS", 0)  # as where a pass costs seconds
    if not products:
        monkeypatch.setattr(pace, "_MOST_WORK", 0)
    rng, budget, dim = np.random.default_rng(0), 60, 8192
    matrix = rng.standard_normal((1000, dim)).astype(np.float16)
    problem = pose_array(matrix, matrix[:200].sum(axis=0, dtype=np.float64))
    select(problem, 5)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    select(problem, budget)
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    foretold = kept_bytes(budget, dim)
    beside = 8e6 + 4 * dim * (256 + 3 * budget)  # vectors, and where rows are kept their directions
    assert 0.3 * foretold < peak < 1.2 * foretold + beside


@pytest.mark.parametrize(
    ("budget", "most"), [(873, 2), (2707, 5), ("1%", 5), ("5%", 1), (13534, 1)]
)
def test_as_many_run_side_by_side_as_memory_holds(monkeypatch, budget, most):
    problem = pose_array(np.ones((1, 1)), np.ones(1))
    atoms = type("Atoms", (), {"n_samples": 270_679, "dim": 32_768})()
    object.__setattr__(problem, "atoms", atoms)
    object.__setattr__(problem, "tokens", np.ones(270_679))
    assert _at_once(problem, budget) == most
