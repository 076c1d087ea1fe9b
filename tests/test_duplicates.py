"""Promises about duplicates: who goes has a kept row that matches it, whatever a curator says."""

import itertools
import json
from contextlib import closing
from dataclasses import replace

import conftest
import numpy as np
import polars as pl
import pytest
from conftest import build_store
from hypothesis import given, settings
from hypothesis import strategies as st

from gtp_core.atoms import pose
from gtp_core.catalog import Edit, open_catalog, read_filters
from gtp_core.cli import main
from gtp_core.errors import CatalogError
from gtp_core.figures.duplicates import sizes_figure, threshold_figure, use_figure
from gtp_core.neighbors import (
    THRESHOLDS,
    chain_words,
    cluster_use,
    counted,
    crossing,
    diff_lines,
    duplicates,
    group_table,
    guarantee,
    guarantee_sentences,
    ledger,
    link_to,
    members,
    pair_texts,
    pairs_near,
    prepare_neighbors,
    rule_scores,
    save_clusters,
    score_histogram,
    selection_scores,
    shown_groups,
    size_table,
    threshold_curve,
    use_along,
    use_sentence,
    word_diff,
)
from gtp_core.neighbors.groups import Splits, group, read_splits
from gtp_core.neighbors.keepers import decide, preferred
from gtp_core.neighbors.pairs import Likeness
from gtp_core.neighbors.settle import Comparer, settled
from gtp_core.neighbors.text import shingle_likeness
from gtp_core.trajectories import open_trajectories


def likeness(n, pairs, copies=None, basis="gradient", floor=0.5):
    """A likeness from {(one, other): score}."""
    order = sorted(pairs, key=lambda pair: (-pairs[pair], pair))
    return Likeness(
        basis,
        np.arange(n) if copies is None else np.array(copies),
        np.array([one for one, _ in order], np.int64),
        np.array([other for _, other in order], np.int64),
        np.array([pairs[pair] for pair in order], np.float32),
        floor,
    )


CHAIN = {(0, 1): 0.96, (1, 2): 0.97}  # 0 ~ 1 ~ 2, and 2 is not like 0


def test_groups_are_what_pairs_connect_numbered_by_their_first_row():
    found = group(likeness(7, {(5, 6): 0.9, (1, 4): 0.95, (2, 4): 0.6}), 0.8)
    assert found.label.tolist() == [-1, 0, -1, -1, 0, 1, 1]
    assert found.count == 2
    lower = group(found.likeness, 0.5)
    assert lower.label.tolist() == [-1, 0, 0, -1, 0, 1, 1]


def test_copies_are_together_and_invalid_samples_with_nobody():
    found = group(likeness(5, {(0, 4): 0.9}, copies=[0, 0, -1, -1, 4]), 0.8)
    assert found.label.tolist() == [0, 0, -1, -1, 0]
    table = group_table(found)
    assert table.row(0, named=True) | {"lowest": 0.9} == {
        "cluster": 0,
        "size": 3,
        "distinct": 2,
        "lowest": 0.9,
        "mean": pytest.approx((1 + 2 * 0.9) / 3),
        "highest": 1.0,
        "chain": False,
        "first": 0,
    }


def test_a_chain_is_told_and_both_its_ends_may_stay():
    found = group(likeness(4, CHAIN), 0.95)
    assert group_table(found)["chain"].to_list() == [True]
    ends_first = decide({"gradient": found}, np.array([1.0, 0, 1, 0]), rule="r")
    assert ends_first.dropped.select("row", "keeper").rows() == [(1, 2)]
    middle_first = decide({"gradient": found}, np.array([0, 1.0, 0, 0]), rule="r")
    assert middle_first.dropped.select("row", "keeper").rows() == [(0, 1), (2, 1)]


def test_a_chain_is_split_until_all_members_are_alike():
    split = group(likeness(4, CHAIN), 0.95, Splits(chains=True))
    assert split.label.tolist() == [-1, 0, 0, -1]
    asked = group(likeness(4, CHAIN), 0.95, Splits(whole=frozenset([0])))
    assert asked.label.tolist() == split.label.tolist()
    other = group(likeness(4, CHAIN), 0.95, Splits(whole=frozenset([3])))
    assert other.label.tolist() == [0, 0, 0, -1]


def test_what_is_too_large_to_be_split_says_so():
    found = group(likeness(4, CHAIN), 0.95)
    told, splits = chain_words(found, 0)
    assert splits
    assert told.startswith("This is a chain")
    long = likeness(2001, {(i, i + 1): 0.9 for i in range(2000)})
    told, splits = chain_words(group(long, 0.8), 0)
    assert not splits
    assert "2,001 different members" in told
    whole = group(long, 0.8, Splits(whole=frozenset([0])))
    assert whole.count == 1  # as the sentence says
    partly = group(replace(long, seen=np.full(2001, 2.0)), 0.8)
    assert "too large for all its pairs" in chain_words(partly, 0)[0]


def test_two_that_are_no_duplicates_never_share_a_group_nor_a_keeper():
    whole = dict.fromkeys(itertools.combinations(range(3), 2), 0.99)
    splits = Splits(pairs=frozenset([(0, 1)]))
    found = group(likeness(3, whole), 0.95, splits)
    assert found.label[0] != found.label[1]
    copies = group(likeness(3, {}, copies=[0, 0, 0]), 0.95, splits)
    decision = decide({"gradient": copies}, np.zeros(3), rule="r", splits=splits)
    assert decision.dropped.select("row", "keeper").rows() == [(2, 0)]


def test_a_curators_keeper_comes_before_the_rule_and_says_so():
    found = group(likeness(3, {(0, 1): 0.99, (0, 2): 0.99, (1, 2): 0.99}), 0.95)
    decision = decide({"gradient": found}, np.array([5.0, 0, 0]), rule="longest", keepers=[2])
    assert decision.dropped.select("row", "keeper", "rule").rows() == [
        (0, 2, "your choice"),
        (1, 2, "your choice"),
    ]


def test_a_row_goes_for_the_first_basis_that_matches():
    text = group(likeness(3, {}, copies=[0, 1, 0], basis="text", floor=1.0), 1.0)
    near = group(likeness(3, {(0, 1): 0.99, (0, 2): 0.97, (1, 2): 0.97}), 0.95)
    decision = decide({"text": text, "gradient": near}, np.zeros(3), rule="first")
    assert decision.dropped.select("row", "basis", "score").rows() == [
        (1, "gradient", pytest.approx(0.99)),
        (2, "text", 1.0),
    ]


@st.composite
def worlds(draw):
    n = draw(st.integers(2, 14))
    rows = st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)).filter(lambda p: p[0] < p[1])
    pairs = draw(st.dictionaries(rows, st.floats(0.5, 1, width=32), max_size=30))
    apart = draw(st.frozensets(rows, max_size=3))
    scores = draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    return n, pairs, apart, np.array(scores, float), draw(st.booleans())


@settings(max_examples=80, deadline=None)
@given(worlds())
def test_whatever_is_asked_every_row_that_goes_has_a_kept_row_that_matches(world):
    n, pairs, apart, scores, chains = world
    splits = Splits(pairs=apart, chains=chains)
    found = group(likeness(n, pairs), 0.8, splits)
    decision = decide({"gradient": found}, scores, rule="r", splits=splits)
    good, gone = guarantee(decision)
    assert good == gone == decision.dropped.height
    stays = decision.stays
    for row, keeper, _, score, _ in decision.dropped.rows():
        pair = (min(row, keeper), max(row, keeper))
        assert stays[keeper]
        assert score == pytest.approx(pairs[pair])
        assert score >= 0.8 - 1e-5
        assert pair not in apart
        assert scores[keeper] >= scores[row]
    for number in range(found.count):
        assert stays[found.label == number].any()
    if chains:
        for members_of in (np.flatnonzero(found.label == i) for i in range(found.count)):
            for pair in itertools.combinations(members_of.tolist(), 2):
                assert pairs[pair] >= 0.8 - 1e-5


@settings(max_examples=40, deadline=None)
@given(worlds(), st.booleans(), st.data())
def test_many_rows_and_few_are_decided_alike(world, twice, data):
    n, pairs, apart, scores, _chains = world
    copies = [data.draw(st.sampled_from([i, max(i - 1, 0), -1])) for i in range(n)]
    first = [
        copies[c] if c >= 0 and copies[c] == c else (i if c >= 0 else -1)
        for i, c in enumerate(copies)
    ]
    own = {p: s for p, s in pairs.items() if first[p[0]] == p[0] and first[p[1]] == p[1]}
    splits = Splits(pairs=apart)
    near = group(likeness(n, own, copies=first), 0.8, splits)
    text = group(likeness(n, {}, copies=first, basis="text", floor=1.0), 1.0)
    found = {"text": text, "gradient": near} if twice else {"gradient": near}
    few = decide(found, scores, rule="r", splits=splits, keepers=[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gtp_core.neighbors.walk._FEW", 0)
        many = decide(found, scores, rule="r", splits=splits, keepers=[0])
    assert many.dropped.equals(few.dropped)


NONE_APART = Splits()


def star(n, seen):
    """A likeness of a large group of which only the pairs with the last one are known."""
    few = likeness(n, {(i, n - 1): 0.9 for i in range(n - 1)})
    return replace(few, seen=np.full(n, seen))


def settled_by(cosines, groups, scores, splits=NONE_APART, most=10**6, basis="gradient"):
    made = []

    def compare(one, other):
        made.append(len(one))
        return cosines[one, other]

    found = settled(
        groups,
        lambda now: decide(now, scores, rule="r", splits=splits),
        {basis: lambda rows: Comparer(compare, most)},
        splits,
    )
    return found, sum(made)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 40), st.booleans())
def test_no_two_that_stay_in_a_large_group_are_alike_though_few_pairs_are_known(seed, n, twice):
    generator = np.random.default_rng(seed)
    rows = generator.standard_normal((n, 3)) + 1.5
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = rows @ rows.T
    cosines[-1] = cosines[:, -1] = 0.9
    scores = generator.permutation(n).astype(float)
    apart = tuple(sorted(generator.choice(n, 2, replace=False).tolist()))
    splits = Splits(pairs=frozenset([apart]))
    copies = np.where(np.arange(n) % 4 == 1, np.arange(n) - 1, np.arange(n))
    text = group(likeness(n, {}, copies=copies, basis="text", floor=1.0), 1.0, splits)
    groups = {"gradient": group(star(n, 2.0), 0.85, splits)}
    groups = {"text": text} | groups if twice else groups
    found, _ = settled_by(cosines, groups, scores, splits)
    assert guarantee(found)[0] == found.dropped.height
    assert found.unmet == 0
    stay = np.flatnonzero(found.stays & (found.groups["gradient"].label >= 0))
    for pair in itertools.combinations(stay.tolist(), 2):
        assert cosines[pair] < 0.85 or pair == apart
    for row, keeper, basis, score, _ in found.dropped.rows():
        if basis == "gradient":
            assert score == pytest.approx(cosines[row, keeper])
    if not twice:  # on one basis the whole answer is that of comparing all
        inside = found.groups["gradient"].label >= 0
        kept = []
        for row in np.argsort(-scores)[inside[np.argsort(-scores)]].tolist():
            near = [k for k in kept if cosines[row, k] >= 0.85 and {k, row} != set(apart)]
            kept += [] if near else [row]
        assert sorted(kept) == stay.tolist()


def test_rows_that_were_not_compared_are_counted_and_said():
    cosines = np.full((50, 50), 0.5)
    cosines[-1] = cosines[:, -1] = 0.9
    groups = {"gradient": group(star(50, 2.0), 0.85)}
    scores = -np.abs(np.arange(50) - 0.0)
    whole, made = settled_by(cosines, groups, scores)
    assert (whole.partly, whole.unmet) == (50, 0)
    assert "compared with each other ✓" in guarantee_sentences(whole)
    assert made < 49 * 50
    short, made = settled_by(cosines, groups, scores, most=100)
    assert made <= 100
    assert 0 < short.unmet <= 49
    assert f"but {short.unmet} were not" in guarantee_sentences(short)
    assert "✗" in guarantee_sentences(short)
    none, made = settled_by(cosines, groups, scores, basis="near-text")
    assert (none.unmet, made) == (49, 0)
    small, made = settled_by(cosines, {"gradient": group(star(50, 0.85), 0.85)}, scores)
    assert (small.partly, made) == (0, 0)


def test_splits_and_keepers_are_read_from_the_edits_in_force():
    rows = {"a": 0, "b": 1, "c": 2}
    edits = [
        Edit(1, "", "me", "keeper", "a"),
        Edit(2, "", "me", "split", "", "b", sample_ids=("c", "b")),
        Edit(3, "", "me", "split", "c"),
        Edit(4, "", "me", "keeper", "c"),
        Edit(5, "", "me", "split", "gone", "a"),
        Edit(6, "", "me", "pin", "a"),
    ]
    assert read_splits(edits, rows) == Splits(frozenset([(1, 2)]), frozenset([2]))
    assert preferred(edits, rows) == [2, 0]


def test_the_curve_only_falls_and_pairs_near_a_threshold_are_near_it():
    generator = np.random.default_rng(0)
    pairs = {
        (int(a), int(b)): float(s)
        for (a, b), s in zip(
            itertools.combinations(range(40), 2), generator.uniform(0.5, 1, 780), strict=True
        )
    }
    found = likeness(40, pairs)
    curve = threshold_curve(found)
    assert (np.diff(curve["rows"].to_numpy()) <= 0).all()
    assert curve["threshold"][0] == 0.5
    assert score_histogram(found)["pairs"].sum() == 780
    near = pairs_near(found, 0.8)
    assert near["side"].to_list() == ["above"] * 6 + ["below"] * 6
    assert (near.filter(side="above")["score"] >= 0.8).all()
    assert (near["score"] - 0.8).abs().max() < 0.1
    assert near.equals(pairs_near(found, 0.8))
    assert pairs_near(likeness(3, {}), 0.8).is_empty()


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    [
        ("a b", "a b", [(" ", "a b")]),
        ("", "x", [("+", "x")]),
        ("x, y", "x; y", [(" ", "x"), ("-", ","), ("+", ";"), (" ", " y")]),
    ],
)
def test_words_that_differ_are_told(one, other, wanted):
    assert word_diff(one, other) == wanted
    assert "".join(t for sign, t in word_diff(one, other) if sign != "+") == one
    assert diff_lines(one, other)


# --- on a store ------------------------------------------------------------------------------


@pytest.fixture
def known(own_catalog):
    return own_catalog, prepare_neighbors(own_catalog)


def decided(catalog, known, **what):
    scores = rule_scores(catalog, "first")
    return duplicates(catalog, known, what.pop("at", THRESHOLDS), scores, rule="first", **what)


def test_planted_copies_of_gradients_are_found_on_a_store(known):
    catalog, graph = known
    decision = decided(catalog, graph, at={"gradient": 0.999})
    pairs = decision.dropped.select("row", "keeper").rows()
    assert {(45, 5), (46, 5), (50, 12)} <= set(pairs)
    assert not {7, 20, 33} & set(decision.dropped["row"].to_list())
    assert crossing(decision)["n"].sum() == 60
    assert counted(decision)["dropped"].to_list() == [len(pairs)]


@pytest.fixture
def alike_throughout(tmp_path, monkeypatch):
    """A store of texts that differ in a word, and of gradients that nearly all lean one way."""
    words = [f"w{i}" for i in range(60)]
    texts = [" ".join(w if i != j else "other" for j, w in enumerate(words)) for i in range(60)]

    def table_of(rows, plain=conftest.sample_table):
        prompts = pl.Series([texts[row] for row in rows], dtype=pl.String)
        return plain(rows).with_columns(prompt=prompts)

    monkeypatch.setattr("conftest.sample_table", table_of)
    return build_store(tmp_path / "store", common=8.0, invalid={}, duplicates={8: 2})


def test_twins_are_crossed_whatever_a_sample_goes_for(alike_throughout):
    at = {"text": 1.0, "near-text": 0.8, "gradient": 0.999}
    with closing(open_catalog(alike_throughout.folder)) as catalog:
        graph = prepare_neighbors(catalog)
        whole = crossing(decided(catalog, graph, at=at))
        assert whole["n"].to_list() == [2, 58, 0, 0]
        for some in (["text"], ["text", "near-text"], ["gradient"]):
            decision = decided(catalog, graph, at={basis: at[basis] for basis in some}, beside=at)
            assert list(decision.groups) == some
            assert crossing(decision).equals(whole)
        usual = decided(catalog, graph, at={"gradient": 0.95})
        assert crossing(usual).equals(crossing(decided(catalog, graph)))


def test_the_command_crosses_twins_whatever_a_sample_goes_for(own_catalog, capsys):
    store = str(own_catalog.store.folder)
    words = ["duplicates", store, "--threshold", "0.999", "--text-threshold", "0.6", "--json"]
    told = []
    for more in ([], ["--basis", "text"], ["--basis", "gradient"]):
        assert main([*words, *more]) == 0
        told.append(json.loads(capsys.readouterr().out))
    assert told[0]["twins"] == told[1]["twins"] == told[2]["twins"]
    assert sum(row["n"] for row in told[0]["twins"] if row["gradient"]) >= 5
    assert {(one["partly"], one["unmet"]) for one in told} == {(0, 0)}


def test_in_a_large_group_of_a_store_no_two_that_stay_are_alike(alike_throughout, monkeypatch):
    monkeypatch.setattr("gtp_core.neighbors.complete.WHOLE", 4)
    monkeypatch.setattr("gtp_core.neighbors.text._BUCKET", 4)
    at = {"near-text": 0.8, "gradient": 0.95}
    with closing(open_catalog(alike_throughout.folder)) as catalog:
        graph = prepare_neighbors(catalog)
        decisions = {basis: decided(catalog, graph, at={basis: at[basis]}) for basis in at}
        table = catalog.texts(np.arange(60))
    rows = open_trajectories(alike_throughout).rows(np.arange(60)).astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    whole = (table["prompt"] + "\n" + table["completion"]).to_list()
    words = np.array([[shingle_likeness(a, b) for a in whole] for b in whole])
    for basis, likeness_of in (("gradient", rows @ rows.T), ("near-text", words)):
        decision = decisions[basis]
        assert decision.partly > 10
        assert decision.unmet == 0
        for number in range(decision.groups[basis].count):
            stay = np.flatnonzero(decision.stays & (decision.groups[basis].label == number))
            alike = likeness_of[np.ix_(stay, stay)][np.triu_indices(len(stay), 1)]
            assert (alike < at[basis] + 1e-6).all()


def test_edits_are_honoured_and_undone(known):
    catalog, graph = known
    at = {"gradient": 0.999}
    before = decided(catalog, graph, at=at).dropped
    catalog.edit("keeper", who="me", sample_ids=["id-0046"])
    pairs = decided(catalog, graph, at=at).dropped.select("row", "keeper").rows()
    assert {(5, 46), (45, 46)} <= set(pairs)
    catalog.edit("split", who="me", sample_ids=["id-0045"], value="id-0046")
    apart = decided(catalog, graph, at=at).dropped
    assert (45, 46) not in apart.select("row", "keeper").rows()
    catalog.undo("me")
    catalog.undo("me")
    assert decided(catalog, graph, at=at).dropped.equals(before)


def test_what_is_saved_is_in_the_tables_and_caps_read_it(known):
    catalog, graph = known
    decision = decided(catalog, graph, at={"text": 1.0, "gradient": 0.999})
    save_clusters(catalog, decision)
    dropped = catalog.query("SELECT * FROM dropped ORDER BY sample_id")
    assert dropped.equals(ledger(catalog, decision).sort("sample_id"))
    clusters = catalog.query("SELECT * FROM clusters")
    assert set(clusters["basis"]) == {"gradient"}
    lost = clusters.filter(~pl.col("keeper"))["sample_id"]
    assert set(lost) == set(dropped["sample_id"])
    problem = pose(catalog, "maths", caps={"cluster": 1}, n_splits=0)
    assert [cap.most for cap in problem.caps] == [1]
    rows = catalog.rows_where("sample_id NOT IN (SELECT sample_id FROM dropped)")
    assert len(rows) == 60 - dropped.height
    save_clusters(catalog, decided(catalog, graph, at={"text": 1.0}))
    assert catalog.query("SELECT * FROM dropped").is_empty()


def test_damaged_clusters_are_none(known):
    catalog, graph = known
    save_clusters(catalog, decided(catalog, graph))
    (path,) = catalog.workspace.glob("neighbors/clusters-*.parquet")
    path.write_bytes(b"x")
    assert catalog.query("SELECT * FROM clusters").is_empty()


def test_groups_members_and_pairs_are_shown_with_their_texts(known):
    catalog, graph = known
    decision = decided(catalog, graph, at={"gradient": 0.999})
    shown = shown_groups(catalog, decision, "gradient", {"GTP": np.array([5, 45])})
    top = shown.table.row(0, named=True)
    assert (top["size"], top["dropped"], top["GTP"], top["first"]) == (3, 2, 2, "id-0005")
    found = members(catalog, decision, "gradient", top["cluster"])
    assert found["sample_id"].to_list() == ["id-0005", "id-0045", "id-0046"]
    assert found["kept"].to_list() == [None, "id-0005", "id-0005"]
    assert found["to_keeper"].to_list() == pytest.approx([1, 1, 1])
    assert members(catalog, decision, "gradient", 99).is_empty()
    pairs = pl.DataFrame({"side": ["above"], "row": [3], "other": [9], "score": [0.9]})
    (shown,) = pair_texts(catalog, pairs).rows(named=True)
    assert (shown["sample_id"], shown["other_id"]) == ("id-0003", "id-0009")
    assert shown["text"].startswith("Wieviel ist 3")
    assert shown["other_text"].endswith("=cmd()")


def test_rules_of_keepers(known, says):
    catalog, _ = known
    tokens = catalog.query("SELECT n_tokens FROM samples ORDER BY row")["n_tokens"]
    assert rule_scores(catalog, "longest").tolist() == tokens.to_list()
    sources = rule_scores(catalog, "source", sources=["dolly", "flan"])
    assert sources[[0, 1, 2]].tolist() == [1, 2, 0]
    problem = pose(catalog, "maths", n_splits=0)
    from gtp_core.methods import select

    chosen = select(problem, 5)
    scores = selection_scores(catalog, problem, chosen, "weight")
    assert set(np.argsort(-scores)[: len(chosen.support)]) == set(chosen.support)
    assert scores[7] < scores[np.isfinite(problem.influence)].max()
    for rule, sources in (("best", ()), ("weight", ()), ("source", ("nobody",)), ("source", ())):
        with pytest.raises(CatalogError) as caught:
            rule_scores(catalog, rule, sources=sources)
        says(caught.value, "rule")


@pytest.mark.parametrize("at", [{}, {"gradient": 0.2}, {"gradient": 1.2}, {"colour": 0.9}])
def test_what_cannot_be_asked_is_one_sentence(known, says, at):
    catalog, graph = known
    with pytest.raises(CatalogError) as caught:
        decided(catalog, graph, at=at)
    says(caught.value, "basis")


def test_what_selections_took_of_the_groups():
    groups = group(likeness(6, {(0, 1): 0.9, (1, 2): 0.9, (3, 4): 0.9}), 0.8)
    use = cluster_use(groups, {"GTP": np.array([0, 3, 5]), "top-k": np.array([0, 1, 2])})
    assert use.rows() == [("GTP", 3, 2, 2, 0, 0, 1), ("top-k", 3, 3, 1, 1, 2, 3)]
    assert "top-k took 3 of its 3 samples from 1 groups" in use_sentence(use)
    path = pl.DataFrame(
        {
            "method": ["gtp", "top-k", "random"],
            "seed": [0, 0, 0],
            "budget": [3, 3, 3],
            "support": [[0, 3, 5], [0, 1, 2], [0]],
        }
    )
    along = use_along(groups, path)
    assert along.select("method", "budget", "surplus").rows() == [("gtp", 3, 0), ("top-k", 3, 2)]
    picture = use_figure(along, "light", budget=3)
    assert "66.7% of top-k's" in picture.alt


def test_figures_draw_what_the_tables_say():
    found = likeness(6, {(0, 1): 0.9, (1, 2): 0.7, (3, 4): 0.9})
    curve, histogram = threshold_curve(found), score_histogram(found)
    picture = threshold_figure(curve, histogram, "dark", threshold=0.8, measure="cosine")
    assert "2 groups, 2 rows" in picture.alt
    bars, rows, groups = picture.figure.data
    assert bars.y.sum() == 3
    assert rows.y.tolist() == curve["rows"].to_list()
    assert groups.y.tolist() == curve["groups"].to_list()
    sizes = size_table(group(found, 0.6))
    assert "2 groups; the largest has 3" in sizes_figure(sizes, "light").alt
    assert "No groups" in sizes_figure(sizes.clear(), "light").alt


def test_a_link_holds_as_many_ids_as_it_can():
    link, count = link_to(["o'x"])
    assert "o%27%27x" in link
    assert count == 1
    link, count = link_to([f"sample-{i:06d}" for i in range(5000)])
    assert len(link) < 4000
    assert 50 < count < 5000
    (one,) = read_filters(link)
    assert one.value.count("sample-") == count


def test_the_command_saves_and_says_what_goes(own_catalog, capsys, tmp_path):
    store = str(own_catalog.store.folder)
    assert main(["duplicates", store, "--threshold", "0.999", "--basis", "gradient", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert {"sample_id": "id-0045", "keeper": "id-0005"}.items() <= next(
        row for row in answer["dropped"] if row["sample_id"] == "id-0045"
    ).items()
    assert answer["kept"] + len(answer["dropped"]) == 60
    assert main(["select", store, "--task", "maths", "--budget", "5", "--json"]) == 0
    run = json.loads(capsys.readouterr().out)["run"]
    assert main(["duplicates", store, "--run", run, "--split-chains"]) == 0
    assert "have a kept sample that matches them" in capsys.readouterr().out
    assert main(["duplicates", store, "--keep", "weight"]) == 2
    assert "--run" in capsys.readouterr().err
    out = tmp_path / "chosen.jsonl"
    assert main(["export", store, run, "--out", str(out)]) == 0
    gone = pl.read_parquet(f"{out}.dropped.parquet")
    receipt = json.loads((tmp_path / "chosen.jsonl.receipt.json").read_text())
    with closing(open_catalog(store)) as opened:
        assert gone.equals(opened.query("SELECT * FROM dropped ORDER BY sample_id"))
    chosen = set(receipt["sample_ids"]) & set(gone["sample_id"])
    assert receipt["dropped"] == {"rows": gone.height, "chosen": len(chosen)}
    assert main(["neighbors", store]) == 0
    with closing(open_catalog(store)) as again:
        assert again.query("SELECT count(*) AS n FROM clusters")["n"].item() > 0
