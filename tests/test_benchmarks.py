"""The synthetic store is what it says, and so are the benchmarks' own instruments."""

import sys
import time

import numpy as np
import polars as pl
import pytest

from benchmarks import full_scale, stages
from benchmarks.synthetic import INVALID, NEAR_COSINES, TASKS, Shape, make
from gtp_core import GTPError, open_catalog, open_store, pose
from gtp_core.report import reliability

SMALL = Shape(n_samples=700, n_checkpoints=3, dim=64, part_rows=300)
WIDE = Shape(n_samples=900, n_checkpoints=2, dim=512, seed=3)
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and asks the page cache")


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    """The small store; tests may read it."""
    return make(tmp_path_factory.mktemp("synthetic") / "store", SMALL)


@pytest.fixture(scope="module")
def synthetic_catalog(tmp_path_factory):
    """The catalog of the wide store."""
    opened = open_catalog(make(tmp_path_factory.mktemp("wide") / "store", WIDE))
    yield opened
    opened.close()


def unit_rows(store, checkpoint: int) -> np.ndarray:
    """All unit rows of a checkpoint (n_samples, dim) float16."""
    parts = range(len(store.manifest.parts))
    return np.concatenate([store.part_rows(p, checkpoint)[0] for p in parts])


def contents(folder) -> dict[str, bytes]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_a_synthetic_store_opens_and_verifies(synthetic):
    store = open_store(synthetic.folder)
    assert (store.n_samples, len(store.checkpoints), store.dim) == (700, 3, 64)
    assert [part.rows for part in store.manifest.parts] == [300, 300, 100]
    assert store.verify() == 3 * 4 + len(TASKS) * 4
    assert store.manifest.invalid == {kind: count for kind, (_, count) in INVALID.items()}


def test_the_same_seed_gives_the_same_bytes(synthetic, tmp_path):
    make(tmp_path / "again", SMALL)
    assert contents(tmp_path / "again") == contents(synthetic.folder)


def test_another_seed_gives_other_rows(synthetic, tmp_path):
    other = make(tmp_path / "other", Shape(700, 3, 64, seed=1, part_rows=300))
    cosines = (unit_rows(other, 0).astype(float) * unit_rows(synthetic, 0)).sum(axis=1)
    assert abs(cosines.mean()) < 0.3


def test_a_finished_store_is_not_made_again(synthetic):
    before = {path: path.stat().st_mtime_ns for path in synthetic.folder.rglob("*")}
    assert make(synthetic.folder, SMALL).store_id == synthetic.store_id
    assert {path: path.stat().st_mtime_ns for path in synthetic.folder.rglob("*")} == before


def test_a_store_of_another_shape_is_left_alone(synthetic):
    with pytest.raises(GTPError, match="already holds a store"):
        make(synthetic.folder, Shape(n_samples=10, n_checkpoints=1, dim=8))


def test_near_copies_have_the_stated_cosines(synthetic):
    truth = pl.read_parquet(synthetic.folder / "truth.parquet").filter(pl.col("kind") == "near")
    assert truth.height == 35
    stated = truth["cosine"].to_numpy()
    assert stated.min() >= NEAR_COSINES[0]
    assert stated.max() <= NEAR_COSINES[1]
    for t in range(3):
        rows = unit_rows(synthetic, t).astype(float)
        found = (rows[truth["row"].to_numpy()] * rows[truth["of"].to_numpy()]).sum(axis=1)
        assert np.abs(found - stated).max() < 2e-3


def test_exact_copies_are_equal_to_the_last_bit_and_in_their_text(synthetic):
    truth = pl.read_parquet(synthetic.folder / "truth.parquet").filter(pl.col("kind") == "exact")
    row, of = truth["row"].to_numpy(), truth["of"].to_numpy()
    assert truth.height > 0
    assert (of < row).all()
    for t in range(3):
        rows = unit_rows(synthetic, t)
        assert np.array_equal(rows[row], rows[of])
    said = synthetic.samples().select("prompt", "completion", "n_tokens").collect()
    assert said[row].equals(said[of])


def test_rows_share_a_direction_as_adam_rows_do(synthetic_catalog):
    found = synthetic_catalog.query("SELECT coherence FROM checkpoints ORDER BY position")
    assert found["coherence"].to_list() == pytest.approx([0.30, 0.45], abs=0.03)


def test_targets_are_about_as_reliable_as_planted(synthetic_catalog):
    for task, planted in TASKS.items():
        problem = pose(synthetic_catalog, task)
        assert reliability(problem, problem.n_examples).full == pytest.approx(planted, abs=0.17)


@linux
def test_both_ways_of_reading_end_with_everything_cached(synthetic):
    paths = full_scale.gradient_files(synthetic)
    assert len(paths) == 9
    assert full_scale.put(paths, "warm") == 1
    for way in full_scale._WAYS:
        full_scale.read_once(paths, way)
    assert full_scale.fastest_read(paths, "warm").cached == 1


@linux
def test_full_scale_checks_the_products_and_prints_a_line_per_budget(synthetic_catalog):
    full_scale.assert_products(synthetic_catalog, "broad")
    found = list(full_scale.lines(synthetic_catalog, "broad", ["5", "2%", "1000"], "warm"))
    assert [line.split()[1] for line in found] == ["5", "2%", "1000"]
    assert "1 to 895 samples" in found[2]


@linux
def test_growth_makes_the_smaller_sisters(tmp_path, capsys):
    make(tmp_path / "big", Shape(n_samples=640, n_checkpoints=1, dim=16))
    full_scale.growth(tmp_path / "big", None, ["4"])
    assert open_store(tmp_path / "big-1of8").n_samples == 80
    assert "select 4" in capsys.readouterr().out


def test_growth_wants_a_synthetic_store(small_store, says):
    with pytest.raises(GTPError) as error:
        full_scale.growth(small_store().folder, None, [])
    says(error.value, "benchmarks.synthetic")


def test_the_exponent_of_a_line_is_one():
    assert full_scale._fit([10, 20, 40], [1.0, 2.0, 4.0]).startswith("samples**1.00")


@linux
def test_measured_sees_memory_and_time():
    before = stages.anonymous_memory()

    def work() -> float:
        block = np.ones(8 << 20)
        time.sleep(0.05)
        return float(block[-1])

    answer, cost = stages.measured(work)
    assert answer == 1
    assert cost.seconds >= 0.05
    assert cost.peak - before > 50 << 20


@linux
def test_stages_prints_a_line_per_stage(synthetic):
    found = list(stages.table(synthetic.folder, "2%", None, ["gtp", "top-k"], 2))
    assert found[1].startswith("| stage | seconds |")
    for name in ("open the store", "load the catalog", "pose broad", "one pass", "one round"):
        assert any(line.startswith(f"| {name}") for line in found), name
    assert any(line.startswith("| select gtp, 14 samples") for line in found)
    assert found[-1].startswith("| reliability")
