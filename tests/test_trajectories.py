"""Promises of gtp_core.trajectories: exact products at memory speed, the same bytes everywhere."""

import os

import numpy as np
import pytest
from conftest import INVALID, build_store, less_influence
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gtp_core.errors import StoreError, TaskError
from gtp_core.store import Checkpoint, open_store
from gtp_core.trajectories import (
    column_sums,
    open_task,
    open_trajectories,
    products,
    step_weights,
    valid_rows,
)

HALF = st.floats(width=16, allow_nan=False, allow_infinity=False)  # subnormals and -0 included


@settings(max_examples=60, deadline=None)
@given(data=st.data(), n=st.integers(0, 6), dim=st.integers(1, 19), count=st.integers(1, 3))
def test_products_are_those_of_float64(data, n, dim, count):
    rows = data.draw(arrays(np.float16, (n, dim), elements=HALF))
    vectors = data.draw(arrays(np.float32, (count, dim), elements=st.floats(-8, 8, width=32)))
    wide = rows.astype(np.float64)
    room = 1e-6 * (np.abs(wide) @ np.abs(vectors.T).astype(np.float64)) + 1e-37
    assert np.all(np.abs(products(rows, vectors) - wide @ vectors.T.astype(np.float64)) <= room)


def test_every_finite_half_is_widened_exactly():
    """All 63,488 of them: normal, subnormal, largest, and both zeros."""
    halves = np.arange(65536, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)][:, None]
    assert np.array_equal(products(halves, np.ones((1, 1)))[:, 0], halves[:, 0].astype(np.float32))


@pytest.fixture(scope="module")
def many():
    """More rows than one job has, of an odd length."""
    generator = np.random.default_rng(3)
    rows = (generator.standard_normal((9001, 37)) / 6).astype(np.float16)
    return rows, generator.standard_normal((3, 37)).astype(np.float32)


def with_cores(monkeypatch, count, call):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(count)))
    return call()


@pytest.mark.parametrize("cores", [2, 3, 64])
def test_any_number_of_threads_gives_the_same_bytes(monkeypatch, many, cores):
    rows, vectors = many
    factor = np.random.default_rng(0).random(len(rows)) < 0.7
    for call in (lambda: products(rows, vectors), lambda: column_sums(rows, factor)):
        alone = with_cores(monkeypatch, 1, call)
        assert alone.tobytes() == with_cores(monkeypatch, cores, call).tobytes()


def test_memory_and_memory_map_give_the_same_bytes(tmp_path, many):
    rows, vectors = many
    rows.tofile(tmp_path / "rows")
    for offset in (0, 8):
        mapped = np.memmap(tmp_path / "rows", np.float16, "r", offset, (9000, 37))
        copied = np.array(mapped)
        assert products(mapped, vectors).tobytes() == products(copied, vectors).tobytes()
        ones = np.ones(9000)
        assert column_sums(mapped, ones).tobytes() == column_sums(copied, ones).tobytes()


def test_equal_rows_get_equal_products_wherever_they_are(many):
    rows, vectors = many
    repeated = np.repeat(rows[:5], 1000, axis=0)
    found = products(repeated, vectors).reshape(5, 1000, 3)
    assert np.array_equal(found, np.repeat(found[:, :1], 1000, axis=1))
    assert np.array_equal(found[:, 0], products(rows[:5], vectors))


def test_products_do_not_depend_on_how_many_vectors_are_asked_at_once(many):
    rows, vectors = many
    together = products(rows, vectors)
    assert all(np.array_equal(together[:, [r]], products(rows, vectors[[r]])) for r in range(3))


def test_products_fill_the_array_they_are_given(many):
    rows, vectors = many
    out = np.full((len(rows), 3), np.nan, np.float32)
    assert products(rows, vectors, out=out) is out
    assert np.isfinite(out).all()


def test_column_sums_are_those_of_float64(many):
    rows, _ = many
    factor = np.random.default_rng(1).standard_normal(len(rows))
    factor[::5] = 0
    found = column_sums(rows, factor)
    wanted = factor @ rows.astype(np.float64)
    assert found.dtype == np.float64
    assert np.allclose(found, wanted, atol=2e-6 * np.abs(factor).sum())
    assert not column_sums(rows[:0], factor[:0]).any()


def dense(store) -> np.ndarray:
    """The atoms (n, dim) float64, by the definition, from every file in turn."""
    sizes = np.array([c.step_size for c in store.checkpoints])
    columns = []
    for t, eta in enumerate(sizes / sizes.sum()):
        parts = [store.part_rows(p, t)[0] for p in range(len(store.manifest.parts))]
        columns.append(np.sqrt(eta) * np.concatenate(parts).astype(np.float64))
    return np.hstack(columns)


def test_step_weights_sum_to_one_and_keep_their_ratios():
    eta = step_weights([Checkpoint("a", 0, 1e-5), Checkpoint("b", 1, 3e-5), Checkpoint("c", 2, 0)])
    assert eta.tolist() == pytest.approx([0.25, 0.75, 0.0])


def test_trajectories_are_unit_gradients_end_to_end(small_store):
    store = small_store()
    trajectories = open_trajectories(store)
    atoms = dense(store)
    assert (trajectories.n_samples, trajectories.dim) == atoms.shape == (60, 48)
    vectors = np.random.default_rng(0).standard_normal((2, 48))
    assert np.allclose(trajectories.products(vectors), atoms @ vectors.T, atol=1e-5)
    lengths = np.linalg.norm(trajectories.rows(np.arange(60)), axis=1)
    valid = np.delete(np.arange(60), sorted(INVALID))
    assert np.allclose(lengths[valid], 1, atol=1e-3)
    assert np.all(lengths[sorted(INVALID)] < 1)


@settings(max_examples=30, deadline=None)
@given(index=st.lists(st.integers(0, 59), max_size=12))
def test_rows_come_in_the_order_asked_across_parts(catalog, index):
    trajectories = open_trajectories(catalog.store)
    index = np.array(index, dtype=np.int64)
    found = trajectories.rows(index)
    assert found.shape == (len(index), 48)
    assert np.allclose(found, dense(catalog.store)[index], atol=1e-7)


@pytest.mark.parametrize("few", [0, 1 << 24])
@pytest.mark.parametrize("parts", [(60,), (25, 0, 34, 1), (1,) * 60])
def test_one_part_or_many_give_the_same_bytes(tmp_path, parts, few, monkeypatch):
    one = open_trajectories(build_store(tmp_path / "a", part_rows=(60,)))
    other = open_trajectories(build_store(tmp_path / "b", part_rows=parts))
    vectors = np.random.default_rng(0).standard_normal((2, 48))
    everyone = np.random.default_rng(1).permutation(60)
    plain = one.rows(everyone)
    monkeypatch.setattr("gtp_core.trajectories._FEW_NUMBERS", few)
    assert plain.tobytes() == one.rows(everyone).tobytes()
    assert one.products(vectors).tobytes() == other.products(vectors).tobytes()
    assert one.rows(everyone).tobytes() == other.rows(everyone).tobytes()


@pytest.mark.parametrize("task", ["maths", "dates"])
def test_influence_is_the_formula_of_less(small_store, task):
    store = small_store()
    found = open_trajectories(store).products(open_task(store, task).targets()).max(axis=1)
    assert np.allclose(found, less_influence(store, task), atol=1e-6)


def test_task_keeps_subtasks_in_the_order_of_their_examples(small_store):
    store = small_store()
    task = open_task(store, "maths")
    names = store.examples("maths")["subtask"].to_list()
    assert task.subtasks == tuple(dict.fromkeys(names))
    assert [task.subtasks[s] for s in task.subtask] == names
    assert task.targets().shape == (3, 48)
    assert task.n_invalid == 0


def test_examples_without_a_usable_gradient_sit_out(tmp_path, monkeypatch):
    store = build_store(tmp_path / "s")
    path = store.folder / "tasks/maths/step-10.safetensors"
    raw = bytearray(path.read_bytes())
    norm = store.task_rows("maths", 1)[1]
    place = raw.find(norm.tobytes())
    raw[place : place + 4] = np.float32(np.nan).tobytes()
    path.write_bytes(raw)
    task = open_task(open_store(store.folder), "maths")
    assert (len(task.rows), task.n_invalid) == (7, 1)


def test_a_task_without_usable_examples_is_refused(small_store, says):
    store = small_store(tasks={"empty": {}, "maths": {"a": 2}})
    with pytest.raises(TaskError) as caught:
        open_task(store, "empty")
    says(caught.value, "'empty'", "0 validation examples", "Collect")


def test_an_unknown_task_is_refused(small_store, says):
    with pytest.raises(TaskError) as caught:
        open_task(small_store(), "nope")
    says(caught.value, "maths, dates")


def test_valid_rows_need_a_finite_positive_norm_at_every_checkpoint():
    norms = np.array([[1, 2], [0, 1], [1, np.nan], [np.inf, 1], [1e-45, 1]], np.float32)
    assert valid_rows(norms).tolist() == [True, False, False, False, True]


def test_a_part_that_vanishes_after_opening_is_one_sentence(small_store, says):
    store = small_store()
    (store.folder / store.manifest.parts[0].files[1].path).unlink()
    with pytest.raises(StoreError) as caught:
        open_trajectories(store)
    says(caught.value, "missing", "Restore")
