"""Promises of posing: what is aimed at, how checkpoints weigh, and how many of a group may join."""

import itertools
import json
from contextlib import closing

import conftest
import numpy as np
import polars as pl
import pytest
from conftest import INVALID, build_store, less_influence, sample_table
from hypothesis import given, settings
from hypothesis import strategies as st

from gtp_core.atoms import DEFAULTS, POOL, Cap, Problem, pose, pose_array
from gtp_core.atoms.aims import read_aim, spell_aim
from gtp_core.catalog import open_catalog
from gtp_core.errors import TaskError
from gtp_core.methods import METHODS, Settings, select
from gtp_core.report import held_out, path_key, run_document, verdict_table
from gtp_core.report.identity import telling

EVERYONE = np.arange(60)


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def rows_of(store, task: str, eta) -> np.ndarray:
    """Trajectories of a task's examples by the definition, nothing removed."""
    pieces = [store.task_rows(task, t)[0].astype(float) for t in range(len(eta))]
    return np.hstack([np.sqrt(e) * piece for e, piece in zip(eta, pieces, strict=True)])


def pool_rows(store, eta) -> np.ndarray:
    parts = range(len(store.manifest.parts))
    pieces = [
        np.concatenate([store.part_rows(p, t)[0] for p in parts]).astype(float)
        for t in range(len(eta))
    ]
    return np.hstack([np.sqrt(e) * piece for e, piece in zip(eta, pieces, strict=True)])


def eta_of(store, **factors) -> np.ndarray:
    sizes = [c.step_size * factors.get(c.name.replace("-", ""), 1) for c in store.checkpoints]
    return np.array(sizes) / sum(sizes)


def subtask_means(store, task: str) -> dict[str, np.ndarray]:
    names = store.examples(task)["subtask"].to_numpy()
    rows = rows_of(store, task, eta_of(store))
    return {name: rows[names == name].mean(axis=0) for name in dict.fromkeys(names)}


# --- several tasks ---------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["kept", "removed"])
@pytest.mark.parametrize(
    ("told", "weights"), [("maths,dates", (1, 1)), ("maths=3,dates=1", (3, 1))]
)
def test_several_tasks_are_the_weighted_mean_of_unit_targets(catalog, direction, told, weights):
    both = pose(catalog, told, common_direction=direction)
    alone = [pose(catalog, t, common_direction=direction).target for t in ("maths", "dates")]
    assert np.linalg.norm(alone[0]) != pytest.approx(np.linalg.norm(alone[1]))
    wanted = np.average([unit(target) for target in alone], axis=0, weights=weights)
    assert np.allclose(both.target, wanted)
    assert both.n_examples == 12
    assert both.settings["task"] == told


def test_several_tasks_rank_by_the_best_subtask_of_all(catalog):
    problem = pose(catalog, "dates, maths")
    valid = catalog.valid()
    wanted = np.maximum(*(less_influence(catalog.store, t) for t in ("maths", "dates")))
    assert problem.subtasks.shape == (4, 48)
    assert np.allclose(problem.influence[valid], wanted[valid], atol=1e-6)


def test_weights_of_tasks_and_subtasks_reach_the_ranking(catalog):
    means = subtask_means(catalog.store, "maths")
    problem = pose(catalog, "maths", subtask_weights={"sums": 4.0})
    for row, name in zip(problem.subtasks, means, strict=True):
        assert np.allclose(row, means[name] * ({"sums": 4}.get(name, 1) / 2))
    tasks = pose(catalog, "maths=1,dates=3").subtasks
    assert np.allclose(tasks[:3], np.stack([*means.values()]) / 2)
    assert np.allclose(tasks[3], subtask_means(catalog.store, "dates")[""] * 1.5)


def test_halves_of_several_tasks_are_halves_of_each(catalog):
    both = pose(catalog, "maths,dates=2", seed=3)
    alone = [pose(catalog, t, seed=3) for t in ("maths", "dates")]
    assert len(both.splits) == 10
    for split, *parts in zip(both.splits, *(p.splits for p in alone), strict=True):
        for side in ("fit", "rest"):
            pair = [unit(getattr(part, side)) for part in parts]
            assert np.allclose(getattr(split, side), (pair[0] + 2 * pair[1]) / 3)
        assert split.subtasks.shape[0] == sum(part.subtasks.shape[0] for part in parts)
    assert held_out(both, 5, method="gtp", settings=Settings()).splits == 10


def test_a_task_that_cannot_be_halved_leaves_nothing_held_out(small_store):
    with closing(open_catalog(small_store(tasks={"one": {"a": 1}, "two": {"a": 2}}))) as catalog:
        assert pose(catalog, "one,two").splits == ()
        assert len(pose(catalog, "two").splits) == 10


def test_one_task_with_a_weight_is_that_task(catalog):
    plain, weighed = pose(catalog, "maths"), pose(catalog, "maths=7")
    assert weighed.settings == plain.settings
    assert weighed.target.tobytes() == plain.target.tobytes()


@given(
    shares=st.dictionaries(
        st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,8}", fullmatch=True) | st.just(POOL),
        st.floats(min_value=1e-300, max_value=1e300, exclude_min=True),
        min_size=1,
        max_size=4,
    )
)
@settings(deadline=None, max_examples=80)
def test_an_aim_has_one_spelling_that_reads_back(shares):
    text = spell_aim(shares)
    again = read_aim(text)
    assert spell_aim(again) == text
    assert [*again] == [*shares]
    if len(set(shares.values())) > 1:
        assert again == shares


# --- subtasks --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sums", "maths/sums"])
def test_subtasks_weigh_as_told(catalog, name):
    problem = pose(catalog, "maths", common_direction="kept", subtask_weights={name: 2})
    means = subtask_means(catalog.store, "maths")
    wanted = (2 * means["sums"] + means["proofs"] + means["units"]) / 4
    assert np.allclose(problem.target, wanted)
    assert problem.settings["subtask_weights"] == {"maths/sums": 2.0}
    assert problem.loaded_influence is None


def test_a_subtask_of_weight_0_is_out_of_target_halves_and_ranking(catalog):
    told = {"proofs": 0, "units": 0}
    problem = pose(catalog, "maths", common_direction="kept", subtask_weights=told)
    sums = subtask_means(catalog.store, "maths")["sums"]
    assert np.allclose(problem.target, sums)
    assert np.allclose(problem.subtasks, sums[None])
    assert problem.n_examples == 5
    assert all(len(split.subtasks) == 1 for split in problem.splits)
    assert problem.settings["subtask_weights"] == {"maths/proofs": 0.0, "maths/units": 0.0}


def test_weights_of_1_change_nothing(catalog):
    plain = pose(catalog, "maths")
    same = pose(catalog, "maths", subtask_weights={"sums": 1}, checkpoints={"step-0": 1.0})
    assert same.settings == plain.settings
    assert same.target.tobytes() == plain.target.tobytes()
    assert same.loaded_influence is not None


def test_a_subtask_of_two_tasks_is_named_with_its_task(small_store, says):
    with closing(open_catalog(small_store(tasks={"a": {"x": 2}, "b": {"x": 2, "y": 1}}))) as opened:
        with pytest.raises(TaskError) as caught:
            pose(opened, "a,b", subtask_weights={"x": 2})
        says(caught.value, "a/x or b/x", "Write one")
        found = pose(opened, "a,b", subtask_weights={"b/x": 2}).settings["subtask_weights"]
        assert found == {"b/x": 2.0}


# --- checkpoints -----------------------------------------------------------------------------


def test_checkpoints_weigh_by_step_size_times_factor(catalog):
    told = {"step-20": 3, "step-0": 0.5}
    problem = pose(catalog, "dates", common_direction="kept", checkpoints=told)
    eta = eta_of(catalog.store, step20=3, step0=0.5)
    assert np.allclose(problem.atoms.rows(EVERYONE), pool_rows(catalog.store, eta), atol=1e-6)
    assert np.allclose(problem.target, rows_of(catalog.store, "dates", eta).mean(axis=0))
    assert problem.settings["checkpoints"] == {"step-0": 0.5, "step-20": 3.0}
    assert problem.loaded_influence is None
    valid = catalog.valid()
    wanted = pool_rows(catalog.store, eta) @ rows_of(catalog.store, "dates", eta).mean(axis=0)
    assert np.allclose(problem.influence[valid], wanted[valid], atol=1e-6)


@pytest.mark.parametrize("direction", ["kept", "removed"])
def test_a_checkpoint_switched_off_says_nothing(catalog, direction):
    problem = pose(catalog, "maths", common_direction=direction, checkpoints={"step-10": 0})
    pieces = problem.atoms.rows(EVERYONE).reshape(60, 3, 16)
    assert not pieces[:, 1].any()
    assert not problem.target.reshape(3, 16)[1].any()
    assert not problem.subtasks.reshape(-1, 3, 16)[:, 1].any()
    assert pieces[0, 0].any()
    assert np.flatnonzero(~problem.atoms.candidates).tolist() == sorted(INVALID)


# --- the pool's own mean ---------------------------------------------------------------------


def test_the_pool_can_be_its_own_target(catalog):
    problem = pose(catalog, POOL)
    rows = pool_rows(catalog.store, eta_of(catalog.store))[catalog.valid()]
    assert problem.settings["common_direction"] == "kept"
    assert np.allclose(problem.target, rows.mean(axis=0), atol=1e-6)
    assert np.allclose(problem.influence[catalog.valid()], rows @ rows.mean(axis=0), atol=1e-5)
    assert problem.n_examples == 57
    gtp, chance = (
        select(problem, 8, method=m, settings=Settings(ridge=0)) for m in ("gtp", "random")
    )
    assert gtp.residual_weighted < chance.residual_weighted


def test_halves_of_the_pool_are_disjoint_and_together_the_pool(catalog):
    problem = pose(catalog, POOL, seed=2)
    assert len(problem.splits) == 10
    for split in problem.splits[::2]:
        assert np.allclose((28 * split.fit + 29 * split.rest) / 57, problem.target, atol=1e-6)
    again = pose(catalog, POOL, seed=2)
    assert [s.fit.tobytes() for s in again.splits] == [s.fit.tobytes() for s in problem.splits]
    assert pose(catalog, POOL, seed=3).splits[0].fit.tobytes() != problem.splits[0].fit.tobytes()
    assert len({s.fit.tobytes() for s in problem.splits}) == 10
    assert held_out(problem, 8, method="gtp", settings=Settings()).match > 0


def test_a_filter_does_not_move_the_mean_of_the_pool(catalog):
    narrow = pose(catalog, POOL, where="source = 'dolly'")
    assert narrow.target.tobytes() == pose(catalog, POOL).target.tobytes()
    assert narrow.atoms.candidates.sum() < 20


def test_the_pool_joins_a_task_in_the_geometry_of_both(catalog):
    mixed = pose(catalog, f"{POOL},maths")
    assert mixed.settings["common_direction"] == "kept"
    alone = [pose(catalog, t, common_direction="kept").target for t in (POOL, "maths")]
    assert np.allclose(mixed.target, (unit(alone[0]) + unit(alone[1])) / 2)


@pytest.mark.parametrize("parts", [(60,), (1, 59), (20, 20, 20)])
def test_the_mean_does_not_depend_on_the_parts(small_store, parts):
    with (
        closing(open_catalog(small_store("a", part_rows=parts))) as one,
        closing(open_catalog(small_store("b"))) as two,
    ):
        assert np.allclose(pose(one, POOL).target, pose(two, POOL).target, atol=1e-7)


# --- refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "parts"),
    [
        ({"task": ""}, ("names no task",)),
        ({"task": "maths,,dates"}, ("names no task",)),
        ({"task": "maths,"}, ("names no task",)),
        ({"task": "maths,maths"}, ("'maths'", "twice")),
        ({"task": "maths=2,maths=3"}, ("'maths'", "twice")),
        ({"task": "maths=0,dates=1"}, ("'maths'", "'0'", "leave the task out")),
        ({"task": "maths=-1,dates"}, ("'-1'",)),
        ({"task": "maths=nan,dates"}, ("'nan'",)),
        ({"task": "maths=inf,dates"}, ("'inf'",)),
        ({"task": "maths=,dates"}, ("''",)),
        ({"task": "maths=2=3"}, ("'2=3'",)),
        ({"task": "maths,nope"}, ("'nope'", "maths, dates")),
        ({"task": "pool:median"}, ("maths, dates",)),
        ({"task": POOL, "common_direction": "removed"}, (POOL, "common direction kept")),
        ({"task": f"maths,{POOL}", "common_direction": "removed"}, (POOL,)),
        ({"task": POOL, "subtask_weights": {"sums": 2}}, ("'sums'", "none at all")),
        ({"subtask_weights": {"sum": 2}}, ("'sum'", "'maths/sums'", "'maths/proofs'")),
        ({"subtask_weights": {"dates/": 2}}, ("'dates/'",)),
        ({"subtask_weights": {"sums": -1}}, ("'sums'", "-1")),
        ({"subtask_weights": {"sums": float("nan")}}, ("nan",)),
        ({"subtask_weights": {"sums": 2, "maths/sums": 3}}, ("two weights",)),
        ({"subtask_weights": dict.fromkeys(("sums", "proofs", "units"), 0)}, ("weight 0", "above")),
        ({"checkpoints": {"step-1": 2}}, ("'step-1'", "step-0, step-10, step-20")),
        ({"checkpoints": {"step-1": 1}}, ("'step-1'",)),
        ({"checkpoints": {"step-0": -1}}, ("'step-0'", "-1")),
        ({"checkpoints": {"step-0": float("inf")}}, ("inf",)),
        ({"checkpoints": dict.fromkeys(("step-0", "step-10", "step-20"), 0)}, ("all weigh 0",)),
        ({"caps": {"colour": 1}}, ("'colour'", "source, cluster, duplicate")),
        ({"caps": {"source": 0}}, ("0", "at least 1")),
        ({"caps": {"source": 1.5}}, ("1.5",)),
        ({"caps": {"source": True}}, ("True",)),
        ({"caps": {"duplicate": 2}}, ("2", "Give 1")),
        ({"caps": {"cluster": 1}}, ("no clusters", "Leave the cap out")),
        (
            {"caps": {"source": 1}, "pins": ["id-0000", "id-0003", "id-0002"]},
            ("2 pinned", "'id-0000'", "Raise the cap"),
        ),
    ],
)
def test_contradictions_are_refused_in_one_sentence(catalog, says, what, parts):
    with pytest.raises(TaskError) as caught:
        pose(catalog, **({"task": "maths"} | what))
    says(caught.value, *parts)


# --- caps ------------------------------------------------------------------------------------


def capped(groups: list[list[int]], most: list[int], pinned=()) -> Problem:
    """A problem of plain arrays with these caps."""
    n = len(groups[0])
    problem = pose_array(np.eye(n), np.ones(n), pinned=pinned)
    caps = tuple(Cap(np.array(g), m, "group") for g, m in zip(groups, most, strict=True))
    return Problem(**{**vars(problem), "caps": caps})


def greedy(order, count, groups, most, pinned) -> list[int]:
    """The walk by the definition: a sample joins when every cap still has room."""
    taken: list[int] = []
    for row in [*pinned, *(i for i in order if i not in pinned)]:
        room = all(
            g[row] < 0 or sum(g[t] == g[row] for t in taken) < m
            for g, m in zip(groups, most, strict=True)
        )
        if room and len(taken) < count:
            taken.append(row)
    return taken


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_first_is_the_greedy_walk_and_most_bounds_every_selection(data):
    n = data.draw(st.integers(1, 8))
    n_caps = data.draw(st.integers(0, 3))
    codes = st.lists(st.integers(-2, 2), min_size=n, max_size=n)
    groups = [data.draw(codes) for _ in range(n_caps)]
    most = [data.draw(st.integers(1, 3)) for _ in range(n_caps)]
    order = data.draw(st.permutations(range(n)))
    tried = sorted(data.draw(st.sets(st.integers(0, n - 1), max_size=2)))
    pinned = [] if len(greedy(tried, n, groups, most, [])) < len(tried) else tried
    problem = capped(groups or [[-1] * n], most or [1], pinned)
    count = data.draw(st.integers(len(pinned), n))
    found = problem.first(np.array(order), count)
    assert found.tolist() == greedy(order, count, groups, most, pinned)

    def fits(rows) -> bool:
        return set(pinned) <= set(rows) and len(greedy(rows, n, groups, most, [])) == len(rows)

    sizes = [len(s) for k in range(n + 1) for s in itertools.combinations(range(n), k) if fits(s)]
    assert problem.most >= max(sizes)
    if n_caps < 2:
        assert problem.most == max(sizes)


def test_a_refused_sample_uses_up_no_cap():
    """Filtering by one cap after the other would reserve the first's only place for sample 1."""
    problem = capped([[0, 1, 1], [0, 0, 1]], [1, 1])
    assert problem.first(np.array([0, 1, 2]), 3).tolist() == [0, 2]


def test_most_counts_who_may_be_chosen(catalog):
    assert pose(catalog, "maths").most == 57
    assert pose(catalog, "maths", bans=["id-0000"]).most == 56
    assert pose(catalog, "maths", caps={"source": 4}).most == 12
    narrow = pose(catalog, "maths", where="source = 'dolly'", caps={"source": 4})
    assert narrow.most == 4
    assert pose(catalog, "maths", where="row < 2", pins=["id-0040"]).most == 3


@pytest.mark.parametrize("method", ["top-k", "random"])
def test_a_cap_per_source_is_kept(catalog, method):
    problem = pose(catalog, "maths", caps={"source": 2}, pins=["id-0002"])
    chosen = select(problem, 6, method=method).support
    assert np.unique(problem.sources[chosen], return_counts=True)[1].tolist() == [2, 2, 2]
    assert 2 in chosen
    assert problem.settings["caps"] == {"source": 2}
    assert all(part.caps == problem.caps for part, _ in problem.parts)


@pytest.mark.parametrize("method", METHODS)
def test_no_method_goes_beyond_a_cap(copied, method):
    problem = pose(copied[0], "maths", caps={"source": 3, "duplicate": 1}, pins=["id-0001"])
    support = select(problem, 5, method=method).support
    assert 1 in support
    for cap in problem.caps:
        codes, counts = np.unique(cap.groups[support], return_counts=True)
        assert (counts[codes >= 0] <= cap.most).all()


def test_a_sample_whose_group_is_full_is_excluded_not_misaligned(catalog):
    problem = pose(catalog, "maths", caps={"source": 1})
    selection = select(problem, 3, method="top-k")
    table = verdict_table(catalog, problem, selection)
    free = verdict_table(catalog, pose(catalog, "maths"), selection)
    changed = table["verdict"] != free["verdict"]
    assert changed.any()
    assert set(table.filter(changed)["verdict"]) == {"excluded"}
    assert set(free.filter(changed)["verdict"]) == {"misaligned"}
    assert table.filter(changed)["proxy"].min() > 0


def copies(rows) -> pl.DataFrame:
    """Samples of which every third repeats the text of row 1; another repeats only a prompt."""
    table = sample_table(rows)
    one = sample_table([1])
    text = [
        pl.when(pl.col("n_tokens").is_in([5 + (i * 7) % 40 for i in (1, 11, 12)]))
        .then(pl.lit(one[name][0]))
        .otherwise(pl.col(name))
        .alias(name)
        for name in ("prompt", "completion")
    ]
    half = pl.when(pl.col("sample_id") == "id-0011").then(pl.lit("other"))
    return table.with_columns(text).with_columns(half.otherwise("completion").alias("completion"))


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """A store in which some samples are exact copies, and who they are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conftest, "sample_table", copies)
        store = build_store(tmp_path_factory.mktemp("copies") / "store")
    catalog = open_catalog(store)
    texts = catalog.query("SELECT row, prompt, completion FROM samples ORDER BY row")
    same = texts.filter(
        (pl.col("prompt") == texts["prompt"][1]) & (pl.col("completion") == texts["completion"][1])
    )
    yield catalog, set(same["row"].to_list())
    catalog.close()


@pytest.mark.parametrize("method", ["top-k", "random"])
def test_one_of_exact_copies_is_kept(copied, method):
    catalog, same = copied
    assert {1, 12, 41, 52} <= same
    assert 11 not in same
    problem = pose(catalog, "maths", caps={"duplicate": 1})
    assert problem.most == 57 - len(same) + 1
    chosen = set(select(problem, problem.most, method=method).support.tolist())
    assert len(chosen & same) == 1
    assert len(chosen) == problem.most


def test_pins_that_are_copies_of_each_other_are_refused(copied, says):
    with pytest.raises(TaskError) as caught:
        pose(copied[0], "maths", caps={"duplicate": 1}, pins=["id-0001", "id-0012"])
    says(caught.value, "2 pinned", "the text of 'id-0001'", "remove pins")


def test_caps_per_cluster_hold_for_every_basis(catalog, monkeypatch):
    """Clusters as the catalog's table will have them: two bases, most samples in none."""
    rows = [("text", 0, 1), ("text", 0, 2), ("text", 5, 8), ("gradient", 0, 2), ("gradient", 0, 3)]
    clusters = ", ".join(f"('{b}', {c}, 'id-{row:04d}')" for b, c, row in rows)
    asked = catalog.query

    def query(sql, params=()):
        told = f"(VALUES {clusters}) AS clusters(basis, cluster, sample_id)"
        return asked(sql.replace("FROM clusters", f"FROM {told}"), params)

    monkeypatch.setattr(catalog, "query", query)
    problem = pose(catalog, "maths", caps={"cluster": 1})
    assert [np.flatnonzero(cap.groups >= 0).tolist() for cap in problem.caps] == [[2, 3], [1, 2, 8]]
    assert problem.first(np.array([1, 2, 3, 8, 0]), 9).tolist() == [1, 3, 8, 0]


def test_a_filter_or_clusters_that_mean_others_now_are_another_problem(own_catalog, monkeypatch):
    """The words stay, and the tables they read change: a prepared path would be of the past."""
    where, settings = "sample_id IN (SELECT sample_id FROM tags WHERE tag = 'good')", Settings()

    def keys() -> list[str]:
        told = ({"where": where}, {"where": "row < 40"}, {"caps": {"source": 9}})
        return [path_key(own_catalog, pose(own_catalog, "maths", **t), settings) for t in told]

    ids = own_catalog.sample_ids().to_list()
    own_catalog.edit("tag", who="me", sample_ids=ids[:30], value="good")
    before = keys()
    assert keys() == before
    own_catalog.edit("tag", who="me", sample_ids=ids[30:35], value="good")
    after = keys()
    assert [a != b for a, b in zip(before, after, strict=True)] == [True, False, False]


# --- settings and identity -------------------------------------------------------------------


def test_settings_left_alone_do_not_change_a_run(catalog):
    problem = pose(catalog, "maths")
    selection = select(problem, 5)
    assert DEFAULTS.items() <= selection.settings.items()
    told = telling(selection.settings)
    assert not set(DEFAULTS) & set(told)
    assert set(told) == {
        *("task", "subtasks", "common_direction", "where", "pins", "bans", "n_splits"),
        *("split_seed", "ridge", "max_rounds", "tolerance", "fill", "seed", "method", "budget"),
    }


def test_every_way_to_pose_is_another_run(catalog):
    def run_of(task="maths", **posing) -> str:
        problem = pose(catalog, task, **posing)
        return run_document(catalog, problem, select(problem, 5, method="top-k"), None)["run"]

    ids = [
        run_of(),
        run_of("dates"),
        run_of("maths,dates"),
        run_of("dates,maths"),
        run_of("maths=2,dates=1"),
        run_of(POOL),
        run_of(caps={"source": 3}),
        run_of(caps={"duplicate": 1}),
        run_of(checkpoints={"step-0": 0}),
        run_of(subtask_weights={"sums": 0}),
    ]
    assert len(set(ids)) == len(ids)
    assert all(set(i) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-") for i in ids)
    assert ids[2].startswith("top-k-maths-dates-5-")
    assert ids[5].startswith("top-k-pool-mean-5-")


def test_settings_are_plain_json(catalog):
    problem = pose(
        catalog,
        "maths=2,dates",
        caps={"source": 3, "duplicate": 1},
        checkpoints={"step-0": 0},
        subtask_weights={"maths/sums": 0.5},
    )
    assert json.loads(json.dumps(problem.settings)) == problem.settings
