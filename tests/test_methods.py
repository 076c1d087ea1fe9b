"""Promises of gtp_core.methods: one contract for every way to select, and budgets that are kept."""

import numpy as np
import pytest
from conftest import array_problem, less_influence, with_tokens
from hypothesis import given, settings
from hypothesis import strategies as st

from gtp_core.atoms import Problem, pose, pose_array
from gtp_core.errors import BudgetError, MethodError, TaskError
from gtp_core.methods import (
    FILLS,
    IN_SUBSPACES,
    METHODS,
    PASSES,
    Settings,
    label,
    parse_budget,
    samples_of,
    select,
)
from gtp_core.pursuit import Stop

BANNED = ["id-0003", "id-0011"]
PINNED = ["id-0001", "id-0050"]


@pytest.fixture(scope="module")
def problems(catalog):
    copies = np.repeat(np.random.default_rng(1).standard_normal((20, 8)), 3, axis=0)
    return {
        "array": array_problem(),
        "copies": pose_array(copies, copies[:4].sum(axis=0)),
        "one sample": pose_array(np.ones((1, 4)), np.ones(4)),
        "no help": pose_array(np.abs(copies), -np.ones(8)),
        "zero target": pose_array(copies, np.zeros(8)),
        "kept": pose(catalog, "maths", common_direction="kept"),
        "removed": pose(catalog, "dates", pins=PINNED, bans=BANNED, where="row <> 5"),
    }


NAMES = ("array", "copies", "one sample", "no help", "zero target", "kept", "removed")
anything = pytest.mark.parametrize("name", NAMES)
every_method = pytest.mark.parametrize("method", METHODS)
BUDGETS = ("1", "3", "7", "10%", "100%", "90tok")


def answers(problem, method, **what):
    """Selections at every budget this pool and its pins have room for."""
    found = []
    for budget in BUDGETS:
        try:
            found.append((budget, select(problem, budget, method=method, **what)))
        except BudgetError:
            continue
    assert found
    return found


# --- the contract ----------------------------------------------------------------------------


@every_method
@anything
def test_every_selection_keeps_the_contract(problems, name, method):
    problem = problems[name]
    for budget, chosen in answers(problem, method):
        support = chosen.support
        assert len(support) <= chosen.budget
        assert len(set(support.tolist())) == len(support)
        assert problem.atoms.candidates[support].all()
        assert set(problem.pinned.tolist()) <= set(support.tolist())
        assert chosen.weights.shape == support.shape
        assert np.all(chosen.weights >= 0)
        assert np.isfinite(chosen.weights).all()
        assert 0 <= chosen.n_filled <= len(support)
        assert chosen.method == method
        assert isinstance(chosen.stop, Stop)
        assert np.isfinite([chosen.residual_weighted, chosen.residual_as_trained]).all()
        assert not set(chosen.pruned.tolist()) & set(support.tolist())
        assert len(chosen.rounds) >= 1
        if "%" not in budget and "tok" not in budget:
            assert chosen.budget == int(budget)


@every_method
@anything
def test_every_method_is_deterministic(problems, name, method):
    for (_, one), (_, two) in zip(
        answers(problems[name], method), answers(problems[name], method), strict=True
    ):
        assert one.support.tobytes() == two.support.tobytes()
        assert one.weights.tobytes() == two.weights.tobytes()
        assert one.rounds == two.rounds


@every_method
def test_no_method_writes_to_its_input(method):
    problem = array_problem()
    arrays = [problem.atoms.matrix, problem.atoms.candidates, problem.target, problem.tokens]
    arrays += [problem.sources, problem.subtasks, problem.pinned]
    before = [a.copy() for a in arrays]
    for array in arrays:
        array.flags.writeable = False
    answers(problem, method)
    assert all(np.array_equal(a, b) for a, b in zip(arrays, before, strict=True))


@every_method
def test_pins_are_chosen_and_bans_are_not(problems, catalog, method):
    chosen = select(problems["removed"], 10, method=method)
    ids = set(catalog.sample_ids().gather(chosen.support).to_list())
    assert set(PINNED) <= ids
    assert not set(BANNED) & ids
    assert "id-0005" not in ids


@every_method
def test_more_pins_than_budget_are_refused(problems, says, method):
    for budget in ("1", "1tok", "1%"):
        with pytest.raises(BudgetError) as caught:
            select(problems["removed"], budget, method=method)
        says(caught.value)
    assert "pinned" in str(caught.value)


@every_method
def test_settings_of_a_selection_hold_every_value(problems, method):
    mine = Settings(ridge=0.5, seed=3, fill="influence")
    chosen = select(problems["removed"], "10%", method=method, settings=mine)
    assert vars(mine).items() <= chosen.settings.items()
    assert {"budget": "10%", "method": method}.items() <= chosen.settings.items()
    assert problems["removed"].settings.items() <= chosen.settings.items()


@every_method
def test_a_receipt_tells_no_weights_nor_subspace_that_were_not_used(catalog, method):
    """Methods that are compared are given the same settings; the answers decide what is told."""
    problem = pose(catalog, "maths")
    plain = select(problem, 8, method=method)
    even = select(problem, 8, method=method, settings=Settings(weights="uniform"))
    assert even.settings["weights"] in ("uniform", "non-negative")
    if even.settings["weights"] == "uniform":
        assert len(set(even.weights.tolist())) == 1
    else:
        assert even.settings == plain.settings
        assert even.weights.tobytes() == plain.weights.tobytes()
    if method not in IN_SUBSPACES:
        inside = select(problem, 8, method=method, settings=Settings(subspace="pca:8"))
        assert inside.settings == plain.settings
        assert inside.weights.tobytes() == plain.weights.tobytes()


@every_method
def test_every_method_has_a_label_and_a_cost(method):
    assert label(method)
    assert len(label(method)) < 100
    assert not label(method).endswith(".")
    assert PASSES[method]


# --- top-k -----------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["maths", "dates"])
@pytest.mark.parametrize("common_direction", ["kept", "removed"])
def test_top_k_is_the_ranking_of_less(catalog, task, common_direction):
    """Whatever the geometry of the problem, ranks are LESS's own, ties to the lower index."""
    wanted = less_influence(catalog.store, task)
    order = [i for i in np.lexsort((np.arange(60), -wanted)) if catalog.valid()[i]]
    problem = pose(catalog, task, common_direction=common_direction)
    for count in (1, 10, 57):
        chosen = select(problem, count, method="top-k")
        assert chosen.support.tolist() == order[:count]
        assert chosen.stop is Stop.RANKED


def test_top_k_takes_the_first_of_the_rest_after_pins(problems):
    problem = problems["removed"]
    rest = problem.atoms.candidates.copy()
    rest[problem.pinned] = False
    ranked = [i for i in np.lexsort((np.arange(60), -problem.influence)) if rest[i]]
    chosen = select(problem, 6, method="top-k").support
    assert chosen.tolist() == [*problem.pinned.tolist(), *ranked[:4]]


@pytest.mark.parametrize("ridge", [1e6, 1e12, 1e18])
@pytest.mark.parametrize("source", ["store", "array"])
def test_an_ever_larger_ridge_ends_at_top_k(catalog, source, ridge):
    store = pose(catalog, "dates", common_direction="kept")
    problem = store if source == "store" else array_problem()
    together = select(problem, 8, settings=Settings(ridge=ridge))
    alone = select(problem, 8, method="top-k")
    assert together.support.tolist() == alone.support.tolist()


def test_choosing_together_fits_better_than_alone():
    problem = array_problem()
    together = select(problem, 8, settings=Settings(ridge=0.0))
    assert together.residual_weighted < select(problem, 8, method="top-k").residual_weighted


# --- random ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_random_takes_every_source_in_its_share(seed):
    problem = array_problem(1000)
    sources = np.random.default_rng(9).permutation(np.repeat([0, 1, 2], [600, 300, 100]))
    problem = Problem(**{**vars(problem), "sources": sources})
    for count in (10, 100, 333):
        chosen = select(problem, count, method="random", settings=Settings(seed=seed)).support
        drawn = np.bincount(sources[chosen], minlength=3)
        assert drawn.sum() == count
        assert np.all(np.abs(drawn - count * np.array([0.6, 0.3, 0.1])) <= 2)


def test_random_gives_everyone_a_chance_and_follows_its_seed():
    problem = array_problem(40)
    draws = [
        select(problem, 10, method="random", settings=Settings(seed=s)).support for s in range(60)
    ]
    assert set(np.concatenate(draws).tolist()) == set(range(40))
    assert len({d.tobytes() for d in draws}) == 60


# --- filling ---------------------------------------------------------------------------------


def test_filling_is_a_choice_and_says_how_many():
    problem = pose_array(np.eye(6), np.array([3.0, 2.0, 0, 0, -1, -2]))
    bare = select(problem, 5, settings=Settings(ridge=0.0))
    assert (bare.support.tolist(), bare.n_filled) == ([0, 1], 0)
    full = select(problem, 5, settings=Settings(ridge=0.0, fill="influence"))
    assert (full.support.tolist(), full.n_filled) == ([0, 1, 2, 3, 4], 3)
    assert full.weights[2:].tolist() == [0, 0, 0]
    assert full.residual_weighted == pytest.approx(bare.residual_weighted)
    assert full.rounds == bare.rounds


def test_nothing_is_filled_when_the_budget_is_used():
    chosen = select(array_problem(), 5, settings=Settings(fill="influence"))
    assert (len(chosen.support), chosen.n_filled) == (5, 0)


# --- budgets ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("budget", "amount", "unit"),
    [
        ("500", 500, ""),
        (500, 500, ""),
        (np.int64(500), 500, ""),
        (" 1,000 ", 1000, ""),
        ("1_000_000tok", 10**6, "tok"),
        ("200000tok", 200000, "tok"),
        ("5%", 5, "%"),
        ("0.25 %", 0.25, "%"),
        (".5%", 0.5, "%"),
        ("100%", 100, "%"),
    ],
)
def test_a_budget_is_samples_percent_or_tokens(budget, amount, unit):
    assert parse_budget(budget) == (amount, unit)


BAD = ["0", 0, "-1", -1, "121", 10**9, "9" * 400, "9" * 400 + "tok", "9" * 400 + "%"]
BAD += ["abc", "", " ", "%", "tok", ".", "5000%", "0%", "-5%", "100.1%", "1.5", 1.5, "1.5tok"]
BAD += ["nan", "inf", "1e3", "1e400%", "५", "５", None, True, b"5", "5 tok en", "5%%", "5%tok"]
BAD += ["1,5", "1,5%", "1__0", "1_", ",5", "0tok", "5\n6", "5\x00", "<b>", "5; DROP", [5], (5, 6)]


@pytest.mark.parametrize("budget", BAD, ids=lambda b: repr(b)[:14])
def test_any_other_budget_is_one_sentence(says, budget):
    for method in METHODS:
        with pytest.raises(BudgetError) as caught:
            select(array_problem(), budget, method=method)
        says(caught.value, "budget=")


@settings(max_examples=200, deadline=None)
@given(text=st.text(alphabet="0123456789.,_%tok -+eE\n", max_size=8))
def test_any_text_is_a_budget_or_one_sentence(text):
    try:
        count = samples_of(text, 1000, 900)
    except BudgetError:
        return
    assert 1 <= count <= 900


@pytest.mark.parametrize(
    ("budget", "candidates", "count"),
    [
        ("5%", 4000, 200),
        ("100%", 4000, 4000),
        ("100%", 10, 10),
        ("0.0001%", 4000, 1),
        ("7", 7, 7),
        ("0.1%", 4000, 4),
    ],
)
def test_percent_is_of_the_pool_and_ends_at_what_may_be_chosen(budget, candidates, count):
    assert samples_of(budget, 4000, candidates) == count


def test_a_budget_above_the_candidates_says_how_many_there_are(says):
    with pytest.raises(BudgetError) as caught:
        samples_of("3000", 4000, 2999)
    says(caught.value, "budget=3000", "1 to 2,999")


@settings(max_examples=60, deadline=None)
@given(
    tokens=st.lists(st.integers(0, 50), min_size=30, max_size=30),
    budget=st.integers(0, 900),
    method=st.sampled_from(sorted(METHODS)),
)
def test_a_budget_of_tokens_is_never_exceeded(tokens, budget, method):
    problem = with_tokens(array_problem(30, 10), tokens)
    try:
        chosen = select(problem, f"{budget}tok", method=method)
    except BudgetError:
        first = select(problem, 1, method=method).support
        assert budget < max(1, problem.tokens[first].sum())
        return
    assert problem.tokens[chosen.support].sum() <= budget
    assert len(chosen.support) >= 1


@settings(max_examples=40, deadline=None)
@given(tokens=st.lists(st.integers(1, 50), min_size=30, max_size=30), budget=st.integers(50, 900))
def test_top_k_takes_all_that_the_tokens_allow(tokens, budget):
    problem = with_tokens(array_problem(30, 10), tokens)
    chosen = select(problem, f"{budget}tok", method="top-k").support
    order = np.lexsort((np.arange(30), -problem.influence))
    fits = int((np.cumsum(problem.tokens[order]) <= budget).sum())
    assert chosen.tolist() == order[:fits].tolist()


@every_method
def test_a_budget_of_very_many_tokens_takes_what_it_can(method):
    problem = with_tokens(array_problem(30, 10), np.arange(1, 31))
    chosen = select(problem, "1" + "0" * 30 + "tok", method=method)
    assert chosen.support.tolist() == select(problem, 30, method=method).support.tolist()


@every_method
def test_too_few_tokens_say_how_many_it_takes(says, method):
    problem = with_tokens(array_problem(30, 10), np.arange(7, 37))
    with pytest.raises(BudgetError) as caught:
        select(problem, "6tok", method=method)
    says(caught.value, "6tok", "7 tokens", "Give")


@every_method
def test_pins_of_more_tokens_than_the_budget_are_refused(problems, says, method):
    problem = problems["removed"]
    pinned = int(problem.tokens[problem.pinned].sum())
    with pytest.raises(BudgetError) as caught:
        select(problem, f"{pinned - 1}tok", method=method)
    says(caught.value, "pinned")
    exact = select(problem, f"{pinned}tok", method=method)
    assert exact.support.tolist() == problem.pinned.tolist()


# --- settings --------------------------------------------------------------------------------


@every_method
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ridge", -0.1),
        ("ridge", float("nan")),
        ("ridge", float("inf")),
        ("ridge", "0.1"),
        ("tolerance", -1.0),
        ("tolerance", float("nan")),
        ("max_rounds", 0),
        ("max_rounds", 2.5),
        ("seed", -1),
        ("seed", 0.5),
        ("fill", "water"),
    ],
)
def test_settings_out_of_range_are_one_sentence(says, method, name, value):
    with pytest.raises(MethodError) as caught:
        select(array_problem(), 3, method=method, settings=Settings(**{name: value}))
    says(caught.value, f"{name}=", str(value))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape", [(3,), (2, 3)])
def test_a_target_that_is_not_finite_is_one_sentence(says, bad, shape):
    target = np.ones(shape)
    target[..., 1] = bad
    with pytest.raises(TaskError) as error:
        pose_array(np.eye(3), target)
    says(error.value, "target", str(bad), "finite")


def test_an_unknown_method_lists_the_methods_there_are(says):
    with pytest.raises(MethodError) as caught:
        select(array_problem(), 3, method="magic")
    says(caught.value, "'magic'", *METHODS)


@pytest.mark.parametrize("fill", FILLS)
def test_every_fill_is_understood(fill):
    assert select(array_problem(), 3, settings=Settings(fill=fill)).settings["fill"] == fill


def test_cancelling_reaches_the_selection():
    chosen = select(array_problem(), 8, on_round=lambda r: True)
    assert chosen.stop is Stop.CANCELLED
    assert len(chosen.rounds) == 1


def test_cancelling_a_budget_of_tokens_gives_an_answer_that_fits():
    problem = with_tokens(array_problem(), np.where(np.arange(120) % 2, 10, 1))
    chosen = select(problem, "30tok", on_round=lambda r: True)
    assert chosen.stop is Stop.CANCELLED
    assert 1 <= problem.tokens[chosen.support].sum() <= 30
