"""Promises of the figures of trained models: their data and words, whatever was not measured."""

import math

import polars as pl
import pytest

from gtp_core.figures.verify import bars_figure, curves_figure, foretold_figure
from gtp_core.verify import answer, curves, judged, names_of, remarks, shown_table, subsets_in

THEMES = ("light", "dark")
HOSTILE = "<b>bold</b>"
SETTINGS = {"weighted": 0, "batch_size": 4}


def trial(arm, seed, loss, *, method="gtp", right=None, match=None, **more):
    points = [] if loss is None else [(5, loss + 0.5), (10, loss)]
    return {
        "arm": arm,
        "seed": seed,
        "method": method,
        "n_samples": 8,
        "steps": 10,
        "n_test": 4,
        "test_loss": loss,
        "exact_match": None if right is None else sum(right) / len(right),
        "losses": None if loss is None else [loss - 0.1, loss, loss, loss + 0.1],
        "right": right,
        "curve": [{"step": s, "train_loss": 1.0, "test_loss": value} for s, value in points],
        "held_out_match": match,
        "residual_weighted": 1 - (match or 0),
        "residual_as_trained": 1.0,
        **more,
    }


BASE = trial("base", 0, 2.0, method="base", curve=[], n_samples=0, steps=0)
TWO = [BASE, *(trial("a", s, 1.0 + 0.1 * s) for s in (0, 1, 2))]
TWO += [trial("b", 0, 1.6, method="top-k"), trial("b", 1, None, method="top-k")]


@pytest.mark.parametrize("theme", THEMES)
def test_curves_begin_untrained_and_have_a_band_only_where_seeds_tell_one(theme):
    names = {"a": HOSTILE, "b": "top-k 8"}
    table = curves(TWO, ["a", "b"], names=names)
    picture = curves_figure(table, {HOSTILE: "gtp", "top-k 8": "top-k"}, theme)
    lines = [trace for trace in picture.figure.data if trace.name]
    assert [line.name for line in lines] == ["&lt;b&gt;bold&lt;/b&gt;", "top-k 8"]
    assert list(lines[0].x) == [0, 5, 10]
    assert list(lines[0].y) == pytest.approx([2.0, 1.6, 1.1])
    assert list(lines[1].y) == pytest.approx([2.0, 2.1, 1.6])  # what diverged is left out
    bands = [trace for trace in picture.figure.data if not trace.name]
    assert len(bands) == 1
    assert list(bands[0].x) == [5, 10, 10, 5]
    low = table.filter(arm=HOSTILE, step=10)["low"].item()
    assert low == pytest.approx(1.1 - 4.30265 * 0.1 / math.sqrt(3), abs=1e-4)
    assert "ends lowest, at 1.100 nats" in picture.alt
    assert "<b>" not in str(picture.figure.layout.title.text)


@pytest.mark.parametrize("theme", THEMES)
def test_bars_are_what_training_took_off_with_whiskers_where_there_are_seeds(theme):
    table = answer(TWO, ["a", "b"], SETTINGS)["table"]
    picture = bars_figure(table, "test_loss", {"a": "gtp", "b": "top-k"}, theme)
    (bars,) = picture.figure.data
    assert list(bars.x) == pytest.approx([0.9, 0.4])
    first, second = bars.error_x.array
    assert first == pytest.approx(4.30265 * 0.1 / math.sqrt(3), abs=1e-4)
    assert second is None or math.isnan(second)
    assert picture.table["low"][0] < 0.9 < picture.table["high"][0]
    assert picture.alt.startswith("a takes most off the test loss: 0.900 nats")


def test_bars_without_the_untrained_model_are_losses():
    table = answer(TWO[1:], ["a", "b"], SETTINGS)["table"]
    picture = bars_figure(table, "test_loss", {"a": "gtp", "b": "top-k"}, "light")
    assert list(picture.figure.data[0].x) == pytest.approx([1.1, 1.6])
    assert "lowest test loss, 1.100" in picture.alt


def test_titles_do_not_praise_what_is_no_better_than_untrained():
    worse = [BASE, trial("a", 0, 2.5)]
    picture = bars_figure(
        answer(worse, ["a"], SETTINGS)["table"], "test_loss", {"a": "gtp"}, "light"
    )
    assert picture.alt.startswith("No subset lowers the test loss")
    right = [{**BASE, "exact_match": 0.5, "right": [True, True, False, False]}]
    right += [trial("a", 0, 1.0, right=[True, False, False, False])]
    table = answer(right, ["a"], SETTINGS)["table"]
    picture = bars_figure(table, "exact_match", {"a": "gtp"}, "light")
    assert picture.alt.startswith("No subset answers more right than the untrained model's 50.0%")


def test_nothing_measured_is_an_empty_figure():
    table = answer([BASE, trial("a", 0, None)], ["a"], SETTINGS)["table"]
    assert bars_figure(table, "test_loss", {"a": "gtp"}, "dark").table.height == 0
    empty = curves([trial("a", 0, None)], ["a"])
    assert "No test loss" in curves_figure(empty, {"a": "gtp"}, "dark").alt
    assert "exact match" not in shown_table(table).columns


@pytest.mark.parametrize("theme", THEMES)
def test_every_subset_is_a_point_at_its_judgement_and_its_loss(theme):
    trials = [BASE]
    for at in range(6):
        kind = ("gtp", "top-k", "random")[at % 3]
        trials += [trial(f"{at}", s, 2 - 0.1 * at, method=kind, match=at / 10) for s in (0, 1)]
    found = answer(trials, ["0", "1"], SETTINGS)
    match = next(row for row in found["correlations"] if row["judge"] == "match")
    assert match["spearman"] == pytest.approx(-1)
    weighted = next(row for row in found["correlations"] if row["judge"] == "residual_weighted")
    assert weighted["spearman"] == pytest.approx(1)
    constant = next(row for row in found["correlations"] if row["judge"] == "residual_as_trained")
    assert constant["spearman"] is None
    assert len(found["correlation_sentences"]) == 2
    assert all(text.endswith("it foretells the loss.") for text in found["correlation_sentences"])
    names = names_of(trials)
    methods = {names[arm]: ("gtp", "top-k", "random")[int(arm) % 3] for arm in "012345"}
    picture = foretold_figure(
        judged(trials, SETTINGS), "match", "held-out match", names, methods, theme
    )
    (points,) = picture.figure.data
    assert list(points.x) == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert list(points.y) == pytest.approx([2 - 0.1 * at for at in range(6)])
    assert len({*points.marker.color}) == 3


def test_names_are_short_and_different():
    trials = [BASE, trial("gtp-t-8-aaaa", 0, 1.0), trial("gtp-t-8-bbbb", 0, 1.0)]
    trials += [trial("full", 0, 1.0, method="full"), trial("random-8", 0, 1.0, method="random")]
    assert names_of(trials) == {
        "base": "untrained",
        "full": "the whole pool",
        "gtp-t-8-aaaa": "GTP 8 (aaaa)",
        "gtp-t-8-bbbb": "GTP 8 (bbbb)",
        "random-8": "random 8",
    }
    assert subsets_in(trials) == ["gtp-t-8-aaaa", "gtp-t-8-bbbb", "random-8", "full"]


def test_remarks_are_of_the_arms_that_are_shown():
    trials = [BASE, trial("a", 0, 1.0, solved_weighted=True), trial("b", 0, None, n_seen=2)]
    assert len(remarks(trials, ["a", "b"], SETTINGS)) == 3
    assert remarks(trials, ["a"], {**SETTINGS, "weighted": 1}) == []
    seen, bad = remarks(trials, ["b"], SETTINGS, names={"b": "top-k 8"})
    assert seen == (
        "2 of 4 test examples have the prompt of a sample that is trained on (top-k 8 2)."
    )
    assert bad == "Training diverged and is left out: top-k 8 with seed 0."


def test_few_steps_through_a_large_pool_are_said_and_foretell_nothing():
    """Its residuals are of all its samples, and training came by 40 of 4,000."""
    whole = {"method": "full", "n_samples": 4000, "solved_weighted": False}
    trials = [BASE, *(trial(f"r{at}", 0, 1.0 + at, match=at / 10) for at in range(4))]
    trials.append(trial("full", 0, 1.5, match=0.9, **whole))
    names = names_of(trials)
    found = answer(trials, ["r0", "full"], SETTINGS, names=names)
    assert found["correlations"] == []  # four subsets are left, and five are the least
    assert judged(trials, SETTINGS)["arm"].to_list() == ["r0", "r1", "r2", "r3"]
    assert [row["n_met"] for row in found["table"]] == [0, 8, 40]
    assert shown_table(found["table"])["trained on, of these"].to_list() == [0, 8, 40]
    (said,) = remarks(trials, ["r0", "full"], SETTINGS, names=names)
    assert said.startswith("the whole pool: 10 steps come by 40 of its 4,000 samples; residuals")
    enough = {**SETTINGS, "batch_size": 400}
    assert "full" in judged(trials, enough)["arm"]
    assert remarks(trials, ["full"], enough, names=names) == []
    assert "trained on, of these" not in shown_table(answer(trials, ["r0"], enough)["table"])


def test_a_table_of_trials_of_before_has_no_judges():
    """Files of earlier versions know neither method nor match: they are told, not judged."""
    old = [{k: v for k, v in trial(str(at), 0, 1.0 + at).items() if k in _OLD} for at in range(5)]
    found = answer(old, ["0", "1"], SETTINGS, names=names_of(old))
    assert [row["n"] for row in found["correlations"]] == [0, 0, 0]
    assert found["correlation_sentences"] == []
    assert judged(old, SETTINGS)["match"].null_count() == 5
    assert isinstance(judged(old, SETTINGS), pl.DataFrame)


_OLD = {"arm", "seed", "n_samples", "steps", "test_loss", "exact_match", "curve", "losses", "right"}
