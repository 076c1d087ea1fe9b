"""Promises of what explains a sample: numbers equal slow loops, and no reason is invented."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from conftest import DUPLICATES, INVALID
from test_joins import slow_residual

from gtp_core.atoms import pose
from gtp_core.errors import CatalogError
from gtp_core.methods import METHODS as WAYS
from gtp_core.methods import Settings, select
from gtp_core.report import (
    METRICS,
    NO_SINGLE_REASON,
    VERDICTS,
    Reliability,
    alike,
    because,
    beside_in,
    budget_path,
    by_subtask,
    case,
    contribution,
    covering,
    doubtful,
    examples_of,
    forced,
    forced_sentence,
    gains_of_chosen,
    glossary,
    held_out,
    judge,
    moved,
    nearest_ids,
    needed_examples,
    neighbours,
    pulled,
    served,
    served_sentence,
    solved_again,
    solved_table,
    standing,
    timeline,
    timeline_sentence,
    verdict_table,
    where_it_points,
    word_diff,
)

N = 60


@pytest.fixture(scope="module")
def problem(catalog):
    return pose(catalog, "maths", n_splits=1)


@pytest.fixture(scope="module")
def judged(problem):
    return judge(problem, select(problem, 9))


@pytest.fixture(scope="module")
def atoms(problem):
    return problem.atoms.rows(np.arange(N)).astype(np.float64)


def slow_cosine(a, b) -> float:
    return float(np.dot(a, b) / np.sqrt(np.dot(a, a) * np.dot(b, b)))


# --- one sample ------------------------------------------------------------------------------


@pytest.mark.parametrize("method", WAYS)
def test_one_sample_has_the_verdict_and_the_numbers_of_the_whole_table(catalog, method):
    problem = pose(catalog, "maths", pins=["id-0011"], bans=["id-0002"])
    selection = select(problem, 8, method=method)
    selection = replace(selection, pruned=np.setdiff1d([0, 4, 12, 40], selection.support))
    known = judge(problem, selection)
    table = verdict_table(catalog, problem, selection)
    for sample_id, verdict, keeper, influence, proxy, covered, gain in table.rows():
        one = case(catalog, known, sample_id)
        assert (one.sample_id, one.verdict, one.keeper) == (sample_id, verdict, keeper)
        assert one.pull == pytest.approx(influence, abs=1e-5)
        assert one.left == pytest.approx(proxy, abs=1e-5)
        assert (one.gain is None) == (gain is None) == (verdict == "invalid")
        if gain is not None:
            assert one.gain == pytest.approx(gain, abs=1e-6)
            assert one.covered == pytest.approx(covered, abs=1e-5)


def test_place_weight_and_ranks_are_those_of_the_selection(catalog, judged, atoms):
    selection = judged.selection
    ids = catalog.sample_ids()
    for place, row in enumerate(selection.support):
        one = case(catalog, judged, ids[int(row)])
        assert (one.place, one.row) == (place, row)
        assert one.weight == selection.weights[place]
        assert one.weight_share == pytest.approx(selection.weights[place] / selection.weights.sum())
        assert one.gain_rank == 1 + sum(gain > one.gain for gain in judged.gain)
        better = judged.problem.influence > judged.problem.influence[row]
        assert one.topk_rank == 1 + int(better[judged.problem.atoms.candidates].sum())
        pulls = [slow_cosine(a, t) for a, t in [(atoms[row], judged.problem.target)]]
        assert one.cosine == pytest.approx(pulls[0], abs=1e-5)


def test_the_strongest_checkpoint_has_the_largest_share_of_the_cosine(catalog, judged, atoms):
    names = [c.name for c in catalog.store.checkpoints]
    for row in (0, 3, 40):
        one = case(catalog, judged, catalog.sample_ids()[row])
        table = where_it_points(catalog, judged, one)
        pieces = zip(np.split(atoms[row], 3), np.split(judged.problem.target, 3), strict=True)
        length = np.linalg.norm(atoms[row]) * np.linalg.norm(judged.problem.target)
        slow = [float(a @ t) / length for a, t in pieces]
        assert np.allclose(table["target"], slow, atol=1e-6)
        assert table["target"].sum() == pytest.approx(one.cosine, abs=1e-6)
        assert one.strongest == names[int(np.argmax(slow))]
        left = slow_cosine(atoms[row], judged.rest)
        assert table["left"].sum() == pytest.approx(left, abs=1e-5)
        mean = np.mean(
            [slow_cosine(atoms[r], judged.problem.target) for r in judged.selection.support]
        )
        assert table["chosen"].sum() == pytest.approx(mean, abs=1e-5)


def test_an_unknown_id_names_the_nearest(catalog, judged, says):
    with pytest.raises(CatalogError) as error:
        case(catalog, judged, "id-001")
    says(error.value, "'id-001'", "id-0010")
    assert nearest_ids(catalog, "ID-0045") == ["id-0045", "id-0005", "id-0015"]
    assert nearest_ids(catalog, "'; DROP TABLE x; --")
    assert len(nearest_ids(catalog, "x" * 5000)) == 3


def test_before_and_after_walk_through_everyone_once(catalog, judged):
    ids, seen = catalog.sample_ids(), []
    for start in (ids[int(judged.selection.support[0])], None):
        if start is None:
            rest = [i for i in range(N) if i not in judged.selection.support]
            start = ids[min(rest, key=lambda row: judged.topk[row])]
        now = start
        assert beside_in(catalog, judged, case(catalog, judged, now))[0] is None
        while now is not None:
            seen.append(now)
            after = beside_in(catalog, judged, one := case(catalog, judged, now))[1]
            if after is not None:
                assert beside_in(catalog, judged, case(catalog, judged, after))[0] == one.sample_id
            now = after
    assert sorted(seen) == sorted(ids)


# --- who covers it ---------------------------------------------------------------------------


def test_covering_samples_are_the_best_one_after_the_other(catalog, judged, atoms):
    ids = catalog.sample_ids().to_list()
    chosen = judged.selection.support
    for row in (1, 46, int(chosen[2])):
        one = case(catalog, judged, ids[row])
        others = [r for r in chosen if r != row]
        picked, before = [], 0.0
        for name, share in one.coverers.rows():
            best = max(
                _share(atoms, row, [*picked, other]) for other in others if other not in picked
            )
            picked.append(ids.index(name))
            now = _share(atoms, row, picked)
            assert now == pytest.approx(best, abs=1e-5)
            assert share == pytest.approx(now - before, abs=1e-5)
            before = now
        parts = covering(one)
        assert parts["share"].sum() == pytest.approx(1.0, abs=1e-6)
        assert parts["share"].min() >= 0
        assert 1 - parts["share"][-1] == pytest.approx(_share(atoms, row, others), abs=1e-4)


def _share(atoms, row, others) -> float:
    best = np.linalg.lstsq(atoms[others].T, atoms[row], rcond=1e-5)[0]
    return 1 - float(((atoms[row] - best @ atoms[others]) ** 2).sum() / (atoms[row] ** 2).sum())


def test_a_copy_is_covered_by_its_original_alone(catalog, problem):
    known = judge(problem, replace(select(problem, 5), support=np.array([5, 8, 12, 30, 41])))
    one = case(catalog, known, "id-0045")
    assert DUPLICATES[45] == 5
    assert one.coverers["sample_id"].to_list() == ["id-0005"]
    assert one.coverers["share"][0] == pytest.approx(1.0, abs=1e-5)
    assert one.covered == pytest.approx(1.0, abs=1e-5)


def test_neighbours_are_the_largest_cosines(catalog, judged, atoms):
    for row in (1, int(judged.selection.support[0])):
        one = case(catalog, judged, catalog.sample_ids()[row])
        near, cosines = neighbours(catalog, judged, one, 4)
        others = [r for r in judged.selection.support if r != row]
        slow = sorted(((slow_cosine(atoms[row], atoms[r]), r) for r in others), reverse=True)[:4]
        assert near["sample_id"].to_list() == [catalog.sample_ids()[int(r)] for _, r in slow]
        assert np.allclose(near["cosine"], [c for c, _ in slow], atol=1e-5)
        assert cosines.shape == (5, 5)
        assert np.allclose(np.diag(cosines), 1.0)
        assert cosines[1, 3] == pytest.approx(
            slow_cosine(atoms[slow[0][1]], atoms[slow[2][1]]), abs=1e-5
        )


# --- the sentence ----------------------------------------------------------------------------


def test_the_sentence_of_a_chosen_sample_tells_its_numbers(catalog, judged):
    one = case(catalog, judged, catalog.sample_ids()[int(judged.selection.support[1])])
    text = because(judged, one)
    assert text.startswith("Chosen, rank 2 of 9")
    assert f"{100 * one.gain:.3g} % of the target" in text
    assert f"rank {one.gain_rank:,} of 9" in text
    assert f"#{one.topk_rank:,}" in text
    assert one.strongest in text


def test_every_verdict_has_a_sentence_that_gives_its_own_reason(catalog, monkeypatch):
    problem = pose(catalog, "maths", pins=["id-0011"], bans=["id-0002"])
    selection = select(problem, 9)
    selection = replace(selection, pruned=np.setdiff1d(np.arange(8, 20), selection.support))
    known = judge(problem, selection)
    told = {}
    for sample_id in catalog.sample_ids():
        one = case(catalog, known, sample_id)
        told.setdefault(one.verdict, []).append((one, because(known, one)))
    parts = {
        "chosen": "Chosen, rank",
        "pinned": "Pinned",
        "pruned": "dropped for stronger samples",
        "redundant": "already",
        "excluded": "excluded by a ban or outside the filter",
        "invalid": "no usable gradient",
    }
    assert {*parts, "misaligned"} == set(told)
    for verdict, part in parts.items():
        assert all(part in text for _, text in told[verdict])
    for one, text in told["misaligned"]:
        assert (NO_SINGLE_REASON in text) == (one.pull > 0)
        assert ("points away" in text) == (one.pull <= 0)
    for one, text in told["redundant"]:
        covered = one.covered - one.chance >= 0.5 * (1 - one.chance)
        assert (f"{one.covered:.0%} of its gradient" in text) == covered
        assert (f"match {1 - one.left / one.pull:.0%} of its pull" in text) == (not covered)
        if covered:
            assert one.coverers["sample_id"][0] in text
    assert all(
        text.endswith(".") and "\n" not in text for some in told.values() for _, text in some
    )


def test_a_duplicate_names_its_keeper_and_a_full_group_its_cap(own_catalog):
    problem = pose(own_catalog, "maths", caps={"source": 1})
    known = judge(problem, select(problem, 3, method="top-k"))
    texts = [because(known, case(own_catalog, known, i)) for i in own_catalog.sample_ids()]
    assert any("as many of its group are chosen as the cap allows" in text for text in texts)


def test_who_banned_it_and_when_is_told(own_catalog):
    own_catalog.edit("ban", who="ada", sample_id="id-0002")
    problem = pose(own_catalog, "maths", bans=own_catalog.standing().bans)
    known = judge(problem, select(problem, 5))
    one = case(own_catalog, known, "id-0002")
    assert one.verdict == "excluded"
    assert "excluded (ban by ada at 20" in because(known, one)


def test_a_filled_sample_changes_nothing(catalog, problem):
    selection = select(problem, 9)
    weights = np.where(np.arange(9) < 7, selection.weights, 0.0)
    selection = replace(selection, n_filled=2, weights=weights)
    known = judge(problem, selection)
    one = case(catalog, known, catalog.sample_ids()[int(selection.support[-1])])
    assert one.filled
    assert one.gain == 0
    assert "taking it out would change nothing" in because(known, one)


def test_residual_and_held_out_match_stand_side_by_side(problem, judged):
    held = held_out(problem, 9, method="gtp", settings=Settings())
    text = standing(judged, held)
    assert f"{judged.selection.residual_weighted:.4f}" in text
    assert f"{held.match:.3f} of a ceiling of {held.ceiling:.3f}" in text
    assert "best weights" not in text
    topk = judge(problem, select(problem, 9, method="top-k"))
    assert f"{topk.fitted.residual:.4f} with the best weights" in standing(topk, None)


@pytest.mark.parametrize("full", [0.05, 0.22, 0.49])
def test_as_many_examples_as_are_said_bring_the_reliability_wanted(full):
    known = Reliability(full / (2 - full), full, 2 * full / (1 + full), 0.9, 32)
    wanted = needed_examples(known)
    for n, enough in ((wanted, True), (wanted - 1, False)):
        factor = n / 32
        assert (factor * full / (1 + (factor - 1) * full) >= 0.5) == enough
    assert f"about {wanted:,} would give 0.5" in doubtful(known)


def test_doubt_is_raised_only_where_there_is_some():
    sure = Reliability(0.9, 0.95, 0.97, 0.2, 32)
    assert doubtful(sure) is None
    assert "single usable" in doubtful(None)
    assert needed_examples(Reliability(0.0, 0.0, 0.0, 1.0, 8)) is None
    assert "would give 0.00." in doubtful(Reliability(0.0, 0.0, 0.0, 1.0, 8))


# --- what it adds, and forcing ---------------------------------------------------------------


def test_the_waterfall_ends_at_the_residual_and_its_steps_add_up(catalog, judged, atoms):
    target = judged.problem.target[None]
    support = judged.selection.support
    inside = case(catalog, judged, catalog.sample_ids()[int(support[3])])
    outside = case(catalog, judged, "id-0001")
    for one, others, whole in (
        (inside, support[support != inside.row], support),
        (outside, support, np.append(support, outside.row)),
    ):
        steps = contribution(judged, one)
        before = slow_residual(atoms[others], target, 1.0)
        after = slow_residual(atoms[whole], target, 1.0)
        assert np.allclose(steps["residual"], [1, before, after, after], atol=1e-6)
        assert steps["change"][:3].sum() == pytest.approx(steps["residual"][-1])


def test_gains_are_ranked(catalog, judged):
    table = gains_of_chosen(catalog, judged)
    assert table["gain"].is_sorted(descending=True)
    first = case(catalog, judged, table["sample_id"][0])
    assert first.gain_rank == 1
    assert first.gain == table["gain"][0]


def test_forced_out_names_the_best_that_could_come_in_its_place(catalog, judged, atoms):
    target, support = judged.problem.target[None], judged.selection.support
    row = int(support[0])
    rest = support[support != row]
    told = forced(judged, row)
    assert told.way == "out"
    assert told.before == pytest.approx(judged.selection.residual_weighted, abs=1e-6)
    assert told.alone == pytest.approx(slow_residual(atoms[rest], target, 1.0), abs=1e-6)
    free = [r for r in range(N) if r not in support and r not in INVALID]
    slow = {r: slow_residual(atoms[[*rest, r]], target, 1.0) for r in free}
    assert told.after == pytest.approx(min(slow.values()), abs=1e-6)
    assert slow[told.other] == pytest.approx(told.after, abs=1e-6)
    text = forced_sentence(catalog, judged, told)
    assert catalog.sample_ids()[told.other] in text
    assert f"{told.after:.4f}" in text


def test_forced_in_names_the_one_whose_leaving_costs_least(catalog, atoms):
    problem = pose(catalog, "maths", pins=["id-0011"])
    known = judge(problem, select(problem, 9))
    target, support = problem.target[None], known.selection.support
    told = forced(known, 1)
    joined = [*support, 1]
    assert told.way == "in"
    assert told.alone == pytest.approx(slow_residual(atoms[joined], target, 1.0), abs=1e-6)
    slow = {
        r: slow_residual(atoms[[o for o in joined if o != r]], target, 1.0)
        for r in support
        if r != 11
    }
    assert told.after == pytest.approx(min(slow.values()), abs=1e-6)
    assert slow[told.other] == pytest.approx(told.after, abs=1e-6)


def test_nobody_goes_while_the_budget_has_room(catalog, problem):
    known = judge(problem, replace(select(problem, 5), budget=9))
    told = forced(known, 1)
    assert told.other is None
    assert "room" in forced_sentence(catalog, known, told)


@pytest.mark.parametrize("method", ["gtp", "top-k"])
def test_solving_again_is_selecting_with_a_pin_or_a_ban(catalog, problem, method):
    known = judge(problem, select(problem, 9, method=method))
    for row in (int(known.selection.support[0]), 1):
        sample_id = catalog.sample_ids()[row]
        told = solved_again(known, row, Settings())
        out = row in known.selection.support
        edited = {"bans": [sample_id]} if out else {"pins": [sample_id]}
        fresh = select(pose(catalog, "maths", **edited), 9, method=method)
        assert np.array_equal(np.sort(told.selection.support), np.sort(fresh.support))
        assert (row in told.left) == out
        assert (row in told.entered) == (not out)
        table = solved_table(catalog, known, told)
        assert table.height == len(told.entered) + len(told.left)
        assert table.filter(change="entered").height == len(told.entered)


# --- the validation side ---------------------------------------------------------------------


def test_examples_are_in_the_geometry_of_the_target(catalog):
    for settings in (
        {},
        {"common_direction": "kept"},
        {"gradients": "raw"},
        {"checkpoints": {"step-10": 3.0}},
    ):
        problem = pose(catalog, "maths", n_splits=1, **settings)
        examples = examples_of(catalog, problem)
        assert examples.table.height == len(examples.rows) == 8
        means = [
            examples.rows[(examples.table["subtask"] == name).to_numpy()].mean(axis=0)
            for name in examples.subtasks
        ]
        assert np.allclose(means, problem.columns)
        assert np.allclose(np.mean(means, axis=0), problem.target)


def test_examples_of_several_tasks_and_of_none(catalog):
    both = examples_of(catalog, pose(catalog, "maths,dates", n_splits=0))
    assert both.table["task"].unique(maintain_order=True).to_list() == ["maths", "dates"]
    assert set(both.subtasks[:3]) == {"sums", "proofs", "units"}
    assert both.subtasks[3:] == ("dates",)
    none = examples_of(catalog, pose(catalog, "pool:mean", n_splits=0))
    assert none.table.height == 0
    assert "no validation examples" in served_sentence(none.table)


def test_pulled_examples_and_subtasks_are_cosines(catalog, judged, atoms):
    examples = examples_of(catalog, judged.problem)
    one = case(catalog, judged, "id-0003")
    table = pulled(judged, one, examples, 2)
    slow = {
        name: slow_cosine(atoms[3], row)
        for name, row in zip(examples.table["example_id"], examples.rows, strict=True)
    }
    ordered = sorted(slow, key=slow.get, reverse=True)
    assert table["example_id"].to_list() == [*ordered[:2], *ordered[-2:]]
    assert np.allclose(table["cosine"], [slow[name] for name in table["example_id"]], atol=1e-6)
    parts = by_subtask(judged, one, examples.subtasks)
    total = judged.selection.weights @ atoms[judged.selection.support]
    for name, cosine, chosen in parts.rows():
        column = judged.problem.columns[examples.subtasks.index(name)]
        assert cosine == pytest.approx(slow_cosine(atoms[3], column), abs=1e-6)
        assert chosen == pytest.approx(slow_cosine(total, column), abs=1e-5)


def test_examples_that_nothing_serves_are_found(catalog, judged, atoms, monkeypatch):
    examples = examples_of(catalog, judged.problem)
    alien = np.zeros_like(examples.rows[0])
    alien[:] = np.linalg.svd(np.nan_to_num(atoms))[2][-1]
    rows = np.vstack([examples.rows, alien])
    table = pl.concat([examples.table, examples.table[:1].with_columns(example_id=pl.lit("alien"))])
    examples = replace(examples, rows=rows, table=table)
    found = served(judged, examples)
    total = judged.selection.weights @ atoms[judged.selection.support]
    usable = judged.problem.atoms.candidates
    for name, cosine, best, nobody in found.select("example_id", "cosine", "best", "nobody").rows():
        row = rows[table["example_id"].to_list().index(name)]
        assert cosine == pytest.approx(slow_cosine(total, row), abs=1e-5)
        slow = max(float(a @ row) / np.linalg.norm(row) for a in atoms[usable])
        assert best == pytest.approx(slow, abs=1e-5)
        assert nobody == (slow < 0.1)
    assert "alien" in found.filter("nobody")["example_id"].to_list()
    assert "data to collect" in served_sentence(found)
    monkeypatch.setattr("gtp_core.report.why.examples.MOST_WORK", 1)
    assert "too long" in served_sentence(served(judged, examples))


# --- along the budgets -----------------------------------------------------------------------


def test_the_timeline_says_where_a_sample_enters(catalog, problem):
    budgets = (2, 4, 6, 9)
    path = budget_path(problem, budgets, Settings())
    chosen = {budget: select(problem, budget) for budget in budgets}
    for row in range(0, N, 7):
        table = timeline(path, "gtp", row)
        assert table["budget"].to_list() == list(budgets)
        for budget, inside, weight, rank in table.rows():
            support = chosen[budget].support.tolist()
            assert inside == (row in support)
            assert rank == (support.index(row) + 1 if inside else None)
            assert weight == (chosen[budget].weights[support.index(row)] if inside else 0.0)
        first = next((b for b in budgets if row in chosen[b].support), None)
        text = timeline_sentence(table)
        assert (f"budget of {first}" in text) if first else text.startswith("Not chosen")


def test_who_moves_between_two_budgets_and_what_each_is_worth(catalog, problem, atoms):
    path = budget_path(problem, (4, 9), Settings())
    for pair in ((4, 9), (9, 4)):
        table = moved(catalog, problem, path, "gtp", Settings(), pair)
        before, after = (set(select(problem, budget).support.tolist()) for budget in pair)
        ids = catalog.sample_ids().to_list()
        for change, rows in (("entered", after - before), ("left", before - after)):
            part = table.filter(change=change)
            assert {ids.index(name) for name in part["sample_id"]} == rows
        now = slow_residual(atoms[sorted(after)], problem.target[None], 1.0)
        for change, name, gain, reason in table.select(
            "change", "sample_id", "gain", "reason"
        ).rows():
            row = ids.index(name)
            then = slow_residual(atoms[sorted(after ^ {row})], problem.target[None], 1.0)
            assert gain == pytest.approx(
                abs(then - now) if change == "entered" else now - then, abs=1e-6
            )
            assert reason
    assert moved(catalog, problem, path, "gtp", Settings(), (4, 5)).is_empty()


# --- words -----------------------------------------------------------------------------------


def test_every_verdict_and_metric_is_in_the_glossary():
    table = glossary()
    assert set(VERDICTS) | set(METRICS) == set(table["name"])
    assert table["name"].is_unique().all()
    assert not table.select(pl.any_horizontal(pl.all().str.len_chars() == 0)).to_series().any()


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ("a b c d", "a x c d e"),
        ("", "b"),
        ("a b", "a b"),
        ("<b>x</b> **y**", "<b>x</b> _y_"),
        ("", ""),
    ],
)
def test_the_segments_of_a_difference_are_the_two_texts(here, there):
    segments = word_diff(here, there)
    for side, text in (("here", here), ("there", there)):
        kept = segments.filter(pl.col("where").is_in(["both", side]))["text"]
        assert " ".join(kept).split() == text.split()
    words = set(here.split()) | set(there.split())
    if words:
        assert alike(segments) == pytest.approx(
            len([w for w in here.split() if w in there.split()])
            / (len(here.split()) + len([w for w in there.split() if w not in here.split()]))
        )
