"""Promises of covered share and conditional gain: what slow re-solving says, sample by sample."""

from contextlib import closing
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from conftest import INVALID
from scipy.optimize import nnls

from gtp_core.atoms import pose, pose_array
from gtp_core.catalog import open_catalog
from gtp_core.errors import BudgetError
from gtp_core.methods import METHODS, Settings, select
from gtp_core.report import fitted, given, joins, judge, save, verdict_table

N = 60


def slow_residual(atoms, columns, ridge) -> float:
    """The relative residual of the best non-negative ridge weights, by scipy."""
    stacked = np.vstack([atoms.T, np.sqrt(ridge) * np.eye(len(atoms))])
    left = [
        y - nnls(stacked, np.concatenate([y, np.zeros(len(atoms))]))[0] @ atoms if len(atoms) else y
        for y in columns
    ]
    return float(np.linalg.norm(left) / np.linalg.norm(columns))


def slow_gains(problem, selection, columns, ridge) -> np.ndarray:
    """Every sample's conditional gain, each from a solution of its own."""
    atoms = problem.atoms.rows(np.arange(problem.atoms.n_samples)).astype(np.float64)
    fitted = selection.support[: len(selection.support) - selection.n_filled]
    filled = set(selection.support) - set(fitted)
    now = slow_residual(atoms[fitted], columns, ridge)
    answer = np.zeros(len(atoms))
    for row in range(len(atoms)):
        if row in fitted:
            without = fitted[fitted != row]
            answer[row] = slow_residual(atoms[without], columns, ridge) - now
        elif row not in filled:
            answer[row] = now - slow_residual(atoms[[*fitted, row]], columns, ridge)
    return answer


def slow_covered(problem, selection) -> np.ndarray:
    atoms = problem.atoms.rows(np.arange(problem.atoms.n_samples)).astype(np.float64)
    answer = np.zeros(len(atoms))
    for row, atom in enumerate(atoms):
        others = atoms[selection.support[selection.support != row]]
        best = np.linalg.lstsq(others.T, atom, rcond=1e-5)[0]
        answer[row] = 1 - ((atom - best @ others) ** 2).sum() / max((atom**2).sum(), 1e-30)
    return answer


def valid_rows() -> np.ndarray:
    return np.setdiff1d(np.arange(N), list(INVALID))


def agrees(catalog, problem, selection, columns, ridge) -> None:
    table = verdict_table(catalog, problem, selection)
    rows = valid_rows()
    assert table["gain"].null_count() == table["covered"].null_count() == len(INVALID)
    gain = slow_gains(problem, selection, columns, ridge)
    assert np.allclose(table["gain"].gather(rows), gain[rows], atol=2e-6)
    assert np.allclose(
        table["covered"].gather(rows), slow_covered(problem, selection)[rows], atol=1e-4
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("ridge", [0.03, 1.0])
def test_gains_and_covered_shares_are_those_of_solving_again(catalog, method, ridge):
    problem = pose(catalog, "maths", pins=["id-0011"], bans=["id-0002"])
    selection = select(problem, 9, method=method, settings=Settings(ridge=ridge))
    agrees(catalog, problem, selection, problem.target[None], ridge)


@pytest.mark.parametrize(
    ("posed", "settings"),
    [
        ({"gradients": "raw"}, {}),
        ({"common_direction": "kept"}, {"ridge": 0.1}),
        ({}, {"weights": "uniform"}),
        ({}, {"ridge": 1e-3}),
        ({"caps": {"source": 3}}, {}),
    ],
)
def test_they_hold_for_every_setting(catalog, posed, settings):
    problem = pose(catalog, "maths", **posed)
    used = Settings(**settings)
    selection = select(problem, 9, settings=used)
    agrees(catalog, problem, selection, problem.target[None], used.ridge)


def test_filled_samples_cover_but_do_not_count(catalog):
    problem = pose(catalog, "maths")
    selection = select(problem, 9)
    weights = np.where(np.arange(9) < 6, selection.weights, 0.0)
    filled = replace(selection, n_filled=3, weights=weights)
    agrees(catalog, problem, filled, problem.target[None], 1.0)
    assert set(verdict_table(catalog, problem, filled)["gain"].gather(selection.support[6:])) == {0}


def test_with_each_subtask_matched_apart_all_subtasks_count(catalog):
    problem = pose(catalog, "maths")
    selection = select(problem, 9, settings=Settings(subtasks="each"))
    assert len(problem.columns) == 3
    agrees(catalog, problem, selection, problem.columns, 1.0)


def test_a_list_of_ids_is_weighed_at_the_default_ridge(catalog):
    problem = pose(catalog, "maths")
    selection = given(catalog, problem, ["id-0001", "id-0005", "id-0045", "id-0030"])
    agrees(catalog, problem, selection, problem.target[None], 1.0)


def test_an_exact_copy_is_covered_whole_and_a_chosen_copy_by_its_twin(catalog):
    problem = pose(catalog, "maths")
    selection = given(catalog, problem, ["id-0005", "id-0045", "id-0012"])
    covered = verdict_table(catalog, problem, selection)["covered"]
    assert covered[46] == pytest.approx(1.0, abs=1e-5)
    assert covered[5] == covered[45] == 1.0
    assert covered[12] < 0.9


def test_without_a_ridge_nearly_so():
    """What ridge 0 stands for is a ridge of a millionth: equal samples must be told apart."""
    generator = np.random.default_rng(3)
    atoms = generator.standard_normal((40, 24)).astype(np.float32)
    problem = pose_array(atoms, generator.standard_normal(24) + atoms[:4].mean(axis=0))
    selection = select(problem, 8, settings=Settings(ridge=0.0))
    covered, gain = joins.covered_and_gain(problem, selection)
    slow = slow_gains(problem, selection, problem.target[None], 1e-12)
    assert np.allclose(gain, slow, atol=1e-5)
    assert np.allclose(covered, slow_covered(problem, selection), atol=1e-4)


def test_many_samples_at_once_and_sides_that_change():
    """Coherent atoms, so that most joins push somebody out; several chunks and threads."""
    generator = np.random.default_rng(5)
    atoms = generator.standard_normal((3000, 12)) + 0.8
    problem = pose_array(atoms.astype(np.float32), generator.standard_normal(12) + 0.5)
    selection = select(problem, 10, method="random", settings=Settings(ridge=0.05))
    gain = joins.covered_and_gain(problem, selection)[1]
    some = generator.choice(3000, 150, replace=False)
    fitted = selection.support
    rows = problem.atoms.rows(np.arange(3000)).astype(np.float64)
    now = slow_residual(rows[fitted], problem.target[None], 0.05)
    for row in np.setdiff1d(some, fitted):
        then = slow_residual(rows[[*fitted, row]], problem.target[None], 0.05)
        assert gain[row] == pytest.approx(now - then, abs=2e-6)


def test_nothing_chosen_leaves_each_alone(catalog):
    problem = pose(catalog, "maths")
    nothing = given(catalog, problem, ["id-0001"])
    empty = replace(nothing, support=nothing.support[:0], weights=nothing.weights[:0])
    agrees(catalog, problem, empty, problem.target[None], 1.0)


def test_beyond_the_work_limit_only_those_that_matter_are_looked_at(catalog, monkeypatch):
    problem = pose(catalog, "maths")
    selection = select(problem, 9)
    whole = verdict_table(catalog, problem, selection)
    m, dim = len(selection.support), problem.atoms.dim
    limit = m * m * (dim + m) + 20 * m * (dim + 3 * m)
    monkeypatch.setattr(joins, "MOST_WORK", limit)
    table = verdict_table(catalog, problem, selection)
    known = table.filter(pl.col("gain").is_not_null())
    assert 20 - len(INVALID) <= known.height <= 20 + m
    assert set(selection.support) <= set(
        table.with_row_index("row").filter(pl.col("gain").is_not_null())["row"]
    )
    first = whole.sort("influence", descending=True)["sample_id"][0]
    assert first in known["sample_id"]
    both = known.join(whole, on="sample_id")
    assert np.allclose(both["gain"], both["gain_right"])
    monkeypatch.setattr(joins, "MOST_WORK", 1)
    assert verdict_table(catalog, problem, selection)["gain"].null_count() == N


def test_more_chosen_samples_than_can_be_weighed_are_refused(catalog, monkeypatch, says):
    problem = pose(catalog, "maths")
    monkeypatch.setattr(fitted, "MOST_WORK", 1000)
    with pytest.raises(BudgetError) as error:
        judge(problem, select(problem, 9))
    says(error.value, "9 samples are chosen", "48 numbers", "smaller budget")


def test_runs_saved_before_these_columns_are_still_read(own_catalog):
    problem = pose(own_catalog, "maths")
    run = save(own_catalog, problem, select(problem, 5), None)
    path = own_catalog.workspace / "runs" / run["run"] / "verdicts.parquet"
    pl.read_parquet(path).drop("covered", "gain").write_parquet(path)
    with closing(open_catalog(own_catalog.store)) as opened:
        table = opened.query("FROM verdicts")
        assert table.height == N
        assert table["gain"].null_count() == table["covered"].null_count() == N
