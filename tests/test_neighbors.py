"""Promises of the graph: finds what brute force finds, keeps what it found, the same by seed."""

import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
import polars as pl
import pytest

from gtp_core.catalog import open_catalog
from gtp_core.neighbors import kept, prepare_neighbors, saved_neighbors
from gtp_core.neighbors.complete import components
from gtp_core.neighbors.graph import build_graph, same_rows
from gtp_core.neighbors.kept import put
from gtp_core.neighbors.pairs import candidates, gradient_pairs
from gtp_core.neighbors.sketch import sketch, width_for
from gtp_core.neighbors.text import _bucket_pairs, shingle_likeness, text_pairs
from gtp_core.trajectories import Trajectories, open_trajectories


def atoms(n=300, dims=(40, 40), seed=0, near=60, cosine=0.95):
    """Unit rows per checkpoint, some near copies of others, in parts of uneven size."""
    generator = np.random.default_rng(seed)
    parts = []
    for dim in dims:
        rows = generator.standard_normal((n, dim))
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        noise = generator.standard_normal((near, dim))
        noise -= (noise * rows[:near]).sum(1, keepdims=True) * rows[:near]
        noise /= np.linalg.norm(noise, axis=1, keepdims=True)
        rows[n - near :] = cosine * rows[:near] + np.sqrt(1 - cosine**2) * noise
        half = rows.astype(np.float16)
        parts.append((half[:100], half[100:100], half[100:]))
    return Trajectories(tuple(parts), np.array([0.25, 0.75]))


def brute_force(trajectories, floor, direction=None):
    whole = trajectories.rows(np.arange(trajectories.n_samples)).astype(np.float64)
    if direction is not None:
        pieces = whole.reshape(len(whole), *direction.shape)
        along = np.einsum("ntd,td->nt", pieces, direction)
        whole = (pieces - along[:, :, None] * direction).reshape(len(whole), -1)
    whole /= np.linalg.norm(whole, axis=1, keepdims=True)
    cosines = whole @ whole.T
    found = np.argwhere(np.triu(cosines >= floor, 1))
    return {(int(a), int(b)): cosines[a, b] for a, b in found}


def found_pairs(likeness):
    pairs = zip(likeness.one.tolist(), likeness.other.tolist(), likeness.score, strict=True)
    return {(a, b): float(score) for a, b, score in pairs}


@pytest.mark.parametrize("removed", [False, True])
def test_finds_every_pair_that_brute_force_finds_with_its_exact_cosine(removed):
    trajectories = atoms()
    direction = None
    if removed:
        direction = np.zeros((2, 40))
        direction[0, 3] = direction[1, 7] = 1.0
    sketches, along = sketch(trajectories, direction, width=80)
    graph = build_graph(sketches, np.ones(300, bool), k=5)
    likeness = gradient_pairs(trajectories, along if removed else None, graph, sketches, exact=True)
    wanted = brute_force(trajectories, 0.8, direction)
    assert len(wanted) >= 60
    found = found_pairs(likeness)
    assert found.keys() == wanted.keys()
    assert all(abs(found[pair] - wanted[pair]) < 1e-5 for pair in wanted)
    assert (np.diff(likeness.score) <= 0).all()


def test_short_sketches_lose_few_pairs_and_no_exactness():
    trajectories = atoms(dims=(900, 900), near=100)
    sketches, _ = sketch(trajectories, None, width=256)
    assert sketches.shape == (300, 256)
    graph = build_graph(sketches, np.ones(300, bool))
    likeness = gradient_pairs(trajectories, None, graph, sketches, exact=False)
    wanted, found = brute_force(trajectories, 0.8), found_pairs(likeness)
    assert len(wanted.keys() & found.keys()) >= 0.95 * len(wanted)
    assert all(abs(found[pair] - wanted[pair]) < 1e-5 for pair in found)


def test_groups_larger_than_a_list_of_neighbours_are_completed():
    generator = np.random.default_rng(1)
    centre = generator.standard_normal(64)
    rows = centre + 0.1 * generator.standard_normal((50, 64))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows = rows.astype(np.float32)
    graph = build_graph(rows, np.ones(50, bool), k=4)
    one, _, floor = candidates(graph, rows, 0.8, 10_000)
    assert len(one) == 50 * 49 // 2
    assert floor == 0.8
    fewer, _, raised = candidates(graph, rows, 0.8, 100)
    assert len(fewer) <= 100
    assert raised > 0.8


def one_family(size, strangers=100, dim=64, noise=0.1, seed=0):
    """Unit rows: a family around one centre, then strangers."""
    generator = np.random.default_rng(seed)
    rows = generator.standard_normal((size + strangers, dim))
    rows[:size] = generator.standard_normal(dim) + noise * generator.standard_normal((size, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def changed_texts(size, words=60, seed=0):
    """Texts of the same words, one of them another in each."""
    generator = np.random.default_rng(seed)
    texts = []
    for i in range(size):
        some = [f"w{j}" for j in range(words)]
        some[int(generator.integers(words))] = f"x{i}"
        texts.append(" ".join(some))
    return texts


def test_all_pairs_of_a_family_of_four_hundred_gradients_are_found():
    rows = one_family(400)
    graph = build_graph(rows, np.ones(len(rows), bool))
    seen = np.full(len(rows), np.nan)
    one, other, _ = candidates(graph, rows, 0.8, 1_000_000, seen)
    wanted = {(int(a), int(b)) for a, b in np.argwhere(np.triu(rows @ rows.T >= 0.95, 1))}
    assert len(wanted) > 79_000
    assert wanted <= set(zip(one.tolist(), other.tolist(), strict=True))
    assert (seen <= 0.8).all()


def test_all_pairs_of_a_family_of_four_hundred_texts_are_found():
    texts = changed_texts(400)
    likeness = text_pairs([pl.Series(texts)])
    wanted = {
        (a, b)
        for a in range(400)
        for b in range(a + 1, 400)
        if jaccard_of_words(texts[a], texts[b]) >= 0.8
    }
    found = {pair for pair, score in found_pairs(likeness).items() if score >= 0.8 - 1e-6}
    assert len(wanted) > 50_000
    assert found == wanted
    assert (likeness.seen <= 0.5).all()


def test_groups_that_are_too_large_say_from_where_on_they_are_known(monkeypatch):
    monkeypatch.setattr("gtp_core.neighbors.complete.WHOLE", 30)
    loose, tight = one_family(60, 0, noise=0.3), one_family(20, 40, noise=0.1, seed=1)
    rows = np.concatenate([loose, tight])
    graph = build_graph(rows, np.ones(len(rows), bool), k=5)
    seen = np.full(len(rows), np.nan)
    one, other, floor = candidates(graph, rows, 0.8, 1_000_000, seen)
    assert floor == 0.8
    assert (seen[60:] == 0.8).all()
    assert (seen[:60] > 0.8).mean() > 0.9
    known = set(zip(one.tolist(), other.tolist(), strict=True))
    cosines = rows @ rows.T
    for level in (0.8, 0.85, 0.9, 0.95):
        labels, nodes = components(*np.nonzero(np.triu(cosines >= level, 1)))
        for number in range(labels.max(initial=-1) + 1):
            members = nodes[labels == number]
            if (seen[members] <= level).all():
                pairs = members[np.argwhere(np.triu(cosines[np.ix_(members, members)] >= 0.8, 1))]
                assert {(int(a), int(b)) for a, b in pairs} <= known


def test_completing_stays_within_the_room_there_is():
    rows = np.concatenate([one_family(40, 0), one_family(60, 0, seed=1)])
    graph = build_graph(rows, np.ones(100, bool), k=4)
    seen = np.zeros(100)
    one, _, floor = candidates(graph, rows, 0.8, 1200, seen)
    assert len(one) <= 1200
    assert floor == 0.8
    assert (seen[:40] == 0.8).all()
    assert (seen[40:] > 0.95).any()


def test_a_sketch_is_the_same_by_seed_and_another_by_another():
    trajectories = atoms(dims=(300, 300))
    first, _ = sketch(trajectories, None, width=100, seed=3)
    again, _ = sketch(trajectories, None, width=100, seed=3)
    other, _ = sketch(trajectories, None, width=100, seed=4)
    assert (first == again).all()
    assert not np.allclose(first, other)
    assert width_for(4000, 700) == 700
    assert width_for(4000, 7000) > width_for(270_000, 7000)


def test_copies_are_one_point_and_invalid_samples_none():
    rows = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
    rows[4] = rows[1]
    rows[5] = rows[0]
    usable = np.array([False, True, True, True, True, True])
    assert same_rows(rows, usable).tolist() == [-1, 1, 2, 3, 1, 5]
    graph = build_graph(rows, usable, k=3)
    assert graph.points.tolist() == [1, 2, 3, 5]
    assert (graph.neighbours != np.arange(4)[:, None]).all()


@pytest.mark.parametrize("n", [0, 1, 2])
def test_pools_of_hardly_any_samples(n):
    rows = np.eye(4, dtype=np.float32)[:n]
    graph = build_graph(rows, np.ones(n, bool))
    one, _, _ = candidates(graph, rows, 0.8, 10)
    assert len(one) == 0
    assert graph.neighbours.shape == (n, max(n - 1, 0))


def test_nearest_neighbour_descent_agrees_with_comparing_all(monkeypatch):
    generator = np.random.default_rng(0)
    rows = generator.standard_normal((600, 24)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    exact = build_graph(rows, np.ones(600, bool), k=8)
    monkeypatch.setattr("gtp_core.neighbors.graph._EXACT", 100)
    nearly = build_graph(rows, np.ones(600, bool), k=8)
    again = build_graph(rows, np.ones(600, bool), k=8)
    assert (nearly.neighbours == again.neighbours).all()
    same = [len(set(a) & set(b)) for a, b in zip(exact.neighbours, nearly.neighbours, strict=True)]
    assert np.mean(same) > 0.9 * 8
    assert (nearly.neighbours != np.arange(600)[:, None]).all()


def test_components_of_nothing_and_of_two_groups():
    none = np.empty(0, np.int64)
    assert [len(found) for found in components(none, none)] == [0, 0]
    labels, nodes = components(np.array([1, 5, 9]), np.array([5, 3, 7]))
    assert nodes.tolist() == [1, 3, 5, 7, 9]
    assert labels[0] == labels[1] == labels[2] != labels[3] == labels[4]


# --- texts -----------------------------------------------------------------------------------


def jaccard_of_words(one, other):
    """The definition, in plain Python, for texts of latin words."""
    sets = []
    for text in (one, other):
        words = text.casefold().split()
        sets.append({tuple(words[i : i + 3]) for i in range(max(len(words) - 2, 1))})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def test_text_pairs_are_those_of_brute_force():
    generator = np.random.default_rng(0)
    vocabulary = [f"w{i}" for i in range(400)]
    texts = [" ".join(generator.choice(vocabulary, 30)) for _ in range(150)]
    for i in range(60):
        words = texts[i].split()
        for place in generator.choice(30, generator.integers(0, 4), replace=False):
            words[place] = "changed"
        texts.append(" ".join(words))
    series = pl.Series(texts)
    likeness = text_pairs([series[:70], series[70:71], series[71:]])
    found = found_pairs(likeness)
    wanted = {
        (a, b): jaccard_of_words(texts[a], texts[b])
        for a in range(len(texts))
        for b in range(a + 1, len(texts))
        if texts[a] != texts[b] and jaccard_of_words(texts[a], texts[b]) >= 0.5
    }
    first = {(int(likeness.copies[a]), int(likeness.copies[b])) for a, b in wanted}
    assert found.keys() == {(min(pair), max(pair)) for pair in first}
    assert all(found[pair] == pytest.approx(wanted[pair], abs=1e-6) for pair in found)


@pytest.mark.parametrize(
    ("one", "other", "score"),
    [
        ("Add 3 AND 4!", "add  3 and 4", 1.0),
        ("ﬁne ① x", "fine 1 x", 1.0),
        ("前半戦の反対は", "前半戦の反対を", 4 / 6),
        ("", "", 1.0),
        ("one", "two", 0.0),
    ],
)
def test_words_are_told_apart_in_any_script(one, other, score):
    assert shingle_likeness(one, other) == pytest.approx(score)


def test_texts_without_words_are_like_no_other():
    likeness = text_pairs([pl.Series(["!!!", "???", "a b c d", "a b c d e"])])
    assert found_pairs(likeness).keys() == {(2, 3)}


def test_a_template_that_many_share_costs_no_square():
    bands = np.ones((5000, 1), np.uint64)
    assert len(_bucket_pairs(bands)) < 3 * 5000


# --- what is kept ----------------------------------------------------------------------------


def test_the_graph_is_built_once_and_found_again(own_catalog):
    assert saved_neighbors(own_catalog) is None
    told = []
    built = prepare_neighbors(own_catalog, progress=lambda *say: told.append(say[0] / say[1]))
    assert told == sorted(told)
    assert told[-1] == 1
    again = saved_neighbors(own_catalog)
    assert again is not None
    assert (again.graph.neighbours == built.graph.neighbours).all()
    assert set(again.likenesses) == {"text", "near-text", "gradient"}
    other = prepare_neighbors(own_catalog, geometry="removed")
    assert other.folder != built.folder
    copies = again.likenesses["gradient"].copies
    assert copies[45] == copies[5]
    assert copies[[7, 20, 33]].tolist() == [-1, -1, -1]


def test_two_that_want_the_same_graph_build_it_once(own_catalog, monkeypatch):
    built, told, begun, waited = [], [], threading.Event(), threading.Event()
    plain = kept._build

    def build(*what):
        built.append(1)
        begun.set()
        assert waited.wait(30)  # until the other one has said that it waits
        return plain(*what)

    def tell(done, total, what):
        told.append(what)
        waited.set()

    monkeypatch.setattr(kept, "_build", build)
    with closing(open_catalog(own_catalog.store.folder)) as other, ThreadPoolExecutor(1) as pool:
        first = pool.submit(prepare_neighbors, own_catalog)
        assert begun.wait(30)
        second = prepare_neighbors(other, progress=tell)
        assert second.folder == first.result().folder
    assert len(built) == 1
    assert "waiting" in told[0]
    assert not list(own_catalog.workspace.glob("neighbors/.*"))


def test_who_waits_for_a_graph_can_be_cancelled(tmp_path):
    def stop(done, total, what):
        raise KeyboardInterrupt

    with (
        kept.alone(tmp_path / "lock", None),
        pytest.raises(KeyboardInterrupt),
        kept.alone(tmp_path / "lock", stop),
    ):
        raise AssertionError("it did not wait")
    with kept.alone(tmp_path / "lock", stop):
        assert (tmp_path / "lock").exists()
    assert not (tmp_path / "lock").exists()


def test_what_is_damaged_is_built_again(own_catalog):
    folder = prepare_neighbors(own_catalog).folder
    for name in ("neighbours.npy", "pairs-gradient.parquet", "manifest.json"):
        (folder / name).write_bytes(b"x")
        assert saved_neighbors(own_catalog) is None
        prepare_neighbors(own_catalog)
        assert saved_neighbors(own_catalog) is not None


def test_what_an_older_version_kept_is_built_again_where_groups_are_large(own_catalog):
    folder = prepare_neighbors(own_catalog).folder
    assert (folder / "seen-gradient.npy").exists()
    for path in folder.glob("seen-*.npy"):
        path.unlink()
    kept = saved_neighbors(own_catalog)
    assert kept is not None
    assert kept.likenesses["gradient"].seen is None
    star = {"one": [0] * 70, "other": [i % 59 + 1 for i in range(70)], "score": [0.9] * 70}
    few = pl.DataFrame(star, schema_overrides={"score": pl.Float32})
    few.write_parquet(folder / "pairs-gradient.parquet")
    assert saved_neighbors(own_catalog) is not None
    many = few.with_columns(other=pl.Series(range(1, 71)))
    many.write_parquet(folder / "pairs-gradient.parquet")
    assert saved_neighbors(own_catalog) is None


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    def half(folder):
        (folder / "one").write_text("1")
        raise OSError("the disk is full")

    for name, age in ((".old.1.tmp", 7200), (".new.2.tmp", 60)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age, time.time() - age))
    with pytest.raises(OSError, match="full"):
        put(tmp_path / "kept", half)
    assert os.listdir(tmp_path) == [".new.2.tmp"]


def test_a_cancelled_build_leaves_nothing(own_catalog):
    def stop(done, total, what):
        if done >= 60:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_neighbors(own_catalog, progress=stop)
    assert saved_neighbors(own_catalog) is None
    assert not list((own_catalog.workspace).glob("neighbors/*"))


def test_the_manifest_says_what_was_used(own_catalog):
    known = prepare_neighbors(own_catalog, seed=3)
    said = json.loads((known.folder / "manifest.json").read_text())
    assert said["seed"] == 3
    assert said["store"] == own_catalog.store.digest
    trajectories = open_trajectories(own_catalog.store)
    assert said["n_samples"] == trajectories.n_samples
