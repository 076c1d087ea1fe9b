"""Promises of answers, rules and exchanges: what a curator says about duplicates, and its worth."""

import itertools
import json
from pathlib import Path

import conftest
import numpy as np
import polars as pl
import pytest
from conftest import build_store, sample_table
from test_duplicates import CHAIN, likeness

from gtp_core.atoms import pose
from gtp_core.catalog import Edit, open_catalog
from gtp_core.cli import main
from gtp_core.errors import CatalogError
from gtp_core.figures.duplicates import taken_figure
from gtp_core.methods import Settings, select
from gtp_core.neighbors import (
    accepting,
    answer_table,
    answers_of,
    duplicates,
    families,
    guarantee_sentences,
    kept_in,
    members,
    nearest_below,
    pairs_near,
    prepare_neighbors,
    rows_alike,
    rule_change,
    rule_scores,
    rules_without,
    save_clusters,
    saved_sentence,
    scores_of,
    shown_groups,
    step_below,
    suggested,
    suggestion_sentence,
    taken_along,
    taken_sentence,
    threshold_steps,
)
from gtp_core.neighbors.answers import read_answers
from gtp_core.neighbors.dates import date_of, sample_dates
from gtp_core.neighbors.groups import group
from gtp_core.neighbors.keepers import decide
from gtp_core.neighbors.shown import why_kept
from gtp_core.report.fitted import fit, targets
from gtp_core.report.standins import gains_of, groups_judged, members_judged, swaps, weigh
from gtp_core.report.verdicts import verdict_table

# --- would you merge these? ------------------------------------------------------------------


def test_answers_are_read_from_edits_and_the_last_word_counts():
    rows = {"a": 0, "b": 1, "c": 2}
    edits = [
        Edit(1, "", "me", "duplicate", "b", "a"),
        Edit(2, "", "me", "distinct", "b", "c"),
        Edit(3, "", "me", "split", "c", "a"),
        Edit(4, "", "me", "split", "c"),
        Edit(5, "", "me", "duplicate", "gone", "a"),
        Edit(6, "", "me", "duplicate", "a", "a"),
        Edit(7, "", "me", "distinct", sample_ids=("a",), value="b"),
    ]
    assert list(read_answers(edits, rows).items()) == [
        ((1, 2), False),
        ((0, 2), False),
        ((0, 1), False),
    ]


def test_scores_of_pairs_are_found_through_their_copies():
    found = likeness(5, {(0, 4): 0.9}, copies=[0, 0, -1, -1, 4])
    scores = scores_of(found, [(0, 1), (1, 4), (2, 3), (0, 2), (0, 4)])
    assert scores.tolist() == pytest.approx([1, 0.9, np.nan, np.nan, 0.9], nan_ok=True)
    assert scores_of(found, []).shape == (0,)


ALIKE = {(i, i + 1): 0.8 + i / 100 for i in range(20)}  # 0.80, 0.81 ... 0.99


def test_the_threshold_that_fits_the_answers_best_is_suggested():
    found = likeness(21, ALIKE, floor=0.8)
    answers = {pair: score >= 0.9 - 1e-9 for pair, score in ALIKE.items()}
    told = suggested(found, answers, 0.95)
    assert (told.agree, told.now, told.known, told.yes, told.no) == (20, 15, 20, 10, 10)
    assert 0.89 < told.threshold <= 0.9
    assert "agrees with 20 of 20" in suggestion_sentence(told, answers)
    assert suggested(found, answers, 0.9).threshold == 0.9
    assert "No threshold fits them better" in suggestion_sentence(
        suggested(found, answers, 0.9), answers
    )
    answers[(0, 20)] = True  # below the floor: nobody knows how alike
    assert suggested(found, answers, 0.95).known == 20
    assert suggested(found, {(0, 20): True}, 0.95) is None
    assert suggested(found, {}, 0.95) is None
    assert suggestion_sentence(None, {}) == "None answered yet."


def test_what_is_suggested_agrees_with_no_fewer_answers_than_any_other_threshold():
    found = likeness(21, ALIKE, floor=0.8)
    generator = np.random.default_rng(3)
    answers = {pair: bool(generator.integers(2)) for pair in ALIKE}
    told = suggested(found, answers, 0.9)
    for threshold in threshold_steps(found):
        agree = sum((ALIKE[p] >= threshold - 1e-6) == yes for p, yes in answers.items())
        assert agree <= told.agree


def test_answered_pairs_are_not_asked_again_and_the_others_stay():
    pairs = {
        pair: 0.9 + (i % 100) / 1000 for i, pair in enumerate(itertools.combinations(range(30), 2))
    }
    found = likeness(30, pairs)
    before = pairs_near(found, 0.95)
    assert before.height == 12
    asked = set(before.select("row", "other").rows())
    first = before.row(0)[1:3]
    after = pairs_near(found, 0.95, answered=[first])
    left = set(after.select("row", "other").rows())
    assert first not in left
    assert asked - {first} <= left
    assert after.height == 12
    assert pairs_near(found, 0.95, answered=list(pairs)).is_empty()


def test_the_nearest_pair_below_a_threshold_and_the_step_that_reaches_it():
    found = likeness(6, {(0, 1): 0.96, (2, 3): 0.913, (4, 5): 0.7})
    (near,) = nearest_below(found, 0.95).rows(named=True)
    assert (near["row"], near["other"], near["score"]) == (2, 3, pytest.approx(0.913))
    assert step_below(found, near["score"]) == 0.91
    assert step_below(likeness(3, {}, floor=0.8), 0.5) is None
    assert nearest_below(likeness(3, {}), 0.95).is_empty()
    assert threshold_steps(likeness(3, {}, basis="text", floor=1.0)) == [1.0]


# --- rules -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "seconds"),
    [
        ({"date": "1970-01-02"}, 86400.0),
        ({"created_at": "1970-01-01T01:00:00+01:00"}, 0.0),
        ({"meta": {"timestamp": 1700000000}}, 1.7e9),
        ({"metadata": {"time": 1700000000000}}, 1.7e9),
        ({"date": "1971"}, 31536000.0),
        ({"date": "1970-02"}, 31 * 86400.0),
        ({"date": "soon", "updated": "1970-01-02T00:00:00Z"}, 86400.0),
        ({"date": True}, None),
        ({"date": "yesterday"}, None),
        ({"date": 1e308 * 10}, None),
        ({"prompt": 'say "date": 5'}, None),
        ([{"date": "1970-01-02"}], None),
    ],
)
def test_dates_are_read_where_a_record_holds_one(record, seconds):
    found = date_of(json.dumps(record))
    assert np.isnan(found) if seconds is None else found == seconds


def test_a_broken_record_has_no_date():
    assert np.isnan(date_of('{"date": '))


@pytest.fixture
def dated(tmp_path, monkeypatch):
    """A store whose records hold dates, the later rows the older; every fifth holds none."""

    def table(rows):
        records = [
            json.dumps({"id": i, **({"date": f"{2020 - i // 10}-01-01"} if i % 5 else {})})
            for i in rows
        ]
        return sample_table(rows).with_columns(record=pl.Series(records, dtype=pl.String))

    monkeypatch.setattr(conftest, "sample_table", table)
    catalog = open_catalog(build_store(tmp_path / "dated"))
    yield catalog
    catalog.close()


def test_the_newest_is_kept_where_records_hold_dates(dated, own_catalog, says):
    dates = sample_dates(dated)
    assert np.isnan(dates[::5]).all()
    assert not np.isnan(dates[1::5]).any()
    scores = rule_scores(dated, "newest")
    assert scores[1] > scores[11] > scores[56] > scores[0] == -np.inf
    assert "newest" not in rules_without(dated)
    assert set(rules_without(own_catalog)) == {"newest"}
    with pytest.raises(CatalogError) as caught:
        rule_scores(own_catalog, "newest")
    says(caught.value, "newest", "created_at")


def test_a_change_of_rule_tells_keepers_and_rows_before_it_is_made():
    whole = dict.fromkeys(itertools.combinations(range(3), 2), 0.99)
    found = {"gradient": group(likeness(6, {**whole, (4, 5): 0.99}), 0.95)}
    before = decide(found, np.array([3.0, 0, 0, 0, 1, 0]), rule="weight")
    after = decide(found, np.array([0, 0, 3.0, 0, 1, 0]), rule="longest")
    assert rule_change(before, after) == (
        "Instead of weight, longest would change who is kept in 1 of 2 groups: 1 rows that stay "
        "would go, 1 that go would stay. 3 rows would go instead of 3."
    )


def test_why_a_group_keeps_its_keeper():
    found = {"gradient": group(likeness(3, {(0, 1): 0.99, (0, 2): 0.99, (1, 2): 0.99}), 0.95)}
    rows = np.arange(3)
    weight = decide(found, np.array([0.2, 10.9, 0.1]), rule="weight")
    assert why_kept(weight, 1, rows) == "most weight"
    none = decide(found, np.array([0.2, 0.3, 0.1]), rule="weight")
    assert why_kept(none, 1, rows) == "most influential, none has weight"
    tie = decide(found, np.array([5.0, 5, 1]), rule="longest")
    assert why_kept(tie, 0, rows) == "most tokens; a tie, first in the pool"
    mine = decide(found, np.zeros(3), rule="first", keepers=[2])
    assert why_kept(mine, 2, rows) == "your choice"


# --- groups as a whole -------------------------------------------------------------------------


def test_groups_that_share_a_member_are_one_family_and_all_keep_a_row():
    text = group(likeness(6, {}, copies=[0, 1, 2, 3, 4, 0], basis="text", floor=1.0), 1.0)
    near = group(likeness(6, {(0, 1): 0.99, (2, 3): 0.99}), 0.95)
    decision = decide({"text": text, "gradient": near}, np.zeros(6), rule="first")
    label = families(decision)
    assert label[0] == label[1] == label[5] != label[2]
    assert label[4] == -1
    assert kept_in(label, decision.stays) == (2, 2)
    said = guarantee_sentences(decision)
    assert "2 groups, 2 with a keeper ✓. 3 of 3 rows that go" in said
    assert kept_in(label, np.zeros(6, bool)) == (2, 0)


def test_a_group_whose_members_all_go_elsewhere_is_told():
    text = group(likeness(4, {}, copies=[0, 1, 0, 1], basis="text", floor=1.0), 1.0)
    near = group(likeness(4, {(2, 3): 0.99}), 0.95)
    decision = decide({"text": text, "gradient": near}, np.zeros(4), rule="first")
    assert decision.dropped["row"].to_list() == [2, 3]
    said = guarantee_sentences(decision)
    assert "1 groups, 1 with a keeper ✓" in said
    assert "1 of a single basis have their keepers outside" in said


def test_the_banned_are_kept_last():
    found = {"gradient": group(likeness(3, {(0, 1): 0.99, (0, 2): 0.99, (1, 2): 0.99}), 0.95)}
    banned = np.array([True, False, False])
    decision = decide(found, np.array([5.0, 1, 0]), rule="r", keepers=[0], banned=banned)
    assert decision.dropped.select("row", "keeper").rows() == [(0, 1), (2, 1)]
    everyone = decide(found, np.array([5.0, 1, 0]), rule="r", banned=np.ones(3, bool))
    assert everyone.dropped.select("row", "keeper").rows() == [(1, 0), (2, 0)]


def test_only_groups_that_are_alike_throughout_are_accepted_and_only_once():
    pairs = {**CHAIN, (4, 5): 0.99, (6, 7): 0.96}
    found = {"gradient": group(likeness(8, pairs), 0.95)}
    decision = decide(found, np.zeros(8), rule="first")
    count, rows = accepting(decision, "gradient", 0.98)
    assert (count, rows.tolist()) == (1, [4])
    count, rows = accepting(decision, "gradient", 0.95)
    assert (count, rows.tolist()) == (2, [4, 6])
    again = decide(found, np.zeros(8), rule="first", keepers=rows.tolist())
    assert accepting(again, "gradient", 0.95)[0] == 0


# --- on a store ------------------------------------------------------------------------------


@pytest.fixture
def known(own_catalog):
    return own_catalog, prepare_neighbors(own_catalog)


def made(catalog, graph, rule="first", **what):
    scores = rule_scores(catalog, rule)
    return duplicates(catalog, graph, {"gradient": 0.999}, scores, rule=rule, **what)


def test_answers_and_bans_are_edits_that_can_be_undone(known):
    catalog, graph = known
    catalog.edit("duplicate", who="me", sample_ids=["id-0045"], value="id-0005")
    catalog.edit("distinct", who="me", sample_ids=["id-0050"], value="id-0012")
    answers = answers_of(catalog)
    assert answers == {(5, 45): True, (12, 50): False}
    table = answer_table(catalog, graph.likenesses["gradient"], answers, 0.999)
    assert table.select("answer", "agrees").rows() == [("no", False), ("yes", True)]
    before = made(catalog, graph).dropped
    catalog.edit("ban", who="me", sample_ids=["id-0005", "id-0045"])
    assert made(catalog, graph).dropped.filter(pl.col("keeper") == 46)["row"].to_list() == [5, 45]
    catalog.undo("me")
    assert made(catalog, graph).dropped.equals(before)
    catalog.undo("me")
    assert answers_of(catalog) == {(5, 45): True}


def test_the_table_of_groups_is_narrowed_and_says_what_is_left_out(known):
    catalog, graph = known
    decision = made(catalog, graph)
    supports = {"GTP": np.array([5, 45]), "top-k": np.array([12])}
    whole = shown_groups(catalog, decision, "gradient", supports)
    assert whole.table["size"].to_list() == [3, 2]
    assert whole.table["keeper"].to_list() == ["id-0005", "id-0012"]
    assert whole.table["on"].to_list() == ["2 gradient", "1 gradient"]
    assert (whole.count, whole.rest) == (2, 0)
    first = shown_groups(catalog, decision, "gradient", supports, most=1)
    assert (first.table.height, first.count, first.rest) == (1, 2, 1)
    assert first.left_out == "Shown are 1; of the other 1 groups 1 rows go. "
    assert whole.left_out == ""
    assert whole.marked(1)[" "].to_list() == ["", "▶"]
    for what, sizes in (
        ({"size": 2}, [2]),
        ({"which": "taken"}, [3]),
        ({"which": "chains"}, []),
        ({"which": "open"}, [3, 2]),
    ):
        table = shown_groups(catalog, decision, "gradient", supports, **what).table
        assert table["size"].to_list() == sizes
    catalog.edit("keeper", who="me", sample_ids=["id-0005"])
    catalog.edit("ban", who="me", sample_ids=["id-0012", "id-0050"])
    told = shown_groups(catalog, made(catalog, graph), "gradient", supports)
    assert told.table["yours"].to_list() == ["accepted", "excluded"]
    assert told.table["why"][0] == "your choice"


def test_members_are_compared_with_their_keeper_at_every_checkpoint(known):
    catalog, graph = known
    catalog.edit("keeper", who="me", sample_ids=["id-0046"])
    table = members(catalog, made(catalog, graph), "gradient", 0)
    assert table["sample_id"][0] == "id-0046"
    assert table["beside"].to_list() == [46, 46, 46]
    assert table["to_keeper"].to_list() == pytest.approx([1, 1, 1])
    assert all(one == pytest.approx([1, 1, 1]) for one in table["by_checkpoint"].to_list())
    other = members(catalog, made(catalog, graph, chains=True), "gradient", 1)
    assert other["sample_id"].to_list() == ["id-0012", "id-0050"]


def test_cosines_by_checkpoint_are_those_of_the_stored_rows(own_catalog):
    from gtp_core.neighbors.pairs import cosines, few_cosines
    from gtp_core.trajectories import open_trajectories

    trajectories = open_trajectories(own_catalog.store)
    one, other = np.array([3, 50, 7]), np.array([30, 12, 8])
    whole, found = few_cosines(own_catalog.store, one, other)
    assert whole[:2] == pytest.approx(cosines(trajectories, None, one[:2], other[:2]), abs=1e-6)
    for t, parts in enumerate(trajectories.parts):
        rows = np.concatenate(parts).astype(np.float64)
        for p in range(2):
            a, b = rows[one[p]], rows[other[p]]
            wanted = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
            assert found[p, t] == pytest.approx(wanted, abs=1e-6)
    assert np.isnan(found[2, 7 % 3])  # row 7 is zero there


def test_saved_tables_of_another_decision_are_called_stale(known):
    catalog, graph = known
    decision = made(catalog, graph)
    assert saved_sentence(catalog, decision).startswith("Not saved yet")
    save_clusters(catalog, decision)
    assert saved_sentence(catalog, decision).startswith("Saved:")
    catalog.edit("keeper", who="me", sample_ids=["id-0046"])
    assert saved_sentence(catalog, made(catalog, graph)).startswith("What is saved is stale")


def test_what_was_taken_of_one_group_along_the_path():
    groups = group(likeness(6, {(0, 1): 0.9, (1, 2): 0.9, (3, 4): 0.9}), 0.8)
    path = pl.DataFrame(
        {
            "method": ["gtp", "gtp", "top-k", "gtp", "random"],
            "seed": [0, 0, 0, 1, 0],
            "budget": [1, 3, 3, 3, 3],
            "support": [[0], [0, 3, 5], [0, 1, 2], [1], [0]],
        }
    )
    along = taken_along(groups, 0, path)
    assert along.rows() == [("gtp", 1, 1), ("gtp", 3, 1), ("top-k", 3, 3)]
    assert (
        "GTP never took more than 1, top-k 3" in taken_figure(along, "dark", budget=3, size=3).alt
    )
    supports = {"GTP": np.array([0]), "top-k": np.array([0, 1])}
    assert taken_sentence(groups, 0, supports) == (
        "Of its 3 members GTP took 1 and top-k took 2 at this budget."
    )


# --- what a duplicate is worth to a selection ----------------------------------------------------


@pytest.fixture
def chosen(known):
    catalog, graph = known
    problem = pose(catalog, "maths", n_splits=0)
    return catalog, graph, problem, select(problem, 12, settings=Settings(ridge=0.1))


def residual_with(problem, selection, support, ridge):
    """The best weighted residual of any support, weighed from nothing."""
    rows = problem.atoms.rows(support)
    whole = np.ones(len(support), bool)
    return fit(support, rows, whole, targets(problem, selection), ridge).residual


def test_an_exchange_of_keepers_is_what_weighing_anew_gives(chosen):
    catalog, _, problem, selection = chosen
    weighed = weigh(catalog, problem, selection)
    keeper = int(selection.support[0])
    outside = np.setdiff1d(np.flatnonzero(catalog.valid()), selection.support)[:6]
    change = swaps(weighed, keeper, outside)
    ridge = weighed.fitted.ridge
    now = residual_with(problem, selection, selection.support, ridge)
    for row, told in zip(outside.tolist(), change, strict=True):
        support = np.append(selection.support[1:], row)
        wanted = residual_with(problem, selection, support, ridge) - now
        assert told == pytest.approx(wanted, abs=1e-6)
    assert (np.abs(change) > 1e-6).any()


def test_where_none_of_a_group_is_chosen_an_exchange_changes_nothing(chosen):
    catalog, _, problem, selection = chosen
    weighed = weigh(catalog, problem, selection)
    free = np.setdiff1d(np.flatnonzero(catalog.valid()), selection.support)
    assert np.isnan(swaps(weighed, int(free[0]), free[1:3])).all()
    invalid = np.array([7])
    assert np.isnan(swaps(weighed, int(selection.support[0]), invalid)).all()


def test_gains_and_verdicts_of_some_rows_are_those_of_the_whole_table(chosen):
    catalog, graph, problem, selection = chosen
    weighed = weigh(catalog, problem, selection)
    rows = rows_alike(graph, {"gradient": 0.999})
    assert rows.tolist() == [5, 12, 45, 46, 50]
    whole = verdict_table(catalog, problem, selection)
    gains = gains_of(weighed, rows)
    assert gains[rows] == pytest.approx(whole["gain"].to_numpy()[rows])
    assert np.isnan(gains[np.setdiff1d(np.arange(60), [*rows, *selection.support])]).all()
    scores = rule_scores(catalog, "gain", gain=gains)
    decision = duplicates(catalog, graph, {"gradient": 0.999}, scores, rule="gain")
    shown = shown_groups(catalog, decision, "gradient", {"GTP": selection.support})
    judged = groups_judged(catalog, weighed, decision.groups["gradient"], shown).table
    words = whole["verdict"].to_list()
    for line in judged.rows(named=True):
        group_rows = np.flatnonzero(decision.groups["gradient"].label == line["cluster"])
        counted = sorted(words[row] for row in group_rows)
        told = sorted(
            name
            for part in line["verdicts"].split(", ")
            for name in [part.split()[1]] * int(part.split()[0])
        )
        assert told == counted
        assert (line["swap"] is None) == (line["GTP"] == 0)
    table = members(catalog, decision, "gradient", 0)
    judged = members_judged(weighed, int(table["row"][0]), table)
    assert judged["verdict"].to_list() == [words[row] for row in table["row"]]
    assert judged["swap"][0] is None


def test_copies_of_a_gradient_can_take_each_others_place(chosen):
    catalog, _, problem, _ = chosen
    selection = select(problem, 12, settings=Settings(ridge=0.1))
    copies = {5: [45, 46], 45: [5, 46], 46: [5, 45], 12: [50], 50: [12]}
    taken = [row for row in selection.support.tolist() if row in copies]
    if not taken:
        problem = pose(catalog, "maths", n_splits=0, pins=("id-0045",))
        selection = select(problem, 12, settings=Settings(ridge=0.1))
        taken = [45]
    weighed = weigh(catalog, problem, selection)
    others = np.array(copies[taken[0]])
    assert swaps(weighed, taken[0], others) == pytest.approx(0, abs=1e-9)


def test_the_command_keeps_by_gain_and_says_that_every_group_keeps_a_row(own_catalog, capsys):
    store = str(own_catalog.store.folder)
    assert main(["select", store, "--task", "maths", "--budget", "5", "--json"]) == 0
    run = json.loads(capsys.readouterr().out)["run"]
    words = ["duplicates", store, "--threshold", "0.999", "--keep", "gain"]
    assert main([*words, "--run", run]) == 0
    assert "Every group keeps at least one row" in capsys.readouterr().out
    assert set(own_catalog.query("SELECT rule FROM dropped")["rule"]) == {"gain"}
    assert main(words) == 2
    assert "--run" in capsys.readouterr().err
    assert main(["duplicates", store, "--keep", "newest"]) == 2
    assert "needs dates" in capsys.readouterr().err
    assert Path(store).is_dir()
