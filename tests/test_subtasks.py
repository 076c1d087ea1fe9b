"""Promises of `subtasks=each`: one support for every subtask, each with weights of its own."""

import json
import shlex
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import nnls

from gtp_core.atoms import Cap, Problem, pose, pose_array
from gtp_core.cli import main
from gtp_core.errors import BudgetError, MethodError
from gtp_core.methods import Settings, select, subtasks
from gtp_core.methods.subtasks import pursue_each
from gtp_core.report import held_out

EACH = Settings(subtasks="each", ridge=0.1)


def pool(seed: int, n: int = 150, dim: int = 60, coherent: float = 0.0) -> np.ndarray:
    """Unit atoms (n, dim)."""
    generator = np.random.default_rng(seed)
    matrix = generator.standard_normal((n, dim)) + coherent * np.sqrt(dim) * np.eye(1, dim)
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


def random_problem(seed: int) -> Problem:
    """Three targets of random directions."""
    return pose_array(
        pool(seed, coherent=[0, 1][seed % 2]),
        np.random.default_rng(seed + 1000).standard_normal((3, 60)),
    )


def objective(problem: Problem, support, weights, ridge: float) -> float:
    rows = problem.atoms.rows(support).astype(float)
    left = problem.columns - weights.T @ rows
    return 0.5 * float((left**2).sum()) + 0.5 * ridge * float((weights**2).sum())


# --- a slow reference ------------------------------------------------------------------------


def slow_weights(problem: Problem, support, ridge: float) -> np.ndarray:
    """Non-negative ridge weights (len(support), n_subtasks), by scipy, column by column."""
    rows = problem.atoms.rows(support).astype(float)
    system = np.vstack([rows.T, np.sqrt(ridge) * np.eye(len(support))])
    zeros = np.zeros(len(support))
    return np.stack([nnls(system, np.append(y, zeros))[0] for y in problem.columns], axis=1)


def slow_pursuit(problem: Problem, budget: int, ridge: float) -> float:
    """Simultaneous CoSaMP as it is written; the best objective of ten rounds."""
    support = np.empty(0, np.int64)
    residual, best = problem.columns, objective(problem, support, np.zeros((0, 3)), ridge)
    for _ in range(10):
        proxies = np.maximum(problem.atoms.matrix @ residual.T, 0)
        strongest = np.argsort(-np.linalg.norm(proxies, axis=1), kind="stable")[: 2 * budget]
        merged = np.union1d(support, strongest)
        norms = np.linalg.norm(slow_weights(problem, merged, ridge), axis=1)
        support = np.sort(merged[np.argsort(-norms, kind="stable")[:budget]])
        weights = slow_weights(problem, support, ridge)
        residual = problem.columns - weights.T @ problem.atoms.rows(support)
        best = min(best, objective(problem, support, weights, ridge))
    return best


@pytest.mark.parametrize("ridge", [0.05, 1.0])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("budget", [3, 12, 30])
def test_it_ends_no_higher_than_plain_simultaneous_pursuit(seed, budget, ridge):
    problem = random_problem(seed)
    found = pursue_each(problem, budget, replace(EACH, ridge=ridge))
    mine = objective(problem, found.support, found.weights, ridge)
    # By no more than what a round must win: they end in different places.
    assert mine <= slow_pursuit(problem, budget, ridge) * (1 + 2e-4)


@pytest.mark.parametrize("seed", range(4))
def test_weights_are_the_exact_ones_subtask_by_subtask(seed):
    problem = random_problem(seed)
    found = pursue_each(problem, 15, EACH)
    expected = slow_weights(problem, found.support, EACH.ridge)
    assert np.allclose(found.weights, expected, atol=1e-7)


@pytest.mark.parametrize("ridge", [0.0, 0.1, 5.0])
def test_weights_meet_the_optimality_conditions_of_every_subtask(ridge):
    problem = random_problem(7)
    found = pursue_each(problem, 20, replace(EACH, ridge=ridge))
    rows = problem.atoms.rows(found.support).astype(float)
    left = problem.columns - found.weights.T @ rows
    slope = rows @ left.T - ridge * found.weights  # of what is to be lowered, downhill
    assert (found.weights >= 0).all()
    assert np.abs(slope[found.weights > 0]).max() < 1e-6
    assert slope[found.weights == 0].max(initial=-1) < 1e-6
    assert (found.weights == 0).any(), "every subtask uses every sample: nothing was tested"


# --- recovery --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_recovers_a_planted_joint_support(seed):
    """Every subtask uses a part of the same twelve atoms; no subtask uses all of them."""
    generator = np.random.default_rng(seed)
    matrix = pool(seed, n=400, dim=120)
    planted = np.sort(generator.choice(400, 12, replace=False))
    weights = generator.uniform(0.5, 2.0, (12, 4)) * (generator.random((12, 4)) < 0.6)
    weights[np.arange(12), np.arange(12) % 4] = 1.0
    problem = pose_array(matrix, weights.T @ matrix[planted])
    found = pursue_each(problem, 12, replace(EACH, ridge=0.0))
    assert found.support.tolist() == planted.tolist()
    assert np.allclose(found.weights, weights, atol=1e-5)
    assert found.residual < 1e-5
    chosen = select(problem, 12, settings=replace(EACH, ridge=0.0))
    assert chosen.residual_weighted == found.residual
    assert np.allclose(np.sort(chosen.weights), np.sort(weights.mean(axis=1)), atol=1e-5)


def test_the_mean_hides_what_each_subtask_needs():
    """Two subtasks that point opposite ways but for a little: their mean has forgotten both."""
    matrix = np.vstack([np.eye(6), -np.eye(6)])
    problem = pose_array(matrix, np.array([[3.0, 0, 0, 0, 1, 0], [-3.0, 0, 0, 0, 0, 1]]))
    each = select(problem, 2, settings=replace(EACH, ridge=0.0))
    mean = select(problem, 2, settings=Settings(ridge=0.0))
    assert sorted(each.support.tolist()) == [0, 6]
    assert sorted(mean.support.tolist()) == [4, 5]


# --- what a selection says -------------------------------------------------------------------


def test_residual_is_frobenius_and_a_weight_is_the_mean_over_subtasks():
    problem = random_problem(2)
    found, chosen = pursue_each(problem, 10, EACH), select(problem, 10, settings=EACH)
    rows = problem.atoms.rows(found.support).astype(float)
    left = np.linalg.norm(problem.columns - found.weights.T @ rows)
    assert chosen.residual_weighted == pytest.approx(left / np.linalg.norm(problem.columns))
    assert sorted(chosen.support.tolist()) == found.support.tolist()
    assert (np.diff(chosen.weights) <= 1e-12).all()
    order = np.argsort(chosen.support)
    assert np.allclose(chosen.weights[order], found.weights.mean(axis=1))
    combined = chosen.weights @ problem.atoms.rows(chosen.support)
    assert np.allclose(combined, (found.weights.T @ rows).mean(axis=0), atol=1e-6)
    assert chosen.settings["subtasks"] == "each"
    assert [r.residual for r in chosen.rounds] == sorted(
        (r.residual for r in chosen.rounds), reverse=True
    )


@pytest.mark.parametrize("method", ["gtp", "gtp-hierarchical", "top-k", "random"])
def test_a_single_subtask_is_its_own_mean(method):
    problem = pose_array(pool(3), np.random.default_rng(5).standard_normal(60))
    one = select(problem, 9, method=method, settings=EACH)
    two = select(problem, 9, method=method, settings=replace(EACH, subtasks="mean"))
    assert one.support.tobytes() == two.support.tobytes()
    assert one.weights.tobytes() == two.weights.tobytes()


def test_columns_have_the_target_as_their_mean(catalog):
    told = [
        {"task": "maths"},
        {"task": "maths", "subtask_weights": {"sums": 3, "units": 0}},
        {"task": "maths=2,dates=1", "common_direction": "kept", "checkpoints": {"step-0": 2}},
        {"task": "pool:mean"},
    ]
    for what in told:
        problem = pose(catalog, **what)
        assert np.allclose(problem.columns.mean(axis=0), problem.target, atol=1e-12), what
        assert len(problem.columns) == len(problem.subtasks)
        for part, _ in problem.parts:
            assert np.allclose(part.columns.mean(axis=0), part.target, atol=1e-12), what
    assert len(pose(catalog, "maths,dates").columns) == 4


def test_the_held_out_match_is_fitted_on_the_columns_of_a_half(catalog):
    problem = pose(catalog, "maths")
    each = held_out(problem, 6, method="gtp", settings=EACH)
    mean = held_out(problem, 6, method="gtp", settings=replace(EACH, subtasks="mean"))
    assert each.ceiling == mean.ceiling
    assert each.match != mean.match
    chosen = select(problem.parts[0][0], 6, settings=EACH)
    assert chosen.residual_weighted == pursue_each(problem.parts[0][0], 6, EACH).residual


# --- pins, bans, caps, copies, ends ----------------------------------------------------------


def test_pins_bans_and_caps_are_kept():
    matrix = pool(4)
    problem = pose_array(matrix, np.random.default_rng(6).standard_normal((3, 60)), pinned=[5, 90])
    allowed = problem.atoms.candidates.copy()
    allowed[:5] = False
    cap = Cap(np.arange(150) % 5, 3, "source")
    problem = replace(problem, atoms=replace(problem.atoms, candidates=allowed), caps=(cap,))
    found = pursue_each(problem, 14, EACH)
    assert {5, 90} <= set(found.support.tolist())
    assert allowed[found.support].all()
    assert np.bincount(found.support % 5).max() <= 3
    assert len(found.support) > 10


def test_equal_atoms_go_by_index_and_answers_repeat():
    matrix = np.repeat(pool(8, n=30), 4, axis=0)
    problem = pose_array(matrix, np.random.default_rng(9).standard_normal((2, 60)))
    one, two = (select(problem, 5, settings=replace(EACH, ridge=0.0)) for _ in range(2))
    assert one.support.tobytes() == two.support.tobytes()
    assert one.weights.tobytes() == two.weights.tobytes()
    assert (one.support % 4 == 0).all()


def test_nothing_that_helps_is_no_selection():
    problem = pose_array(np.abs(pool(1)), -np.abs(np.random.default_rng(1).random((2, 60))))
    chosen = select(problem, 5, settings=EACH)
    assert len(chosen.support) == 0
    assert chosen.residual_weighted == 1.0
    assert chosen.stop.name == "EXHAUSTED"
    filled = select(problem, 5, settings=replace(EACH, fill="influence"))
    assert (len(filled.support), filled.n_filled) == (5, 5)


def test_it_can_be_cancelled_and_has_a_last_round():
    problem = random_problem(3)
    cancelled = select(problem, 16, settings=EACH, on_round=lambda _: True)
    assert (len(cancelled.rounds), cancelled.stop.name) == (1, "CANCELLED")
    ended = select(problem, 16, settings=replace(EACH, max_rounds=3))
    assert (len(ended.rounds), ended.stop.name) == (3, "ROUNDS")


def test_parts_of_the_pool_are_pursued_for_each_subtask_too(monkeypatch):
    from gtp_core.methods import hierarchical

    monkeypatch.setattr(hierarchical, "PART", 60)
    chosen = select(random_problem(5), 10, method="gtp-hierarchical", settings=EACH)
    whole = select(random_problem(5), 10, settings=EACH)
    assert chosen.residual_weighted == pytest.approx(whole.residual_weighted, rel=0.1)
    assert chosen.residual_weighted >= whole.residual_weighted * (1 - 0.02)


@pytest.mark.parametrize(
    ("what", "method", "words"),
    [
        ({"subtasks": "max"}, "gtp", "mean, each"),
        ({"subtasks": "each", "weights": "uniform"}, "gtp", "weights=uniform"),
        ({"subtasks": "each"}, "omp", "omp matches the mean"),
        ({"subtasks": "each"}, "grad-match", "take"),
    ],
)
def test_what_cannot_go_together_is_refused(what, method, words, says):
    with pytest.raises(MethodError) as error:
        select(random_problem(1), 5, method=method, settings=Settings(**what))
    says(error.value, words) if words != "take" else says(error.value)


def test_more_than_can_be_weighed_together_is_refused(monkeypatch, says):
    monkeypatch.setattr(subtasks, "MOST", 10)
    with pytest.raises(BudgetError) as error:
        select(random_problem(1), 11, settings=EACH)
    says(error.value, "at most 10")


def test_the_command_says_it_and_the_receipt_makes_it_again(own_catalog, tmp_path, capsys):
    folder = str(own_catalog.store.folder)

    def run(*words: str) -> dict:
        assert main([*words, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    first = run("select", folder, "--task", "maths", "--budget", "7", "--subtasks", "each")
    assert first["settings"]["subtasks"] == "each"
    plain = run("select", folder, "--task", "maths", "--budget", "7")
    assert plain["run"] != first["run"]
    out = tmp_path / "out.jsonl"
    receipt = run("export", folder, first["run"], "--out", str(out))
    assert "--subtasks each" in receipt["rebuild"]
    words = shlex.split(receipt["rebuild"])[3:]
    again = run(*words, "--workspace", str(tmp_path / "elsewhere"))
    assert {**again, "seconds": 0} == {**first, "seconds": 0}
