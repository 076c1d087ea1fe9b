"""Promises of gtp_core.atoms: the geometry is what it says, and who may be chosen is who may."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import DUPLICATES, INVALID, build_store, less_influence
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gtp_core.atoms import (
    ArrayAtoms,
    StoredAtoms,
    pose,
    pose_array,
    remove,
    strongest,
    weighted_sums,
)
from gtp_core.atoms.aims import half as halved
from gtp_core.catalog import open_catalog
from gtp_core.errors import CatalogError, TaskError
from gtp_core.pursuit import pursue
from gtp_core.trajectories import open_trajectories, step_weights

EVERYONE = np.arange(60)


@pytest.fixture(scope="module", params=["kept", "removed"])
def posed(request, catalog):
    return pose(catalog, "maths", common_direction=request.param)


def dense_units(store) -> np.ndarray:
    """(n_checkpoints, n_samples, width) float64, read file by file."""
    parts = range(len(store.manifest.parts))
    return np.stack(
        [
            np.concatenate([store.part_rows(p, t)[0] for p in parts]).astype(float)
            for t in range(len(store.checkpoints))
        ]
    )


def explicit(catalog, task, removed):
    """Atoms and target by the definition: rewrite every row, then weigh, then put end to end."""
    store = catalog.store
    pool = dense_units(store)
    asked = np.stack([store.task_rows(task, t)[0].astype(float) for t in range(3)])
    if removed:
        for t in range(3):
            m = pool[t][catalog.valid()].mean(axis=0)
            m /= np.linalg.norm(m)
            pool[t] -= np.outer(pool[t] @ m, m)
            asked[t] -= np.outer(asked[t] @ m, m)
    eta = np.sqrt(step_weights(store.checkpoints))
    atoms, examples = (
        np.hstack([e * x for e, x in zip(eta, y, strict=True)]) for y in (pool, asked)
    )
    names = store.examples(task)["subtask"].to_numpy()
    return atoms, np.mean([examples[names == s].mean(axis=0) for s in set(names)], axis=0)


def test_sums_of_many_atoms_are_those_of_few(monkeypatch, posed):
    index = np.flatnonzero(posed.atoms.candidates)[::2]
    weights = np.random.default_rng(0).uniform(0, 1, (2, len(index)))
    few = weighted_sums(posed.atoms, index, weights)
    monkeypatch.setattr("gtp_core.atoms.matrix._FEW_NUMBERS", 0)
    monkeypatch.setattr("gtp_core.atoms.matrix._BLOCK_AT_ONCE", 7)
    many = weighted_sums(posed.atoms, index, weights)
    assert np.abs(many - few).max() < 1e-6 * np.abs(few).max()
    assert np.allclose(few, weights @ posed.atoms.rows(index), rtol=1e-5, atol=1e-6)


def test_many_rows_are_those_of_few(monkeypatch, posed):
    index = np.flatnonzero(posed.atoms.candidates)[::2]
    few = posed.atoms.rows(index)
    monkeypatch.setattr("gtp_core.atoms.matrix._FEW_ROWS", 0)
    monkeypatch.setattr("gtp_core.atoms.block._WIDE_AT_ONCE", 7)
    many = posed.atoms.rows(index)
    assert many.dtype == few.dtype
    assert np.abs(many - few).max() < 1e-6 * np.abs(few).max()


@pytest.mark.parametrize("removed", [False, True])
@pytest.mark.parametrize("task", ["maths", "dates"])
def test_atoms_and_target_are_those_of_the_definition(catalog, task, removed):
    problem = pose(catalog, task, common_direction="removed" if removed else "kept")
    atoms, target = explicit(catalog, task, removed)
    assert (problem.atoms.n_samples, problem.atoms.dim) == atoms.shape
    assert np.allclose(problem.target, target, atol=1e-6)
    assert np.allclose(problem.atoms.rows(EVERYONE), atoms, atol=1e-6)
    vectors = np.random.default_rng(0).standard_normal((2, 48))
    assert np.allclose(problem.atoms.products(vectors), atoms @ vectors.T, atol=1e-5)


def test_removing_leaves_nothing_along_the_direction(catalog):
    problem = pose(catalog, "maths")
    rows = problem.atoms.rows(EVERYONE).reshape(60, 3, 16)
    assert np.abs(np.einsum("ntd,td->nt", rows, catalog.common_direction())).max() < 1e-6
    vectors = np.random.default_rng(0).standard_normal((2, 48))
    once = remove(vectors, catalog.common_direction())
    assert np.allclose(remove(once, catalog.common_direction()), once)
    assert remove(vectors, None) is vectors


def test_influence_is_less_whatever_is_removed(catalog, posed):
    valid = catalog.valid()
    wanted = less_influence(catalog.store, "maths")
    assert np.allclose(posed.influence[valid], wanted[valid], atol=1e-6)


def test_equal_samples_have_equal_proxies(posed):
    proxies = posed.atoms.products(posed.target[None])[:, 0]
    assert all(proxies[a] == proxies[b] for a, b in DUPLICATES.items())


def test_memory_and_memory_map_lead_pursuit_to_the_same_support(posed):
    stored = posed.atoms
    array = ArrayAtoms(stored.rows(EVERYONE), stored.candidates)
    for budget in (1, 5, 12):
        one, two = (pursue(a, posed.target, budget, ridge=0.05) for a in (stored, array))
        assert one[0].tolist() == two[0].tolist()
        assert np.allclose(one[1], two[1], rtol=1e-3)


def test_one_checkpoint_is_a_trajectory_too(small_store):
    catalog = open_catalog(small_store(step_sizes=(3e-5,)))
    problem = pose(catalog, "dates")
    assert problem.atoms.dim == 16
    assert np.allclose(
        np.linalg.norm(open_trajectories(catalog.store).rows(np.array([0, 1])), axis=1),
        1,
        atol=1e-3,
    )


# --- who may be chosen -----------------------------------------------------------------------


def test_the_invalid_sit_out(posed):
    assert np.flatnonzero(~posed.atoms.candidates).tolist() == sorted(INVALID)
    assert not set(posed.atoms.strongest(posed.target, 60)) & set(INVALID)


def test_candidates_honour_filter_bans_and_pins_at_once(catalog):
    problem = pose(
        catalog,
        "maths",
        where="row >= 30 -- the second half",
        bans=["id-0031", "id-0032", "id-0031"],
        pins=["id-0040", "id-0002", "id-0040"],
    )
    wanted = ({2} | set(range(30, 60))) - {31, 32} - set(INVALID)
    assert set(np.flatnonzero(problem.atoms.candidates)) == wanted
    assert problem.pinned.tolist() == [2, 40]
    assert problem.settings["bans"] == ["id-0031", "id-0032"]
    assert problem.settings["where"] == "row >= 30 -- the second half"


@pytest.mark.parametrize(
    ("what", "error", "parts"),
    [
        ({"pins": ["id-0001"], "bans": ["id-0001"]}, TaskError, ("'id-0001'", "Remove")),
        ({"pins": ["id-0007"]}, TaskError, ("'id-0007'", "no usable gradient", "Remove")),
        ({"pins": ["nobody"]}, CatalogError, ("'nobody'",)),
        ({"bans": ["nobody"]}, CatalogError, ("'nobody'",)),
        ({"where": "false"}, TaskError, ("no sample may be chosen", "Loosen")),
        ({"where": "row = 7"}, TaskError, ("no sample may be chosen",)),
        ({"where": "nonsense ="}, CatalogError, ("nonsense",)),
        ({"where": "true) UNION ALL SELECT 99 WHERE (true"}, CatalogError, ()),
        ({"common_direction": "tilted"}, TaskError, ("'tilted'", "'kept' or 'removed'")),
        ({"task": "nope"}, TaskError, ("maths, dates",)),
        ({"seed": -1}, TaskError, ("seed", "-1")),
        ({"n_splits": -1}, TaskError, ("n_splits", "-1")),
    ],
)
def test_contradictions_are_refused_in_one_sentence(catalog, says, what, error, parts):
    with pytest.raises(error) as caught:
        pose(catalog, **({"task": "maths"} | what))
    says(caught.value, *parts)


def test_a_task_without_usable_examples_is_no_target(small_store, says):
    catalog = open_catalog(small_store(tasks={"empty": {}}))
    with pytest.raises(TaskError) as caught:
        pose(catalog, "empty")
    says(caught.value, "'empty'", "at least one")


def test_settings_hold_every_value_that_was_used(posed):
    assert set(posed.settings) >= {"task", "subtasks", "where", "pins", "bans", "n_splits"}
    assert posed.settings["common_direction"] in ("kept", "removed")


def test_tokens_and_sources_are_the_samples_own(catalog, posed):
    assert posed.tokens.tolist() == [5 + (i * 7) % 40 for i in range(60)]
    names = catalog.query("SELECT source FROM samples ORDER BY row")["source"].to_list()
    pairs = set(zip(names, posed.sources.tolist(), strict=True))
    assert len(pairs) == len(set(names)) == len(set(posed.sources.tolist())) == 3


# --- splits ----------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(1, 7), min_size=1, max_size=5), seed=st.integers(0, 99))
def test_halves_are_disjoint_cover_everything_and_hold_half_of_every_subtask(sizes, seed):
    subtask = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    half = halved(subtask, np.random.default_rng(seed))
    for s, size in enumerate(sizes):
        assert half[subtask == s].sum() in (size // 2, size - size // 2)
    if len(subtask) > 1:
        assert 0 < half.sum() < len(subtask)
        assert abs(2 * half.sum() - len(subtask)) <= 1
    assert np.array_equal(half, halved(subtask, np.random.default_rng(seed)))


def test_splits_come_in_pairs_that_fit_each_other_in_turn(posed):
    assert len(posed.splits) == 10
    for one, two in zip(posed.splits[::2], posed.splits[1::2], strict=True):
        assert np.array_equal(one.fit, two.rest)
        assert np.array_equal(one.rest, two.fit)
    assert len({s.fit.tobytes() for s in posed.splits}) > 2


def test_splits_are_deterministic_and_follow_the_seed(catalog):
    one, two, other = (pose(catalog, "maths", seed=s) for s in (3, 3, 4))
    pairs = list(zip(one.splits, two.splits, strict=True))
    assert all(a.fit.tobytes() == b.fit.tobytes() for a, b in pairs)
    assert one.splits[0].fit.tobytes() != other.splits[0].fit.tobytes()


def test_the_two_targets_of_a_split_average_to_the_whole_when_subtasks_are_even(small_store):
    catalog = open_catalog(small_store(tasks={"even": {"a": 4, "b": 2}}))
    problem = pose(catalog, "even")
    assert all(np.allclose((s.fit + s.rest) / 2, problem.target) for s in problem.splits)


def test_a_large_pool_is_judged_by_the_first_two_halvings(posed, monkeypatch):
    monkeypatch.setattr("gtp_core.atoms.problem.LARGE", posed.atoms.n_samples * posed.atoms.dim - 1)
    large = replace(posed)
    assert len(large.splits) == 10
    assert large.held_out == posed.splits[:4]
    assert [part.target for part, _ in large.parts] == [split.fit for split in posed.splits[:4]]


def test_parts_are_problems_with_the_same_pool(posed):
    assert len(posed.parts) == len(posed.splits)
    for (part, rest), split in zip(posed.parts, posed.splits, strict=True):
        assert part.target is split.fit
        assert rest is split.rest
        assert part.atoms is posed.atoms
        assert part.influence.shape == (60,)
        assert part.parts == ()


def test_a_single_example_cannot_be_split(small_store):
    assert pose(open_catalog(small_store(tasks={"one": {"a": 1}})), "one").splits == ()


# --- ranking ---------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(
    scores=arrays(
        np.float32,
        st.integers(1, 30),
        elements=st.sampled_from([-np.inf, -1, -0.0, 0, 1e-45, 0.5, 1, 1, np.nan, np.inf]),
    ),
    count=st.integers(0, 35),
    positive=st.booleans(),
    data=st.data(),
)
def test_strongest_is_a_stable_sort_of_the_usable(scores, count, positive, data):
    size = len(scores)
    candidates = np.array(data.draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    usable = [i for i in range(size) if candidates[i] and np.isfinite(scores[i])]
    usable = [i for i in usable if not positive or scores[i] > 0]
    wanted = sorted(usable, key=lambda i: (-scores[i], i))[:count]
    assert strongest(scores, candidates, count, positive=positive).tolist() == wanted


# --- plain arrays ----------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("dim", [3, 37, 3001])
def test_equal_rows_of_an_array_have_equal_proxies(order, dtype, dim):
    generator = np.random.default_rng(0)
    rows = generator.standard_normal((7, dim)).astype(dtype)
    index = np.r_[0:7, 3:7, 0:7, 1, 1, 1]
    target = generator.standard_normal(dim)
    problem = pose_array(np.asarray(rows[index], order=order), target)
    proxies = problem.atoms.products(target[None])[:, 0]
    assert np.array_equal(proxies, proxies[:7][index])
    plain = pose_array(np.ascontiguousarray(rows), target).atoms
    assert np.array_equal(proxies[:7], plain.products(target[None])[:, 0])


def test_rows_that_are_not_finite_or_zero_sit_out_of_an_array():
    matrix = np.array([[1.0, 0], [np.nan, 1], [0, 0], [np.inf, 0], [-np.inf, 1], [0, 1]])
    problem = pose_array(matrix, np.array([1.0, 1.0]))
    assert np.flatnonzero(problem.atoms.candidates).tolist() == [0, 5]
    assert np.isfinite(problem.atoms.products(problem.target[None])).all()


def test_posing_leaves_its_arrays_alone():
    matrix, target = np.eye(3), np.array([1.0, np.pi, 0])
    for array in (matrix, target):
        array.flags.writeable = False
    problem = pose_array(matrix, target, pinned=[2, 0])
    assert problem.pinned.tolist() == [0, 2]
    assert problem.tokens.tolist() == [1, 1, 1]
    assert problem.target.tolist() == target.tolist()


def test_stored_atoms_are_not_copied(tmp_path):
    store = build_store(tmp_path / "s")
    atoms = StoredAtoms(open_trajectories(store), np.ones(60, bool))
    assert all(isinstance(part, np.memmap) for part in atoms.trajectories.parts[0] if len(part))


def test_the_loaded_influence_is_what_a_pass_over_the_atoms_gives(catalog):
    for task in catalog.store.task_names:
        problem = pose(catalog, task)
        again = problem.less_atoms.products(problem.subtasks).max(axis=1)
        valid = catalog.valid()
        # A small store is summed by NumPy when it is loaded: the last digit may differ.
        assert np.allclose(problem.influence[valid], again[valid], rtol=1e-5, atol=1e-7)
