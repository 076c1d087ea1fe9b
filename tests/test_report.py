"""Promises of gtp_core.report: numbers equal those of slow loops, and sentences are true."""

from contextlib import closing
from dataclasses import replace
from itertools import pairwise

import conftest
import numpy as np
import polars as pl
import pytest
from conftest import INVALID, build_store, sample_table
from scipy.stats import spearmanr

from gtp_core.atoms import pose
from gtp_core.catalog import open_catalog
from gtp_core.errors import RunError
from gtp_core.methods import METHODS, Settings, select
from gtp_core.pursuit import Round, Selection, Stop
from gtp_core.report import (
    LOW_RELIABILITY,
    VERDICTS,
    HeldOut,
    Reliability,
    answer,
    between,
    budget_path,
    checkpoint_match,
    checks,
    chosen_table,
    compare,
    cosine,
    enough,
    fill_sentence,
    findings,
    from_path,
    held_out,
    highlights,
    length_bias,
    length_table,
    norm_table,
    overlap,
    path,
    path_budgets,
    prepare_path,
    redundancy,
    reliability,
    rounds_table,
    run_document,
    run_tables,
    save,
    saved_path,
    selection_table,
    source_mix,
    spearman_brown,
    store_facts,
    task_reliability,
    text_duplicates,
    topk_ranks,
    verdict_table,
    warnings,
)

N = 60


@pytest.fixture(scope="module")
def problem(catalog):
    return pose(catalog, "maths", n_splits=3)


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    """A catalog in which only ten texts exist, each of them six times, with other gradients."""

    def repeated(rows):
        texts = sample_table([row % 10 for row in rows]).select("prompt", "completion")
        return sample_table(rows).with_columns(texts)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conftest, "sample_table", repeated)
        opened = open_catalog(build_store(tmp_path_factory.mktemp("copies") / "store"))
    yield opened
    opened.close()


def slow_cosine(a, b) -> float:
    dot = sum(float(x) * float(y) for x, y in zip(a, b, strict=True))
    lengths = [sum(float(x) ** 2 for x in v) ** 0.5 for v in (a, b)]
    return dot / (lengths[0] * lengths[1]) if all(lengths) else 0.0


def made(**what) -> Selection:
    """A selection with invented numbers, for the sentences."""
    numbers = {
        "method": "gtp",
        "budget": 4,
        "support": np.array([3, 1, 2]),
        "weights": np.array([0.5, 0.3, 0.2]),
        "n_filled": 0,
        "residual_weighted": 0.25,
        "residual_as_trained": 0.5,
        "rounds": (Round(3, 0, 0, 0.25),),
        "pruned": np.empty(0, np.int64),
        "stop": Stop.NO_PROGRESS,
        "settings": {"task": "maths", "budget": "4"},
    }
    return Selection(**(numbers | what))


# --- held-out match and reliability ----------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_held_out_match_is_the_mean_cosine_of_each_fit_with_the_other_part(problem, method):
    found = held_out(problem, 6, method=method, settings=Settings())
    matches, ceilings = [], []
    for split in problem.splits:
        part = replace(
            problem,
            target=split.fit,
            subtasks=split.subtasks,
            splits=(),
            loaded_influence=None,
        )
        fitted = select(part, 6, method=method)
        total = [0.0] * problem.atoms.dim
        for row, weight in zip(fitted.support, fitted.weights, strict=True):
            atom = problem.atoms.rows(np.array([row]))[0]
            total = [t + weight * float(a) for t, a in zip(total, atom, strict=True)]
        matches.append(slow_cosine(total, split.rest))
        ceilings.append(slow_cosine(split.fit, split.rest))
    assert found.splits == len(problem.splits) == 6
    assert found.match == pytest.approx(sum(matches) / 6, abs=1e-6)
    assert found.ceiling == pytest.approx(sum(ceilings) / 6, abs=1e-9)


def test_a_fit_never_sees_the_examples_it_is_checked_on(problem):
    for part, rest in problem.parts:
        blind = replace(part, splits=())
        assert np.array_equal(select(part, 5).support, select(blind, 5).support)
        assert not np.allclose(part.target, rest)


def test_one_example_can_be_held_out_from_nothing(small_store):
    with closing(open_catalog(small_store(tasks={"one": {"": 1}}))) as catalog:
        problem = pose(catalog, "one")
        assert held_out(problem, 5, method="gtp", settings=Settings()) is None
        assert reliability(problem, 1) is None
        assert task_reliability(catalog, "one") is None


def test_reliability_is_the_mean_split_half_cosine_stepped_up(problem):
    known = reliability(problem, 8)
    r = sum(slow_cosine(s.fit, s.rest) for s in problem.splits) / len(problem.splits)
    assert known.split_half == pytest.approx(r)
    assert known.full == pytest.approx(2 * max(r, 0) / (1 + max(r, 0)))
    assert known.noise_floor == pytest.approx((1 - known.full) ** 0.5)
    assert known.n_examples == 8


@pytest.mark.parametrize("r", [0.0, 0.07, 0.5, 0.93, 1.0])
@pytest.mark.parametrize("k", [1, 2, 4, 7])
def test_spearman_brown_is_the_correlation_of_longer_tests(r, k):
    """Two sums of k parts of variance 1, every two parts correlated by r."""
    within = sum(1.0 if i == j else r for i in range(k) for j in range(k))
    between = sum(r for _ in range(k) for _ in range(k))
    assert spearman_brown(r, k) == pytest.approx(between / within)


def test_reliability_stays_between_nothing_and_one():
    assert spearman_brown(-0.3, 2) == 0.0
    assert spearman_brown(1.0000001, 4) == 1.0


def test_cosine_of_a_zero_vector_is_zero():
    assert cosine(np.zeros(3), np.ones(3)) == 0.0
    assert cosine(np.array([1.0, 1.0]), np.array([2.0, 2.0])) == pytest.approx(1.0)


# --- along the budgets -----------------------------------------------------------------------


@pytest.mark.parametrize("n_candidates", [1, 2, 3, 9, 10, 49, 51, 400, 4000, 270_679])
@pytest.mark.parametrize("dim", [1, 16, 2048, 32768])
def test_budgets_of_the_path_are_distinct_ascending_and_can_be_had(n_candidates, dim):
    budgets = path_budgets(n_candidates, dim)
    assert 1 <= len(budgets) <= 24
    assert all(a < b for a, b in pairwise(budgets))
    assert all(isinstance(budget, int) for budget in budgets)
    assert budgets[0] >= 1
    assert budgets[-1] <= max(1, min(round(n_candidates / 10), dim, max(1000, 13_534)))


def test_budgets_are_log_spaced():
    budgets = path_budgets(10_000, 10_000)
    assert (budgets[0], budgets[-1], len(budgets)) == (5, 1000, 24)
    ratios = [b / a for a, b in pairwise(budgets[8:])]
    assert max(ratios) / min(ratios) < 1.05


def test_rows_of_the_path_are_single_selections(problem):
    seen = []
    table = budget_path(problem, [3, 8], Settings(), lambda *step: seen.append(step))
    assert table.height == len(seen) == 2 * (3 + 9)
    assert table.filter(pl.col("method") == "random")["seed"].n_unique() == 10
    assert not table.select("method", "seed", "budget").is_duplicated().any()
    for row in table.to_dicts():
        settings = Settings(seed=row["seed"])
        one = select(problem, row["budget"], method=row["method"], settings=settings)
        held = held_out(problem, row["budget"], method=row["method"], settings=settings)
        assert row["n_selected"] == len(one.support)
        assert row["residual_weighted"] == one.residual_weighted
        assert row["residual_as_trained"] == one.residual_as_trained
        assert (row["match"], row["ceiling"]) == (held.match, held.ceiling)


def test_a_selection_read_from_the_path_is_the_one_that_is_solved(problem):
    table = budget_path(problem, [3, 8], Settings())
    for method in ("gtp", "top-k", "random"):
        found, held = from_path(table, problem, "8", method, Settings())
        solved = select(problem, "8", method=method)
        assert held == held_out(problem, "8", method=method, settings=Settings())
        for name, value in vars(solved).items():
            kept = getattr(found, name)
            assert np.array_equal(kept, value) if isinstance(value, np.ndarray) else kept == value
    for other in ("9", "7%", "100tok", "-8", "²"):
        assert from_path(table, problem, other, "gtp", Settings()) is None


def test_percent_of_the_pool_find_the_prepared_budget_they_mean(problem):
    table = budget_path(problem, [6], Settings())
    share = f"{100 * 6 / len(problem.tokens)}%"
    found, held = from_path(table, problem, share, "gtp", Settings())
    solved = select(problem, share)
    assert np.array_equal(found.support, solved.support)
    assert found.settings == solved.settings
    assert held == held_out(problem, share, method="gtp", settings=Settings())


def test_between_two_prepared_budgets_there_is_an_estimate_that_says_so(catalog, problem):
    table = budget_path(problem, [3, 9], Settings())
    ends = {b: from_path(table, problem, b, "gtp", Settings()) for b in ("3", "9")}
    for budget in ("4", "6", "8"):
        found, held = between(table, problem, budget, "gtp", Settings())
        assert found.stop is Stop.ESTIMATED
        assert len(found.support) == len(set(found.support.tolist())) == int(budget)
        assert found.weights.min() >= 0
        assert (np.diff(found.weights) <= 0).all()
        assert set(found.support) <= set(ends["3"][0].support) | set(ends["9"][0].support)
        low, high = ends["9"][0].residual_weighted, ends["3"][0].residual_weighted
        assert low < found.residual_weighted < high
        assert min(e.match for _, e in ends.values()) <= held.match
        assert held.match <= max(e.match for _, e in ends.values())
        assert found.settings["budget"] == budget
        with pytest.raises(RunError, match="Compute it exactly"):
            save(catalog, problem, found, held)
        ranked = between(table, problem, budget, "top-k", Settings())[0]
        assert ranked.support.tolist() == select(problem, budget, method="top-k").support.tolist()
    for beside in ("3", "9", "2", "10", "100tok", "0", "200%", "no"):
        assert between(table, problem, beside, "gtp", Settings()) is None


def test_an_estimate_keeps_what_is_pinned(catalog):
    ids = catalog.sample_ids().to_list()
    problem = pose(catalog, "maths", pins=ids[30:32])
    table = budget_path(problem, [3, 9], Settings())
    found, _ = between(table, problem, "5", "gtp", Settings())
    assert {30, 31} <= set(found.support.tolist())


def test_a_path_without_held_out_examples_still_stands(small_store):
    with closing(open_catalog(small_store(tasks={"one": {"": 1}}))) as catalog:
        table = budget_path(pose(catalog, "one"), [3], Settings())
        assert table["match"].null_count() == table.height
        assert enough(table) is None


def test_a_prepared_path_is_read_and_not_computed(small_store, monkeypatch):
    store = small_store()
    settings = Settings()
    with closing(open_catalog(store)) as catalog:
        posed = pose(catalog, "dates", n_splits=1)
        assert saved_path(catalog, posed, settings) is None
        first = prepare_path(catalog, posed, settings)

    def work(*_):
        raise AssertionError("computed again")

    monkeypatch.setattr(path, "budget_path", work)
    with closing(open_catalog(store)) as catalog:
        posed = pose(catalog, "dates", n_splits=1)
        assert prepare_path(catalog, posed, settings).equals(first)
        assert saved_path(catalog, posed, settings).equals(first)
        assert saved_path(catalog, posed, Settings(ridge=3.0)) is None
        other = pose(catalog, "dates", n_splits=1, common_direction="kept")
        assert saved_path(catalog, other, settings) is None


def test_a_cancelled_path_leaves_nothing(own_catalog):
    def stop(done, total, what):
        if done == 2:
            raise KeyboardInterrupt

    posed = pose(own_catalog, "dates", n_splits=1)
    with pytest.raises(KeyboardInterrupt):
        prepare_path(own_catalog, posed, Settings(), stop)
    assert not list(own_catalog.workspace.glob("paths/*"))
    assert saved_path(own_catalog, posed, Settings()) is None


def test_a_killed_path_goes_on_where_it_was(own_catalog, monkeypatch):
    posed = pose(own_catalog, "dates", n_splits=1)
    monkeypatch.setattr(path, "_KEEP", 0.0)

    def stop(done, total, what):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_path(own_catalog, posed, Settings(), stop)
    (begun,) = own_catalog.workspace.glob("paths/*")
    assert pl.read_parquet(begun).height == 5
    assert saved_path(own_catalog, posed, Settings()) is None
    real, made = path._path_row, []
    monkeypatch.setattr(path, "_path_row", lambda *row: made.append(row) or real(*row))
    whole = prepare_path(own_catalog, posed, Settings())
    assert len(made) == whole.height - 5
    assert not begun.exists()
    budgets = path_budgets(posed.most, posed.atoms.dim)
    assert whole.equals(budget_path(posed, budgets, Settings()))


def path_of(matches) -> pl.DataFrame:
    rows = [("gtp", 10 * (i + 1), m) for i, m in enumerate(matches)]
    schema = {"method": pl.String, "budget": pl.Int64, "match": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


@pytest.mark.parametrize(
    ("matches", "stop"),
    [
        ([0.1, 0.5, 0.98, 1.0, 0.9], 30),
        ([0.1, 0.5, 0.96, 1.0, 0.9], 40),
        ([0.7], 10),
        ([-0.2, -0.1], None),
        ([0.0, 0.0], None),
        ([None, 0.5], 20),
        ([None], None),
        ([], None),
    ],
)
def test_enough_is_the_first_budget_near_the_best_match(matches, stop):
    assert enough(path_of(matches)) == stop


# --- verdicts --------------------------------------------------------------------------------


def slow_verdicts(catalog, problem, selection) -> list[tuple[str, str | None]]:
    """The verdict of each sample and its keeper, one sample at a time."""
    texts = catalog.query("SELECT prompt, completion FROM samples ORDER BY row").rows()
    ids, valid = catalog.sample_ids(), catalog.valid()
    atoms = problem.atoms.rows(np.arange(N)).astype(np.float64)
    left = problem.target - selection.weights @ atoms[selection.support]
    answers = []
    for row in range(N):
        keepers = [k for k in sorted(selection.support) if texts[k] == texts[row]]
        pull, rest = float(atoms[row] @ problem.target), float(atoms[row] @ left)
        if row in problem.pinned:
            answers.append(("pinned", None))
        elif row in selection.support:
            answers.append(("chosen", None))
        elif not valid[row]:
            answers.append(("invalid", None))
        elif not problem.atoms.candidates[row]:
            answers.append(("excluded", None))
        elif keepers:
            answers.append(("duplicate", ids[int(keepers[0])]))
        elif row in selection.pruned:
            answers.append(("pruned", None))
        elif pull > 0 and (rest < pull / 2 or covers(atoms[selection.support], atoms[row])):
            answers.append(("redundant", None))
        else:
            answers.append(("misaligned", None))
    return answers


def covers(chosen, atom) -> bool:
    """Whether the span holds the atom at least halfway from what chance holds to all of it."""
    best = np.linalg.lstsq(chosen.T, atom, rcond=1e-5)[0]
    share = 1 - ((atom - best @ chosen) ** 2).sum() / (atom**2).sum()
    chance = len(chosen) / chosen.shape[1]
    return chance < 1 and (share - chance) / (1 - chance) >= 0.5


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("budget", [2, 4, 20])
def test_every_sample_has_the_first_verdict_that_applies(copies, method, budget):
    problem = pose(copies, "maths", pins=["id-0011"], bans=["id-0002", "id-0003"])
    selection = select(problem, budget, method=method)
    selection = replace(selection, pruned=np.setdiff1d([0, 4, 7, 12, 40], selection.support))
    table = verdict_table(copies, problem, selection)
    assert table["sample_id"].to_list() == copies.sample_ids().to_list()
    found = list(zip(table["verdict"], table["keeper"], strict=True))
    assert found == slow_verdicts(copies, problem, selection)
    assert set(table["verdict"]) <= set(VERDICTS)


def test_every_verdict_can_be_reached(copies):
    problem = pose(copies, "maths", pins=["id-0011"], bans=["id-0002", "id-0003"])
    seen = set()
    for budget in (2, 4, 20):
        selection = select(problem, budget)
        pruned = np.setdiff1d(np.arange(8, 30), selection.support)
        seen |= set(verdict_table(copies, problem, replace(selection, pruned=pruned))["verdict"])
    assert seen == set(VERDICTS)


def test_a_duplicate_names_a_keeper_that_is_chosen(copies):
    selection = select(problem := pose(copies, "maths"), 5)
    table = verdict_table(copies, problem, selection)
    chosen = set(copies.sample_ids().gather(selection.support))
    duplicates = table.filter(pl.col("verdict") == "duplicate")
    assert duplicates.height > 0
    assert set(duplicates["keeper"]) <= chosen
    assert table.filter(pl.col("verdict") != "duplicate")["keeper"].null_count() == (
        N - duplicates.height
    )


def test_verdicts_of_an_empty_selection(catalog, problem):
    nothing = made(support=np.empty(0, np.int64), weights=np.empty(0))
    table = verdict_table(catalog, problem, nothing)
    assert set(table["verdict"]) == {"misaligned", "invalid"}
    assert table["influence"].equals(table["proxy"].rename("influence"))
    invalid = table.with_row_index("row").filter(pl.col("verdict") == "invalid")
    assert set(invalid["row"]) == set(INVALID)


def test_proxies_are_what_the_selection_leaves(catalog, problem):
    selection = select(problem, 6)
    table = verdict_table(catalog, problem, selection)
    atoms = problem.atoms.rows(np.arange(N)).astype(np.float64)
    left = problem.target - selection.weights @ atoms[selection.support]
    assert np.allclose(table["influence"], atoms @ problem.target, atol=1e-5)
    assert np.allclose(table["proxy"], atoms @ left, atol=1e-5)


# --- runs ------------------------------------------------------------------------------------


def test_equal_settings_make_equal_runs_and_others_do_not(catalog):
    def run_id(task="maths", budget="5", method="gtp", posing=None, **settings):
        problem = pose(catalog, task, **(posing or {}))
        used = Settings(**settings)
        selection = select(problem, budget, method=method, settings=used)
        return run_document(catalog, problem, selection, None)["run"]

    assert run_id() == run_id() == run_id(ridge=Settings.ridge)
    pins = {"pins": ["id-0001", "id-0002"]}, {"pins": ["id-0002", "id-0001", "id-0002"]}
    assert run_id(posing=pins[0]) == run_id(posing=pins[1])
    ids = [
        run_id(),
        run_id(task="dates"),
        run_id(budget="6"),
        run_id(budget="5%"),
        run_id(budget="500tok"),
        *(run_id(method=method) for method in METHODS if method != "gtp"),
        *(run_id(ridge=ridge) for ridge in (0.0, 1.0000001)),
        run_id(max_rounds=1),
        run_id(tolerance=0.5),
        run_id(fill="influence"),
        run_id(seed=1),
        run_id(posing={"common_direction": "kept"}),
        run_id(posing={"where": "n_tokens < 30"}),
        run_id(posing=pins[0]),
        run_id(posing={"bans": ["id-0001", "id-0002"]}),
        run_id(posing={"seed": 1}),
        run_id(posing={"n_splits": 3}),
    ]
    assert len(set(ids)) == len(ids)


def test_runs_of_other_stores_have_other_ids(small_store, catalog):
    with closing(open_catalog(small_store(seed=1))) as other:
        ids = []
        for opened in (catalog, other):
            posed = pose(opened, "maths")
            ids.append(run_document(opened, posed, select(posed, 5), None)["run"])
    assert ids[0] != ids[1]


def test_saving_twice_changes_nothing(own_catalog):
    problem = pose(own_catalog, "maths")
    selection = select(problem, 5)
    held = held_out(problem, 5, method="gtp", settings=Settings())
    first = save(own_catalog, problem, selection, held)
    before = {p: p.stat().st_mtime_ns for p in own_catalog.workspace.rglob("*") if p.is_file()}
    assert save(own_catalog, problem, select(problem, 5), held) == first
    after = {p: p.stat().st_mtime_ns for p in own_catalog.workspace.rglob("*") if p.is_file()}
    assert after == before
    assert own_catalog.list_runs() == [first["run"]]


def test_a_saved_run_reads_back(own_catalog):
    problem = pose(own_catalog, "maths", pins=["id-0011"])
    selection = select(problem, 5, settings=Settings(fill="influence"))
    run = save(own_catalog, problem, selection, HeldOut(0.5, 0.75, 20))
    found, tables = own_catalog.read_run(run["run"])
    assert found == run
    assert run["held_out"] == {"match": 0.5, "ceiling": 0.75, "splits": 20}
    assert run["stop"] == selection.stop.name.lower()
    assert run["residuals"] == [r.residual for r in selection.rounds]
    for name, table in run_tables(own_catalog, problem, selection).items():
        assert tables[name].equals(table)
    verdicts = own_catalog.query("SELECT * FROM verdicts")
    assert verdicts.height == N
    assert set(verdicts["run"]) == {run["run"]}


def test_the_selection_table_is_the_selection(catalog, problem):
    selection = select(problem, 55, settings=Settings(fill="influence"))
    assert selection.n_filled > 0
    table = selection_table(catalog, problem, selection)
    assert table["rank"].to_list() == list(range(1, 56))
    assert np.array_equal(table["row"], selection.support)
    assert np.array_equal(table["weight"], selection.weights)
    assert table["filled"].sum() == selection.n_filled
    assert table["filled"].tail(selection.n_filled).all()
    assert np.allclose(table["influence"], catalog.influence("maths")[selection.support])
    order = sorted(
        catalog.valid().nonzero()[0], key=lambda row: (-problem.influence[row], row)
    )  # ties to the lower row
    for row, rank in zip(table["row"], table["topk_rank"], strict=True):
        assert order[rank - 1] == row


def test_ranks_put_those_who_cannot_be_chosen_last(catalog):
    problem = pose(catalog, "maths", bans=["id-0000"])
    ranks = topk_ranks(problem)
    assert sorted(ranks) == list(range(1, N + 1))
    last = {0, *INVALID}
    assert set(np.flatnonzero(ranks > N - len(last))) == last


def test_rounds_are_numbered_from_one():
    rounds = (Round(3, 0, 0, 0.5), Round(1, 2, 1, 0.25))
    table = rounds_table(made(rounds=rounds))
    assert table.rows() == [(1, 3, 0, 0, 0.5), (2, 1, 2, 1, 0.25)]


def test_a_selection_of_nothing_still_has_its_tables(small_store):
    """A pool in which no sample points towards the target."""
    with closing(open_catalog(small_store())) as catalog:
        away = catalog.sample_ids()[int(np.nanargmin(catalog.influence("dates")))]
        problem = pose(catalog, "dates", where=f"sample_id = '{away}'")
        selection = select(problem, 1)
        held = held_out(problem, 1, method="gtp", settings=Settings())
        assert (len(selection.support), selection.residual_weighted) == (0, 1.0)
        assert selection.stop is Stop.EXHAUSTED
        run = save(catalog, problem, selection, held)
        tables = catalog.read_run(run["run"])[1]
        assert tables["selection"].height == 0
        assert set(tables["verdicts"]["verdict"]) == {"misaligned", "excluded", "invalid"}
        assert chosen_table(catalog, problem, selection).height == 0
        assert set(checkpoint_match(catalog, problem, {"gtp": selection})["cosine"]) == {0.0}
        both = {"gtp": selection, "top-k": select(problem, 1, method="top-k")}
        assert "GTP's 0 samples" in answer(both, {"gtp": held, "top-k": held})
        assert findings(catalog, both, {"gtp": held, "top-k": held})[3][1] == "0"
        assert warnings(selection, {"gtp": held, "top-k": held}, None)


# --- side by side ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "found"),
    [
        ([1, 2, 3], [3, 4], (2, 1, 1, 0.25)),
        ([1], [1], (0, 1, 0, 1.0)),
        ([1, 2], [3], (2, 0, 1, 0.0)),
        ([], [3], (0, 0, 1, 0.0)),
        ([], [], (0, 0, 0, 1.0)),
    ],
)
def test_overlap_counts_each_sample_once(a, b, found):
    answer = overlap(np.array(a, np.int64), np.array(b, np.int64))
    assert tuple(answer.values()) == found


def test_shares_of_sources_sum_to_one(catalog, problem):
    supports = {name: select(problem, 7, method=name).support for name in METHODS}
    mix = source_mix(catalog, supports)
    sources = catalog.query("SELECT source FROM samples ORDER BY row")["source"].to_list()
    for name in ("pool", *METHODS):
        assert mix[name].sum() == pytest.approx(1.0)
        rows = range(N) if name == "pool" else supports[name]
        for source, share in zip(mix["source"], mix[name], strict=True):
            assert share == pytest.approx(
                sum(sources[row] == source for row in rows) / len(list(rows))
            )
    assert mix["pool"].to_list() == sorted(mix["pool"], reverse=True)


def test_a_source_of_which_nothing_is_chosen_has_share_zero(catalog):
    mix = source_mix(catalog, {"a": np.array([0]), "none": np.empty(0, np.int64)})
    assert sorted(mix["a"]) == [0.0, 0.0, 1.0]
    assert set(mix["none"]) == {0.0}


def test_redundancy_is_the_mean_largest_cosine_to_another(problem):
    support = select(problem, 9, method="top-k").support
    rows = problem.atoms.rows(support)
    largest = [
        max(slow_cosine(rows[i], rows[j]) for j in range(9) if j != i) for i in range(len(rows))
    ]
    assert redundancy(problem, support) == pytest.approx(sum(largest) / 9, abs=1e-6)


def test_redundancy_of_exact_copies_is_one_and_of_one_sample_unknown(problem):
    assert redundancy(problem, np.array([5, 45])) == pytest.approx(1.0)
    assert redundancy(problem, np.array([5])) is None
    assert redundancy(problem, np.empty(0, np.int64)) is None


def test_text_duplicates_counts_repeats(copies, catalog):
    assert text_duplicates(copies, np.array([1, 11, 21, 2, 12, 3])) == 3
    assert text_duplicates(copies, np.empty(0, np.int64)) == 0
    assert text_duplicates(catalog, np.arange(N)) == 0


def test_match_by_checkpoint_is_a_cosine_per_checkpoint(catalog, problem):
    selections = {name: select(problem, 6, method=name) for name in ("gtp", "top-k")}
    table = checkpoint_match(catalog, problem, selections)
    assert table.height == 2 * 3
    for row in table.to_dicts():
        t = [c.name for c in catalog.store.checkpoints].index(row["checkpoint"])
        piece = slice(16 * t, 16 * (t + 1))
        total = sum(problem.atoms.rows(selections[row["method"]].support))
        assert row["cosine"] == pytest.approx(
            slow_cosine(total[piece], problem.target[piece]), abs=1e-5
        )


def test_compare_says_what_each_part_says(own_catalog):
    problem = pose(own_catalog, "maths")
    sides = []
    for name in ("gtp", "top-k"):
        selection = select(problem, 6, method=name)
        run = save(own_catalog, problem, selection, None)
        sides.append({"run": run, "support": selection.support})
    both = compare(own_catalog, problem, *sides)
    assert both["overlap"] == overlap(sides[0]["support"], sides[1]["support"])
    assert both["store_id"] == own_catalog.store.store_id
    for letter, side in zip("ab", sides, strict=True):
        assert both[letter]["run"] == side["run"]["run"]
        assert both[letter]["residual_weighted"] == side["run"]["residual_weighted"]
        assert both[letter]["redundancy"] == redundancy(problem, side["support"])
        assert sum(row[letter] for row in both["sources"]) == pytest.approx(1.0)


# --- the health of a store -------------------------------------------------------------------


def test_facts_are_those_of_the_store(catalog):
    facts = store_facts(catalog)
    assert facts["n_samples"] == N
    assert facts["n_invalid"] == len(INVALID)
    assert sum(source["samples"] for source in facts["sources"]) == N
    assert [task["task"] for task in facts["tasks"]] == ["maths", "dates"]
    files = [p for p in catalog.store.folder.rglob("*") if p.suffix in (".parquet", ".safetensors")]
    assert facts["bytes"] == sum(p.stat().st_size for p in files)
    known = task_reliability(catalog, "maths")
    assert facts["tasks"][0]["reliability"] == known.full
    assert facts["tasks"][0]["reliability_if_doubled"] == known.doubled


def facts_with(catalog, **changes):
    return store_facts(catalog) | changes


def texts_of(found, level) -> str:
    return " ".join(check.text for check in found if check.level == level)


def test_checks_count_the_invalid_rows(catalog):
    warning = texts_of(checks(store_facts(catalog)), "warning")
    assert "3 samples (5.0%) have a zero, NaN or infinite gradient" in warning
    fine = checks(facts_with(catalog, n_invalid=0))
    assert "Every sample has a usable gradient" in texts_of(fine, "ok")


def test_checks_say_how_coherent_the_samples_are(small_store):
    for common, level in ((3.0, "warning"), (0.0, "ok")):
        with closing(open_catalog(small_store(f"common-{common}", common=common))) as catalog:
            facts = store_facts(catalog)
            worst = max(c["coherence"] for c in facts["checkpoints"])
            text = texts_of(checks(facts), level)
            assert f"Coherence {worst:.2f}:" in text
            assert ("Keep the common direction removed." in text) == (level == "warning")


def test_checks_say_what_twice_the_examples_would_give(catalog):
    task = {
        "task": "t",
        "n_examples": 34,
        "n_invalid": 2,
        "subtasks": [""],
        "split_half": 0.1,
        "reliability": 0.1818,
        "reliability_if_doubled": 0.3077,
    }
    low = texts_of(checks(facts_with(catalog, tasks=[task], n_invalid=0)), "warning")
    assert "Task t: reliability 0.18 from 32 examples" in low
    assert "about 0.31." in low
    task["reliability"] = LOW_RELIABILITY
    assert "Task t: reliability 0.50 from 32 examples." in texts_of(
        checks(facts_with(catalog, tasks=[task])), "ok"
    )
    task["reliability"] = None
    assert "Task t has 32" in texts_of(checks(facts_with(catalog, tasks=[task])), "problem")


def test_examples_without_a_usable_gradient_do_not_count(small_store, monkeypatch):
    raw_rows = conftest.raw_rows
    task_sizes = {3: 2, 2: 2}  # of the task's examples: how many lose their gradient

    def spoiled(generator, n, dim, common, checkpoint):
        rows = raw_rows(generator, n, dim, common, checkpoint)
        rows[: task_sizes.get(n, 0)] = np.nan
        return rows

    monkeypatch.setattr(conftest, "raw_rows", spoiled)
    tasks = {"one": {"": 3}, "none": {"": 2}, "all": {"": 4}}
    with closing(open_catalog(small_store(tasks=tasks))) as catalog:
        facts = store_facts(catalog)
        found = texts_of(checks(facts), "problem")
        assert "Task one has 1 usable validation examples;" in found
        assert "Task none has 0 usable validation examples;" in found
        assert task_reliability(catalog, "all").n_examples == 4


def test_checks_want_a_task_and_name_what_was_declared(catalog):
    found = checks(facts_with(catalog, tasks=[], declared={"step_size": 1, "dim": 2}))
    assert "No validation task" in texts_of(found, "problem")
    assert "Declared by the user, not by the source: step_size 1; dim 2." in texts_of(
        found, "warning"
    )


def test_every_check_has_a_known_level_and_is_a_sentence(catalog):
    for check in checks(store_facts(catalog)):
        assert check.level in ("ok", "warning", "problem")
        assert check.text.endswith(".")


def test_norms_are_counted_once_each(catalog):
    table = norm_table(catalog, bins=12)
    norms = catalog.store.norms()
    for c, checkpoint in enumerate(catalog.store.checkpoints):
        counted = table.filter(pl.col("checkpoint") == checkpoint.name)
        assert counted.height == 12
        usable = np.isfinite(norms[:, c]) & (norms[:, c] > 0)
        assert counted["n"].sum() == usable.sum()


# --- in words --------------------------------------------------------------------------------

HELD = {"gtp": HeldOut(0.09, 0.12, 20), "top-k": HeldOut(-0.03, 0.12, 20)}


def pair() -> dict[str, Selection]:
    topk = made(
        method="top-k",
        support=np.array([1, 11, 2, 3]),
        weights=np.full(4, 0.1),
        residual_weighted=0.625,
        residual_as_trained=0.75,
    )
    return {"gtp": made(), "top-k": topk}


def test_findings_carry_the_numbers(copies):
    found = {name: (value, against) for name, value, against, _ in findings(copies, pair(), HELD)}
    assert found == {
        "Held-out match": ("0.090", "top-k -0.030 · ceiling 0.120"),
        "Residual, weighted": ("0.250", "top-k 0.625"),
        "Residual, as trained": ("0.500", "top-k 0.750"),
        "Samples": ("3", "5.0% of the pool · budget 4"),
        "Exact copies": ("0", "top-k 1"),
    }
    assert all(about.endswith(".") for *_, about in findings(copies, pair(), HELD))


def test_findings_without_held_out_examples(copies):
    first = findings(copies, pair(), {"gtp": None, "top-k": None})[0]
    assert first[:3] == ("Held-out match", "not known", "")


def test_the_answer_is_a_share_of_the_ceiling():
    text = answer(pair(), HELD)
    assert "GTP's 3 samples reach 75% of the ceiling and top-k's 4 reach 0%." in text


@pytest.mark.parametrize("held", [None, HeldOut(0.1, -0.01, 20), HeldOut(0.1, 0.0, 20)])
def test_the_answer_without_a_ceiling_speaks_of_residuals(held):
    text = answer(pair(), {"gtp": held, "top-k": held})
    assert "GTP's 3 samples leave a residual of 0.25, top-k's 4 leave 0.62" in text


def test_warnings_carry_the_numbers():
    low = Reliability(0.1, 0.18, 0.31, 0.9, 32)
    better = HELD | {"top-k": HeldOut(0.105, 0.12, 20)}
    found = warnings(made(residual_weighted=0.95, residual_as_trained=0.96), better, low)
    assert len(found) == 4
    assert "Top-k matches the held-out examples better here (0.105 against 0.090)" in found[0]
    assert "Low reliability (0.18)" in found[1]
    assert "the 32 validation examples" in found[1]
    assert "reliability of 0.31" in found[1]
    assert "at 1 % of the pool" in found[1]  # at other budgets the trial found otherwise
    assert "Residual 0.95" in found[2]
    assert found[3] == "One sample carries 50% of all weight."


def test_warnings_without_held_out_examples():
    nothing = {"gtp": None, "top-k": None}
    assert "single usable validation example" in warnings(made(), nothing, None)[0]


@pytest.mark.parametrize("match", [0.05, 0.09, 0.101])
def test_a_good_selection_has_no_warning(match):
    good = Reliability(0.8, 0.89, 0.94, 0.33, 64)
    even = made(support=np.arange(6), weights=np.full(6, 0.1))
    assert warnings(even, HELD | {"top-k": HeldOut(match, 0.12, 20)}, good) == []


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ({"n_filled": 2}, "1 samples already explain"),
        ({"budget": 9}, "3 of 9 samples are enough"),
        ({"budget": 3}, "The whole budget of 3 samples is used."),
        (
            {"budget": 9, "stop": Stop.CANCELLED},
            "3 of 9 samples were chosen when it was cancelled.",
        ),
        ({"budget": 9, "stop": Stop.ROUNDS}, "3 of 9 samples were chosen when the rounds"),
        ({"budget": 9, "stop": Stop.RANKED}, "3 of 9 samples: no others may be chosen"),
        ({"budget": 9, "support": np.arange(0), "weights": np.zeros(0)}, "None of 9 samples"),
    ],
)
def test_what_became_of_the_budget_is_said(what, sentence):
    assert fill_sentence(made(**what)).startswith(sentence)


def test_chosen_samples_come_with_their_text(catalog, problem):
    selection = select(problem, 6)
    table = chosen_table(catalog, problem, selection, limit=4)
    texts = catalog.texts(selection.support[:4])
    assert table["sample_id"].to_list() == texts["sample_id"].to_list()
    assert table["prompt"].to_list() == [text[:160] for text in texts["prompt"]]
    assert table["weight"].to_list() == selection.weights[:4].tolist()


def test_highlights_name_the_samples_they_speak_of(catalog):
    problem = pose(catalog, "maths")
    gtp, topk = (select(problem, 8, method=method) for method in ("gtp", "top-k"))
    rows = {
        what: (name, detail)
        for what, name, detail in highlights(catalog, problem, gtp, topk).rows()
    }
    ids, ranks = catalog.sample_ids(), topk_ranks(problem)
    heaviest = gtp.support[0]
    share = gtp.weights[0] / gtp.weights.sum()
    assert rows["Most weight in GTP"] == (
        ids[int(heaviest)],
        f"{share:.1%} of all weight, top-k rank {ranks[heaviest]:,}",
    )
    last = gtp.support[np.argmax(ranks[gtp.support])]
    assert rows["Chosen by GTP, ranked last by top-k"][0] == ids[int(last)]
    left_out = [i for i in topk.support if i not in gtp.support]
    assert rows["Ranked first by top-k, left out by GTP"][0] == ids[int(left_out[0])]


def test_length_bias_is_a_rank_correlation(catalog):
    tokens = catalog.query("SELECT n_tokens FROM samples ORDER BY row")["n_tokens"].to_numpy()
    norms = catalog.store.norms().mean(axis=1)
    kept = catalog.valid()
    wanted = spearmanr(tokens[kept], norms[kept]).statistic if len(set(tokens[kept])) > 1 else 0.0
    assert length_bias(catalog) == pytest.approx(wanted, abs=1e-9)
    table = length_table(catalog)
    assert table["n"].sum() == kept.sum()
