"""Promises of budgets in tokens: the size found is one that no sample more fits, in few tries."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import array_problem, with_tokens
from hypothesis import given, settings
from hypothesis import strategies as st

from gtp_core.atoms import ArrayAtoms
from gtp_core.errors import BudgetError
from gtp_core.methods import METHODS, Settings, select
from gtp_core.methods.budgets import Sizes


def searched(sizes: Sizes, costs: np.ndarray, most: int | None = None) -> list[int]:
    """Every size tried, for costs[size]; sizes above `most` are refused."""
    tried = []
    while sizes.low < sizes.high:
        size = sizes.next()
        assert sizes.low < size <= sizes.high
        tried.append(size)
        if most is not None and size > most:
            sizes.refused(size)
        else:
            sizes.tell(size, int(costs[size]))
    return tried


counts = st.lists(st.integers(0, 60), min_size=1, max_size=200)


@settings(max_examples=200, deadline=None)
@given(tokens=counts, budget=st.integers(0, 6000), most=st.none() | st.integers(0, 200))
def test_of_rising_costs_the_last_that_fits_is_found(tokens, budget, most):
    costs = np.concatenate([[0], np.cumsum(tokens)])
    sizes = Sizes(budget, 0, 0, len(tokens), float(np.mean(tokens)))
    searched(sizes, costs, most)
    wanted = int((costs <= budget).sum()) - 1
    assert sizes.low == (wanted if most is None else min(wanted, most))


@settings(max_examples=200, deadline=None)
@given(costs=counts, budget=st.integers(0, 60))
def test_whatever_the_costs_it_ends_where_one_more_does_not_fit(costs, budget):
    costs = np.array([0, *costs])
    sizes = Sizes(budget, 0, 0, len(costs) - 1, float(costs[1:].mean()))
    tried = searched(sizes, costs)
    assert len(tried) == len(set(tried)) <= 12 + 8
    assert costs[sizes.low] <= budget
    assert sizes.low == len(costs) - 1 or costs[sizes.low + 1] > budget


@pytest.mark.parametrize("share", [0.0001, 0.001, 0.01, 0.05, 0.5])
@pytest.mark.parametrize("lean", [-0.5, 0.0, 0.5])
def test_a_large_pool_takes_few_tries(share, lean):
    """Lengths as of texts; what is chosen first is shorter or longer than the rest."""
    generator = np.random.default_rng(0)
    tokens = np.ceil(generator.lognormal(5, 1, 100_000)).astype(int)
    order = np.argsort(lean * np.log(tokens) + generator.standard_normal(len(tokens)))
    costs = np.concatenate([[0], np.cumsum(tokens[order])])
    budget = int(share * costs[-1])
    high = int((np.cumsum(np.sort(tokens)) <= budget).sum())
    sizes = Sizes(budget, 0, 0, high, float(tokens.mean()))
    tried = searched(sizes, costs)
    assert costs[sizes.low] <= budget < costs[sizes.low + 1]
    assert len(tried) <= 12
    low, middles = 0, []
    while low < high:
        middles.append((low + high + 1) // 2)
        low, high = (middles[-1], high) if costs[middles[-1]] <= budget else (low, middles[-1] - 1)
    assert low == sizes.low
    assert len(tried) < len(middles)
    assert sum(tried) <= sum(middles)


@pytest.fixture
def sizes_of(monkeypatch):
    """Sizes that a method was asked for, in their order."""

    def watch(name: str) -> list[int]:
        asked: list[int] = []
        real = METHODS[name]

        def method(problem, count, settings, on_round):
            asked.append(count)
            return real(problem, count, settings, on_round)

        monkeypatch.setitem(METHODS, name, method)
        return asked

    return watch


@pytest.mark.parametrize("method", ["gtp", "omp", "top-k", "k-center"])
def test_one_sample_more_does_not_fit_and_few_sizes_were_solved(method, sizes_of):
    problem = array_problem(400, 300)
    problem = with_tokens(problem, np.random.default_rng(2).integers(5, 80, 400))
    asked = sizes_of(method)
    chosen = select(problem, "3000tok", method=method)
    assert problem.tokens[chosen.support].sum() <= 3000
    assert len(chosen.support) == chosen.budget
    more = METHODS[method](problem, chosen.budget + 1, Settings(), None).support
    assert problem.tokens[more].sum() > 3000
    assert len(asked) - 1 <= 8
    assert chosen.budget + 1 in asked


@pytest.mark.parametrize("seed", [0, 2])
def test_a_size_that_fewer_fill_does_not_end_the_search(seed):
    """Below the length of an atom fewer explain the target; beyond, parts of the pool are taken."""
    problem = array_problem(seed=seed)
    tokens = np.full(120, 20)
    tokens[select(problem, 20).support] = 2
    problem = with_tokens(problem, tokens)
    larger = select(problem, 63).support
    assert tokens[larger].sum() <= 900
    chosen = select(problem, "900tok").support
    assert len(chosen) >= len(larger)
    assert tokens[chosen].sum() <= 900


def test_pins_outside_of_the_candidates_count_as_samples_that_fit():
    problem = with_tokens(array_problem(30, 10), np.r_[np.full(2, 1), np.full(28, 50)])
    candidates = problem.atoms.candidates.copy()
    candidates[:2] = False
    pinned = np.array([0, 1])
    atoms = ArrayAtoms(problem.atoms.products(np.eye(10)), candidates)
    problem = replace(problem, atoms=atoms, pinned=pinned)
    assert sorted(select(problem, "50tok").support.tolist()) == [0, 1]
    assert len(select(problem, "52tok", method="top-k").support) == 3


def test_too_few_for_what_the_method_takes_first_is_said(says):
    problem = array_problem(30, 10)
    first = select(problem, 1, method="top-k").support[0]
    problem = with_tokens(problem, np.where(np.arange(30) == first, 50, 5))
    with pytest.raises(BudgetError) as caught:
        select(problem, "20tok", method="top-k")
    says(caught.value, "20tok", "longer", "Give")
