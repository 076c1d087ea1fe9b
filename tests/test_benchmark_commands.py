"""Every benchmark says what it does when asked, and its instruments measure what they say."""

import importlib
import sys
from contextlib import closing

import numpy as np
import pytest

from benchmarks import greedy_many, growth, less_matching, omp_ratio, omp_steps, stages, subspace
from benchmarks import tokens as tokens_of
from benchmarks.greedy import coherent_pool
from benchmarks.synthetic import Shape, make
from gtp_core import open_catalog, open_store, pose
from gtp_core.atoms import pose_array
from gtp_core.methods import METHODS, Settings, select

NAMES = (
    "compare",
    "full_scale",
    "greedy",
    "greedy_many",
    "growth",
    "less_matching",
    "omp_ratio",
    "omp_steps",
    "products",
    "stages",
    "tokens",
)
NAMES += ("browse", "slider", "subspace", "synthetic", "uniform", "duplicates", "neighbors", "why")
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A synthetic store; tests may read it."""
    return make(tmp_path_factory.mktemp("commands") / "store", Shape(700, 3, 64, part_rows=300))


@pytest.mark.parametrize("name", NAMES)
def test_help_is_help(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as left:
        importlib.import_module(f"benchmarks.{name}").main()
    assert left.value.code == 0
    assert "usage:" in capsys.readouterr().out


# --- influence against LESS's matching -------------------------------------------------------


def test_whole_matrices_and_our_pass_agree(store):
    for task in store.task_names:
        ours, less = (way(store, task) for way in (less_matching.ours, less_matching.less))
        assert less_matching.assert_equal(ours, less) <= 1e-3


def test_answers_that_differ_are_no_race(store):
    less = less_matching.less(store, store.task_names[0])
    wrong = less.copy()
    wrong[np.abs(less).argmax()] *= 1.002
    with pytest.raises(AssertionError):
        less_matching.assert_equal(wrong, less)


@linux
def test_both_ways_are_measured_apart(store, tmp_path):
    cost = less_matching.measured_apart("ours", store.folder, "broad", 1, tmp_path / "ours.npy")
    assert 0 < cost["seconds"] < 60
    assert len(np.load(tmp_path / "ours.npy")) == 700


# --- matching pursuit ------------------------------------------------------------------------


def test_a_comparison_at_the_end_is_told_apart_from_rows_alone(store, tmp_path, monkeypatch):
    monkeypatch.setattr("gtp_core.pursuit.pace._MOST_WORK", (2 * 40) ** 2 * 192)
    with closing(open_catalog(store, workspace=tmp_path)) as catalog:
        problem = pose(catalog, "broad", n_splits=0)
        (line,) = greedy_many.lines(problem, [40], [0.1])
    omp, gtp, alone, ratio = (float(cell) for cell in line.split("|")[3:7])
    assert gtp < min(omp, alone)
    assert ratio == pytest.approx(gtp / omp, abs=1e-3)


def test_both_searches_for_a_budget_in_tokens_end_where_no_sample_more_fits(store, tmp_path):
    with closing(open_catalog(store.folder, workspace=tmp_path)) as catalog:
        problem = pose(catalog, store.task_names[0], n_splits=0)
        first, second = tokens_of.lines(problem, [10.0], ["gtp", "top-k"])
    assert first.startswith("| gtp |")
    assert second.startswith("| top-k |")


@pytest.mark.parametrize("ridge", [0.1, 1.0])
def test_the_solver_of_cords_is_that_of_the_register(ridge):
    """As long as no weight turns negative both take the same samples and weights."""
    matrix, target = coherent_pool(400, 64)
    found = omp_ratio.cords(matrix.astype(np.float32), target, 12, ridge)
    chosen = select(
        pose_array(matrix, target), 12, method="grad-match", settings=Settings(ridge=ridge)
    )
    assert sorted(found.support.tolist()) == sorted(chosen.support.tolist())
    assert found.residual == pytest.approx(chosen.residual_weighted, rel=1e-3)


def test_a_size_is_measured_and_checked():
    line, ratios = omp_ratio.one_size(600, 64, 10)
    assert line.startswith("| 600 x 64 | 10 |")
    assert set(ratios) == {"sklearn", "cords"}
    assert all(ratio > 0 for ratio in ratios.values())


def test_steps_are_summed_by_the_power_law_of_the_nearest_two():
    seconds = {k: 1e-6 * k**2 for k in (1, 128, 256)}
    exact = sum(1e-6 * k**2 for k in range(1, 1001))
    assert omp_steps.summed(seconds, 0.5, 1000) == pytest.approx(500 + exact)
    assert omp_steps.summed(seconds, 0.0, 100) == pytest.approx(1e-6 * 100 * 101 * 201 / 6)


def test_a_line_of_steps_has_both_columns(store):
    with closing(open_catalog(store, workspace=store.folder / "steps")) as catalog:
        line = omp_steps.compared(pose(catalog, "clear"), 140, 128)
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[0] == "140"
    assert 0 < float(cells[2]) < 1
    assert cells[4].startswith("128:")
    assert cells[-1].endswith("x")


def test_every_method_has_a_cost(store):
    assert set(stages.COSTS) == set(METHODS)
    (line,) = (row for row in stages.table(store.folder, "2%", None, ["gtp"], 0, 8) if "fit" in row)
    assert line.count("|") == 7
    assert "energy" in line


# --- growth and subspaces --------------------------------------------------------------------


def test_a_fit_of_a_line_has_exponent_one_and_the_picture_says_so():
    sizes = [10, 20, 40, 80]
    times = np.outer(sizes, [0.001, 0.01, 0.1])
    assert growth.fitted(sizes, times[:, 0].tolist()) == pytest.approx((1.0, 0.001))
    drawn = growth.picture(sizes, times, "CPU seconds")
    assert drawn.count("<circle") == 12
    assert "select gtp n^1.00" in drawn
    assert drawn.startswith("<svg")


@linux
def test_rows_of_the_subspace_benchmark_hold_what_they_assert(store, tmp_path):
    catalog = open_catalog(open_store(store.folder), workspace=tmp_path)
    problem = pose(catalog, "broad", n_splits=1)
    assert len(list(subspace.fits(catalog, [4, 16]))) == 3
    (row,) = subspace.rows_of(problem, [16], [7], [1.0])
    catalog.close()
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:4] == ["broad", "1", "7", "16"]
    assert 0 < float(cells[4]) < 2
    assert 0.9 < float(cells[7]) < 1.2
