"""Promises of comparisons: every number against brute force, every sentence against its numbers."""

import itertools
import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from gtp_core.atoms import pose, pose_array
from gtp_core.errors import RunError
from gtp_core.methods import Settings, select
from gtp_core.report import (
    LOW_RELIABILITY,
    HeldOut,
    Reliability,
    by_checkpoint,
    choose,
    contestant,
    contrasted,
    cosine,
    doubt,
    exclusive,
    five_sentences,
    from_run,
    gains,
    given,
    held_out,
    likeness,
    likeness_table,
    named,
    only,
    overlaps,
    ranks,
    save,
    scores,
    split_matches,
    with_spread,
)
from gtp_core.report.contrast.geometry import least_left, sums
from gtp_core.report.contrast.tables import preference
from gtp_core.report.contrast.words import leaning, matched, needed, repeated, shared

METHODS = ("gtp", "top-k", "random", "omp")
BUDGET = 9


@pytest.fixture(scope="module")
def problem(catalog):
    return pose(catalog, "maths", n_splits=2)


@pytest.fixture(scope="module")
def four(catalog, problem):
    """GTP, top-k, random and OMP, judged."""
    found = []
    for method in METHODS:
        selection, held = choose(problem, BUDGET, method=method, settings=Settings())
        found.append(contestant(catalog, problem, selection, name=method, held=held))
    return found


def rows_of(problem, index) -> np.ndarray:
    return problem.atoms.rows(np.asarray(index)).astype(float)


def largest_cosines(rows: np.ndarray) -> np.ndarray:
    """One pair at a time."""
    return np.array(
        [
            max(cosine(row, other) for j, other in enumerate(rows) if j != i)
            for i, row in enumerate(rows)
        ]
    )


# --- geometry --------------------------------------------------------------------------------


def test_likeness_is_the_largest_cosine_of_each_to_another(problem, four):
    for one in four:
        brute = largest_cosines(rows_of(problem, one.support))
        assert one.likeness.cosines == pytest.approx(brute, abs=1e-6)
        assert one.likeness.mean == pytest.approx(brute.mean(), abs=1e-6)
        assert one.likeness.n_alike == int((brute >= 0.95).sum())


def test_likeness_over_blocks_is_the_same(monkeypatch, problem):
    support = np.array([5, 45, 46, 12, 50, 1, 2, 3, 4, 8, 9])
    whole = likeness(problem, support)
    monkeypatch.setattr("gtp_core.report.contrast.geometry._ROWS_AT_ONCE", 3)
    assert likeness(problem, support).cosines == pytest.approx(whole.cosines, abs=1e-9)
    assert whole.n_alike == 5, "5, 45, 46 are copies, and 12 and 50"


def test_of_very_many_evenly_spread_ones_are_looked_at_against_all(problem):
    support = np.array([5, 45, 46, 12, 50, 1, 2, 3, 4, 8, 9, 10])
    allowed = 4 * len(support) * problem.atoms.dim
    some, all_of = likeness(problem, support, most=allowed), likeness(problem, support)
    assert some.places.tolist() == [0, 3, 6, 9]
    assert some.cosines == pytest.approx(all_of.cosines[some.places], abs=1e-9)


def test_likeness_of_fewer_than_two_is_unknown_and_a_zero_atom_is_like_nobody():
    problem = pose_array(np.array([[1.0, 0], [0, 0], [2, 0], [0, 3]]), np.array([1.0, 1]))
    assert likeness(problem, np.array([0])).mean is None
    assert likeness(problem, np.array([0, 1, 2, 3])).cosines.tolist() == [1, 0, 1, 0]


def test_sums_and_falling_residuals_one_prefix_at_a_time(monkeypatch, problem, four):
    monkeypatch.setattr("gtp_core.report.contrast.geometry._ROWS_AT_ONCE", 4)
    for one in four:
        rows = rows_of(problem, one.support)
        found = sums(problem, one.support, one.selection.weights)
        assert found.weighted == pytest.approx(one.selection.weights @ rows, abs=1e-9)
        assert found.plain == pytest.approx(rows.sum(axis=0), abs=1e-9)
        brute = [
            least_left(rows[:n].sum(axis=0), problem.target)[1] for n in range(1, len(one) + 1)
        ]
        assert found.falling == pytest.approx(brute, abs=1e-9)
        assert found.falling[-1] == pytest.approx(one.selection.residual_as_trained, abs=1e-6)


def test_the_best_multiple_is_not_beaten_by_any_other():
    total, target = np.array([1.0, 2, 0]), np.array([2.0, 1, 1])
    factor, left = least_left(total, target)
    for other in np.linspace(0, 3, 301):
        assert left <= np.linalg.norm(target - other * total) / np.linalg.norm(target) + 1e-12
    assert factor == pytest.approx(0.8)
    assert least_left(-total, target) == (0.0, 1.0)


# --- tables ----------------------------------------------------------------------------------


def test_overlaps_are_those_of_sets(four):
    sets = {one.name: set(one.support.tolist()) for one in four}
    table = overlaps(four)
    assert table.height == 6
    for row in table.iter_rows(named=True):
        a, b = sets[row["a"]], sets[row["b"]]
        assert (row["only_a"], row["both"], row["only_b"]) == (len(a - b), len(a & b), len(b - a))
        assert row["jaccard"] == len(a & b) / len(a | b)


def test_exclusive_counts_every_sample_of_the_union_once(four):
    sets = [set(one.support.tolist()) for one in four]
    table = exclusive(four)
    told = {row[:-1]: row[-1] for row in table.rows()}
    for there in itertools.product([True, False], repeat=4):
        brute = sum(tuple(sample in some for some in sets) == there for sample in set.union(*sets))
        assert told.get(there, 0) == brute
    assert table["samples"].sum() == len(set.union(*sets))
    assert table["samples"].to_list() == sorted(table["samples"], reverse=True)


def test_scores_are_those_of_the_selections(four):
    for row, one in zip(scores(four).iter_rows(named=True), four, strict=True):
        assert row["residual, weighted"] == one.selection.residual_weighted
        assert row["held-out match"] == one.held.match
        assert row["at least 95 % alike"] == one.likeness.n_alike


def test_by_checkpoint_one_piece_at_a_time(catalog, problem, four):
    table = by_checkpoint(catalog, problem, four)
    names = [c.name for c in catalog.store.checkpoints]
    width = problem.atoms.dim // len(names)
    for one in four:
        rows = rows_of(problem, one.support)
        factor = least_left(rows.sum(axis=0), problem.target)[0]
        for t, name in enumerate(names):
            part = slice(t * width, (t + 1) * width)
            target = problem.target[part]
            row = table.filter((pl.col("selection") == one.name) & (pl.col("checkpoint") == name))
            scale = np.linalg.norm(target)
            weighted = np.linalg.norm(target - one.selection.weights @ rows[:, part]) / scale
            plain = np.linalg.norm(target - factor * rows[:, part].sum(axis=0)) / scale
            assert row["residual_weighted"].item() == pytest.approx(weighted, abs=1e-6)
            assert row["residual_as_trained"].item() == pytest.approx(plain, abs=1e-6)
            expected = cosine(rows[:, part].sum(axis=0), target)
            assert row["cosine"].item() == pytest.approx(expected, abs=1e-6)


def test_squares_by_checkpoint_add_up_to_the_whole_residual(catalog, problem, four):
    table = by_checkpoint(catalog, problem, four[:1])
    pieces = np.split(problem.target, len(catalog.store.checkpoints))
    shares = np.array([piece @ piece for piece in pieces]) / (problem.target @ problem.target)
    whole = float(np.sqrt(shares @ table["residual_weighted"].to_numpy() ** 2))
    assert whole == pytest.approx(four[0].selection.residual_weighted, abs=1e-6)


def test_a_checkpoint_switched_off_has_no_residual(catalog):
    problem = pose(catalog, "maths", checkpoints={"step-0": 0.0}, n_splits=0)
    one = contestant(catalog, problem, select(problem, 4), name="gtp")
    off = by_checkpoint(catalog, problem, [one]).filter(pl.col("checkpoint") == "step-0")
    assert off.row(0)[2:] == (None, None, None)


def test_the_histogram_of_likeness_holds_everyone(four):
    table = likeness_table(four)
    for one in four:
        assert table[one.name].sum() == pytest.approx(1.0)
        alike = table.filter(pl.col("cosine") >= 0.949)[one.name].sum()
        assert alike * len(one) == pytest.approx(one.likeness.n_alike, abs=1e-9)


# --- where the picks lie ---------------------------------------------------------------------


@pytest.mark.parametrize("of", [0, 1])
def test_gains_are_those_of_the_verdicts_and_classes_those_of_sets(catalog, problem, four, of):
    a, b = four[:2]
    found = gains(catalog, problem, a, b, given=(a, b)[of])
    ids = catalog.sample_ids()
    verdicts = (a, b)[of].verdicts
    sets = [{ids[int(row)] for row in one.support} for one in (a, b)]
    points = {row[0]: row[1:] for row in found.points.rows()}
    assert set(points) == sets[0] | sets[1]
    for name, (kind, influence, gain) in points.items():
        there = (name in sets[0], name in sets[1])
        assert kind == {(True, True): "both", (True, False): "a", (False, True): "b"}[there]
        row = verdicts.row(by_predicate=pl.col("sample_id") == name, named=True)
        assert gain == row["gain"]
        at = ids.to_list().index(name)
        assert influence == pytest.approx(float(problem.influence[at]))
    rest = problem.atoms.candidates.sum() - len(points)
    assert found.density["samples"].sum() == rest
    assert found.counts["both"] == len(sets[0] & sets[1])
    mine = verdicts.filter(pl.col("sample_id").is_in(list(sets[0] - sets[1])))["gain"]
    assert found.medians["a"] == pytest.approx(mine.median())


def test_the_gain_of_a_pick_of_the_other_is_what_the_residual_falls_by(catalog, problem, four):
    """Against a solve of its own: non-negative ridge weights with and without the sample."""
    a, b = four[:2]
    found = gains(catalog, problem, a, b, given=a)
    ids = catalog.sample_ids().to_list()
    before = best_left(problem, a.support)
    for name, _, _, gain in found.points.filter(pl.col("class") == "b").rows():
        after = best_left(problem, np.append(a.support, ids.index(name)))
        assert gain == pytest.approx(before - after, abs=1e-5)


def best_left(problem, support) -> float:
    from scipy.optimize import nnls

    rows = rows_of(problem, support)
    ridge = np.sqrt(Settings().ridge) * np.eye(len(support))
    stacked = np.vstack([rows.T, ridge])
    weights, _ = nnls(stacked, np.concatenate([problem.target, np.zeros(len(support))]))
    left = problem.target - weights @ rows
    return float(np.linalg.norm(left) / np.linalg.norm(problem.target))


def test_points_beyond_the_most_are_thinned_evenly_from_the_strongest_on(catalog, problem, four):
    a, b = four[:2]
    found = gains(catalog, problem, a, b, given=a, most=6)
    assert 3 <= found.points.height <= 6
    whole = gains(catalog, problem, a, b, given=a)
    assert found.counts == whole.counts
    assert found.medians == whole.medians
    firsts = [whole.points.filter(pl.col("class") == c)["sample_id"][0] for c in ("a", "b")]
    assert set(firsts) <= set(found.points["sample_id"])


def test_without_gains_the_proxy_stands_in_and_says_so(catalog, problem, four):
    a, b = four[:2]
    old = contestant(
        catalog, problem, a.selection, name="gtp", verdicts=a.verdicts.drop("gain", "covered")
    )
    found = gains(catalog, problem, old, b, given=old)
    assert found.measure == "proxy"
    row = a.verdicts.row(by_predicate=pl.col("sample_id") == found.points["sample_id"][0])
    assert found.points["gain"][0] == row[a.verdicts.columns.index("proxy")]
    assert set(only(catalog, problem, b, old)["gain"]) <= {None}


# --- ranks -----------------------------------------------------------------------------------


def test_top_k_is_preferred_by_influence_and_others_by_choice_then_gain(problem, four):
    gtp, topk = four[:2]
    places = preference(problem, topk)
    assert np.argsort(places)[: len(topk)].tolist() == topk.support.tolist()
    places = preference(problem, gtp)
    order = np.argsort(places)
    assert sorted(places) == list(range(1, len(places) + 1))
    assert order[: len(gtp)].tolist() == gtp.support.tolist()
    rest = gtp.verdicts["gain"].fill_null(-1e9).to_numpy()[order[len(gtp) :]]
    assert (np.diff(rest) <= 0).all()


def test_ranks_count_every_candidate_once_and_correlate_as_spearman(problem, four):
    a, b = four[:2]
    found = ranks(problem, a, b)
    usable = problem.atoms.candidates
    assert found.cells["samples"].sum() == usable.sum()
    places = [pl.Series(preference(problem, one)[usable]) for one in (a, b)]
    table = pl.DataFrame({"a": places[0], "b": places[1]})
    spearman = table.select(pl.corr("a", "b", method="spearman")).item()
    assert found.correlation == pytest.approx(spearman)
    first, second = (one.rank().to_numpy() for one in places)
    for low_a, low_b, count in found.cells.rows():
        high_a, high_b = (
            found.edges[found.edges.tolist().index(low) + 1] for low in (low_a, low_b)
        )
        inside = (first >= low_a) & (first < high_a) & (second >= low_b) & (second < high_b)
        assert inside.sum() == count


def test_a_selection_ranks_as_itself(problem, four):
    assert ranks(problem, four[0], four[0]).correlation == pytest.approx(1.0)


# --- what only one has -----------------------------------------------------------------------


def test_only_lists_what_the_other_has_not_with_its_verdict(catalog, problem, four):
    for one, other in itertools.permutations(four[:3], 2):
        table = only(catalog, problem, one, other)
        ids = catalog.sample_ids()
        mine = [ids[int(row)] for row in one.support if row not in set(other.support.tolist())]
        assert table["sample_id"].to_list() == mine
        for row in table.iter_rows(named=True):
            judged = other.verdicts.row(
                by_predicate=pl.col("sample_id") == row["sample_id"], named=True
            )
            for name in ("verdict", "covered", "gain", "keeper"):
                assert row[name] == judged[name]
            assert one.support[row["rank"] - 1] == ids.to_list().index(row["sample_id"])
            assert row["weight"] == one.selection.weights[row["rank"] - 1]
            assert row["reason"]


def test_reasons_say_why_in_the_words_of_the_other_method(catalog, problem, four):
    gtp, topk, random, _ = four
    row = only(catalog, problem, gtp, topk).row(0, named=True)
    assert row["reason"].startswith(f"top-k ranks it #{row['topk_rank']:,} and took {len(topk)}")
    assert row["topk_rank"] > len(topk)
    assert f"{row['covered']:.0%} of it is covered" in row["reason"]
    assert only(catalog, problem, gtp, random)["reason"][0].startswith("it was not drawn")
    table = only(catalog, problem, topk, gtp)
    for row in table.filter(pl.col("verdict") == "redundant").iter_rows(named=True):
        assert row["reason"].startswith("the chosen samples say it already; ")
    for row in table.iter_rows(named=True):
        assert ("would lower" if row["gain"] >= 0 else "would raise") in row["reason"]


def test_rows_lead_on_where_asked_and_are_limited(catalog, problem, four):
    table = only(catalog, problem, four[0], four[1], limit=2, address=lambda one: f"why?id={one}")
    assert table.height == 2
    assert table["why"].to_list() == [f"why?id={one}" for one in table["sample_id"]]


# --- runs and lists --------------------------------------------------------------------------


def test_a_saved_run_is_the_selection_it_was(own_catalog):
    problem = pose(own_catalog, "maths", n_splits=2)
    selection, held = choose(problem, BUDGET, method="gtp", settings=Settings())
    run = save(own_catalog, problem, selection, held)["run"]
    found = from_run(own_catalog, problem, run)
    fresh = contestant(own_catalog, problem, selection, name=run, held=held)
    assert found.note == ""
    assert found.held == held
    for name in ("support", "weights", "pruned"):
        assert (getattr(found.selection, name) == getattr(selection, name)).all()
    assert (found.selection.rounds, found.selection.stop) == (selection.rounds, selection.stop)
    assert found.verdicts.equals(fresh.verdicts)
    assert found.matches == pytest.approx(fresh.matches)
    assert found.matches.mean() == pytest.approx(held.match)


@pytest.mark.parametrize(
    ("task", "posed"), [("dates", {}), ("maths", {"common_direction": "kept"})]
)
def test_a_run_of_another_question_is_judged_by_this_one_and_says_so(own_catalog, task, posed):
    other = pose(own_catalog, task, n_splits=2, **posed)
    problem = pose(own_catalog, "maths", n_splits=2)
    selection, held = choose(other, BUDGET, method="gtp", settings=Settings())
    run = save(own_catalog, other, selection, held)["run"]
    found = from_run(own_catalog, problem, run, name="theirs")
    assert "theirs was chosen for" in found.note
    assert "judged by maths" in found.note
    total = selection.weights @ rows_of(problem, selection.support)
    factor, left = least_left(total, problem.target)
    assert found.selection.residual_weighted == pytest.approx(left, abs=1e-9)
    assert found.selection.weights == pytest.approx(factor * selection.weights)
    assert found.sums.weighted == pytest.approx(factor * total)
    assert set(found.verdicts.filter(pl.col("verdict") == "chosen")["sample_id"]) == {
        own_catalog.sample_ids()[int(row)] for row in selection.support
    }
    if task == "dates":  # its examples were never looked at, so this is held out
        brute = np.mean([cosine(total, split.rest) for split in problem.splits])
        assert found.held.match == pytest.approx(brute)
    else:  # they were fitted to: nothing is held out
        assert found.held is None
        assert found.matches is None


def test_a_run_of_another_store_is_refused(own_catalog, says):
    problem = pose(own_catalog, "maths", n_splits=2)
    run = save(own_catalog, problem, select(problem, 3), None)["run"]
    path = own_catalog.workspace / "runs" / run / "run.json"
    document = json.loads(path.read_text()) | {"store_digest": "other"}
    path.write_text(json.dumps(document))
    with pytest.raises(RunError) as error:
        from_run(own_catalog, problem, run)
    says(error.value, run, "another store", "Choose")


@pytest.mark.parametrize("damage", ["rounds", "method", "verdict", "stop"])
def test_a_damaged_run_is_one_sentence(own_catalog, says, damage):
    problem = pose(own_catalog, "maths", n_splits=2)
    run = save(own_catalog, problem, select(problem, 3), None)["run"]
    folder = own_catalog.workspace / "runs" / run
    if damage in ("method", "stop"):
        document = json.loads((folder / "run.json").read_text())
        del document[damage]
        (folder / "run.json").write_text(json.dumps(document))
    else:
        name = {"rounds": "rounds", "verdict": "verdicts"}[damage]
        pl.DataFrame({"x": [1]}).write_parquet(folder / f"{name}.parquet")
    with pytest.raises(RunError) as error:
        from_run(own_catalog, problem, run)
    says(error.value, run, "damaged", "select again")


def test_a_list_is_matched_as_it_is(catalog, problem):
    listed = given(catalog, problem, ["id-0004", "id-0011", "id-0030"])
    found = contestant(catalog, problem, listed, name="your list")
    total = rows_of(problem, listed.support).sum(axis=0)
    brute = [cosine(total, split.rest) for split in problem.splits]
    assert found.matches == pytest.approx(brute)
    assert found.held.match == pytest.approx(np.mean(brute))
    gtp = contestant(catalog, problem, select(problem, 5), name="gtp", refit=False)
    reasons = only(catalog, problem, gtp, found)["reason"]
    assert all(reason.startswith("it is not in the list") for reason in reasons)


def test_matches_over_the_splits_average_to_the_held_out_match(problem, four):
    for one in four:
        again = held_out(problem, BUDGET, method=one.name, settings=Settings())
        assert one.matches.mean() == pytest.approx(again.match)


def test_the_spread_is_left_out_and_filled_in_later(catalog, problem, four):
    bare = contestant(catalog, problem, four[0].selection, name="gtp", refit=False)
    assert bare.matches is None
    assert with_spread(problem, bare).matches == pytest.approx(four[0].matches)
    assert with_spread(problem, four[1]) is four[1]
    other = pose(catalog, "maths", n_splits=2, bans=["id-0001"])
    assert split_matches(other, four[0].selection, refit=True) is None, "made for another pool"


def test_names_differ():
    assert named(["gtp", "top-k", "gtp", "gtp"]) == ["gtp", "top-k", "gtp (2)", "gtp (3)"]


# --- sentences -------------------------------------------------------------------------------


def test_the_sentences_hold_the_numbers(catalog, problem, four):
    two = four[:2]
    found = five_sentences(catalog, problem, two)
    assert len(found) == 5
    assert all(text.endswith(".") and "\n" not in text for text in found)
    gtp, topk = two
    falling = gtp.sums.falling
    enough = next(n for n, left in enumerate(falling, 1) if left <= topk.sums.falling[-1])
    word = "sample" if enough == 1 else "samples"
    assert f"gtp needs {enough} {word} where top-k needs {len(topk)} for a residual" in found[0]
    assert f"{gtp.likeness.n_alike} of gtp's {len(gtp)}" in found[1]
    both = len(set(gtp.support.tolist()) & set(topk.support.tolist()))
    assert f"share {both} samples" in found[3]
    assert f"gtp {gtp.held.match:.3f}" in found[4]
    apart = gtp.matches - topk.matches
    if abs(apart.mean()) > apart.std(ddof=1):
        assert "is larger than its spread over the 4 splits" in found[4]
    else:
        assert "is not larger than its spread over the 4 splits" in found[4]


def test_the_leaning_source_is_the_one_most_above_its_share(catalog, four):
    sources = catalog.query("SELECT source FROM samples ORDER BY row")["source"].to_list()
    best = (0.0, "", "")
    for one in four:
        for source in set(sources):
            mine = [sources[int(row)] for row in one.support].count(source)
            times = mine / len(one) / (sources.count(source) / len(sources))
            if mine >= 5:
                best = max(best, (times, one.name, source))
    text = leaning(catalog, four)
    if best[0] >= 1.5:
        assert f"Source {best[2]} is {best[0]:.1f} times over-represented in {best[1]}" in text
    else:
        assert text.startswith("No source is 1.5 times")


def test_of_more_than_two_everyone_is_named(catalog, problem, four):
    for text in (needed(four), repeated(four), shared(four), matched(four)):
        assert all(name in text for name in METHODS)
    everywhere = set.intersection(*(set(one.support.tolist()) for one in four))
    assert f"all 4 share {len(everywhere)}" in shared(four)


def fake(one, held, matches, name):
    return replace(one, held=held, matches=matches, name=name)


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ([0.4, 0.5, 0.6], [0.1, 0.2, 0.3], "of 0.300 is larger than its spread over the 3"),
        ([0.1, 0.5, 0.9], [0.5, 0.4, 0.3], "of 0.100 is not larger than its spread"),
        (None, [0.1, 0.2, 0.3], "the spread over the splits was not measured"),
        ([0.4], [0.1], "too few splits"),
    ],
)
def test_a_difference_is_called_one_only_beyond_its_spread(four, first, second, words):
    told = [(0.5, first, "one"), (0.2, second, "two")]
    pair = [
        fake(four[0], HeldOut(m, 0.6, 3), None if some is None else np.array(some), name)
        for m, some, name in told
    ]
    text = matched(pair)
    assert words in text
    assert "with a ceiling of 0.600" in text


def test_what_is_not_known_is_not_told(four):
    lost = fake(four[0], None, None, "list")
    assert matched([lost, four[1]]) == "The held-out match of list is not known."
    bad = [fake(one, HeldOut(0.1, -0.02, 3), None, one.name) for one in four[:2]]
    assert "do not agree at all (ceiling -0.02)" in matched(bad)


def test_low_reliability_is_said_in_words():
    low = Reliability(0.1, LOW_RELIABILITY / 2, 0.4, 0.9, 8)
    assert "Low reliability (0.25)" in doubt(low)
    assert "single usable validation example" in doubt(None)
    assert doubt(Reliability(0.8, 0.9, 0.95, 0.3, 8)) is None


def test_everything_is_plain_json(catalog, problem, four):
    document = contrasted(catalog, problem, four)
    assert json.loads(json.dumps(document)) == document
    assert document["judged_by"] == "maths"
    assert (
        sum(row["samples"] for row in document["combinations"]) == exclusive(four)["samples"].sum()
    )


def test_empty_selections_are_compared_too(catalog):
    """A target that no atom helps leaves GTP without samples."""
    problem = pose(catalog, "maths", n_splits=2)
    none = select(problem, 3)
    empty = replace(
        none,
        support=none.support[:0],
        weights=none.weights[:0],
        residual_weighted=1.0,
        residual_as_trained=1.0,
    )
    pair = [
        contestant(catalog, problem, empty, name="empty"),
        contestant(catalog, problem, none, name="gtp"),
    ]
    assert "without samples" in needed(pair)
    assert exclusive(pair)["samples"].to_list() == [3]
    assert likeness_table(pair)["empty"].sum() == 0
    assert gains(catalog, problem, *pair, given=pair[0]).counts == {"a": 0, "both": 0, "b": 3}
    assert only(catalog, problem, pair[0], pair[1]).is_empty()
    assert len(five_sentences(catalog, problem, pair)) == 5
    assert by_checkpoint(catalog, problem, pair)["residual_weighted"][0] == pytest.approx(1.0)
    assert ranks(problem, *pair).cells["samples"].sum() == problem.atoms.candidates.sum()
