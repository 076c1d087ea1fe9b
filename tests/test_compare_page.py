"""Promises of the page Compare: its numbers are the core's, and its link restores it."""

import pytest
import test_app
from test_app import HOSTILE, captions, figures, is_one_sentence, numbers, plain

from gtp_core.atoms import pose
from gtp_core.methods import Settings, select
from gtp_core.report import (
    choose,
    contestant,
    exclusive,
    five_sentences,
    from_run,
    gains,
    given,
    only,
    save,
    scores,
)

BUDGET = 9
TABLES = ("scores", "only-a", "only-b")  # from above
place, core, opened = test_app.place, test_app.core, test_app.opened
_nothing_cached, _through_the_app = test_app._nothing_cached, test_app._through_the_app


def judged(core, problem, method, name, budget=BUDGET):
    selection, held = choose(problem, budget, method=method, settings=Settings())
    return contestant(core, problem, selection, name=name, held=held)


@pytest.fixture
def pair(core):
    problem = pose(core, "maths")
    return problem, [judged(core, problem, m, n) for m, n in (("gtp", "GTP"), ("top-k", "top-k"))]


def said(app) -> str:
    return plain("\n".join(text.value for text in app.markdown))


def table(app, name):
    return app.dataframe[TABLES.index(name)].value


def test_it_says_the_five_sentences_of_the_core(opened, core, pair):
    problem, two = pair
    app = opened("compare", budget=str(BUDGET))
    for sentence in five_sentences(core, problem, two):
        assert sentence in said(app)


def test_it_ends_with_the_spread_over_the_splits(opened, core):
    problem = pose(core, "dates", common_direction="kept")  # the halves agree on that direction
    two = [judged(core, problem, m, n) for m, n in (("gtp", "GTP"), ("top-k", "top-k"))]
    app = opened("compare", budget=str(BUDGET), task="dates", direction="kept")
    last = five_sentences(core, problem, two)[-1]
    assert "than its spread over the" in last, "the store is no test of it"
    assert last in said(app)


def test_its_figures_and_tables_hold_the_numbers_of_the_core(opened, core, pair):
    problem, (a, b) = pair
    app = opened("compare", budget=str(BUDGET))
    hero, upset, *_ = figures(app)
    points = gains(core, problem, a, b, given=a).points
    by_name = {trace["name"].rsplit(" (", 1)[0]: numbers(trace["y"]) for trace in hero["data"][1:]}
    for name, kind in (("only GTP", "a"), ("only top-k", "b"), ("both", "both")):
        expected = points.filter(points["class"] == kind)["gain"].to_list()
        assert by_name[name] == pytest.approx(expected, abs=1e-6)
    assert numbers(upset["data"][0]["y"]) == exclusive([a, b])["samples"].to_list()
    shown = table(app, "scores").set_index("selection")
    for row in scores([a, b]).iter_rows(named=True):
        assert shown.loc[row["selection"], "held-out match"] == pytest.approx(row["held-out match"])
    for key, one, other in (("only-a", a, b), ("only-b", b, a)):
        expected = only(core, problem, one, other)
        assert list(table(app, key)["sample_id"]) == expected["sample_id"].to_list()
        assert list(table(app, key)["reason"]) == expected["reason"].to_list()


def test_rows_lead_to_why_with_everything_that_is_set(opened):
    app = opened("compare", budget=str(BUDGET), task="dates", b="random", a_budget="5")
    first = table(app, "only-a").iloc[0]
    address, _, rest = first["why"].partition("?")
    assert address == "why"
    assert set(rest.split("&")) == {"task=dates", f"budget={BUDGET}", f"id={first['sample_id']}"}


def test_the_gain_may_be_given_the_other(opened, core, pair):
    problem, (a, b) = pair
    app = opened("compare", budget=str(BUDGET), given="b")
    found = gains(core, problem, a, b, given=b)
    trace = figures(app)[0]["data"][1]
    expected = found.points.filter(found.points["class"] == "a")["gain"].to_list()
    assert numbers(trace["y"]) == pytest.approx(expected, abs=1e-6)
    assert "given top-k" in figures(app)[0]["layout"]["title"]["text"]


def test_a_link_restores_four_of_them_and_their_budgets(opened, core):
    problem = pose(core, "dates")
    query = {"a": "top-k", "b": "gtp", "c": "random", "d": "gtp", "d_budget": "3", "by": "cosine"}
    app = opened("compare", task="dates", budget=str(BUDGET), **query)
    assert app.get_by_key("c").value == "random"
    assert app.get_by_key("d_budget").value == "3"
    four = [
        judged(core, problem, *one)
        for one in (("top-k", "top-k"), ("gtp", "GTP"), ("random", "random"))
    ]
    four.append(judged(core, problem, "gtp", "GTP at 3", "3"))
    for sentence in five_sentences(core, problem, four):
        assert sentence in said(app)
    assert list(table(app, "scores")["selection"]) == ["top-k", "GTP", "random", "GTP at 3"]
    assert "cosine with the target" in str(figures(app)[4]["layout"]["yaxis"]["title"])


def test_a_choice_is_in_the_address(opened):
    app = opened("compare", budget=str(BUDGET))
    app.get_by_key("b").set_value("random").run()
    assert app.query_params["b"] == "random"
    assert "a" not in app.query_params, "the default is not told"
    assert list(table(app, "scores")["selection"]) == ["GTP", "random"]


def test_a_run_of_another_task_is_judged_by_this_one_and_it_says_so(opened, core):
    dates = pose(core, "dates")
    run = save(core, dates, select(dates, 4), None)["run"]
    app = opened("compare", budget=str(BUDGET), b=run)
    (note,) = (plain(info.value) for info in app.info)
    assert note.startswith("run B was chosen for task dates; here it is judged by maths")
    found = from_run(core, pose(core, "maths"), run, name="run B")
    shown = table(app, "scores").set_index("selection").loc["run B"]
    assert shown["residual, weighted"] == pytest.approx(found.selection.residual_weighted)


def test_a_list_of_yours_takes_part_and_is_saved_as_a_run(opened, core):
    ids = [f"id-{row:04d}" for row in (4, 2, 60)]
    app = opened("compare", budget=str(BUDGET))
    app.get_by_key("compare-ids").set_value("\n".join(ids)).run()
    app.get_by_key("b").set_value("your list").run()
    problem = pose(core, "maths")
    listed = given(core, problem, ids)
    shown = table(app, "scores").set_index("selection").loc["your list"]
    assert shown["residual, as trained"] == pytest.approx(listed.residual_as_trained)
    assert set(table(app, "only-b")["sample_id"]) <= set(ids)
    (button,) = (one for one in app.button if one.label == "Save the list as a run")
    button.click().run()
    run = save(core, problem, listed, None)["run"]
    assert f"Saved as {run}" in captions(app)
    app = opened("compare", budget=str(BUDGET), b=run)
    assert list(table(app, "scores")["samples"]) == [BUDGET, 3]


def test_a_bad_list_is_no_error_until_it_is_compared(opened):
    app = opened("compare", budget=str(BUDGET))
    app.get_by_key("compare-ids").set_value("nobody\nnobody").run()
    assert not app.error
    app.get_by_key("b").set_value("your list").run()
    assert is_one_sentence(app, "twice")


@pytest.mark.parametrize(("typed", "words"), [("5 km", "budget"), ("0", "budget=0")])
def test_a_bad_budget_is_one_sentence(opened, typed, words):
    app = opened("compare", budget=str(BUDGET), b_budget=typed)
    assert is_one_sentence(app, words)


def test_an_unknown_run_in_a_link_is_the_default(opened):
    app = opened("compare", budget=str(BUDGET), a="nobody", b="gtp-no-such-run")
    assert list(table(app, "scores")["selection"]) == ["GTP", "top-k"]


def test_the_same_twice_has_two_names_and_no_difference(opened):
    app = opened("compare", budget=str(BUDGET), b="gtp")
    assert list(table(app, "scores")["selection"]) == ["GTP", "GTP (2)"]
    assert len(table(app, "only-a")) == 0
    assert "GTP and GTP (2) chose the same samples" in figures(app)[0]["layout"]["title"]["text"]


def test_a_single_example_holds_nothing_out_and_it_says_so(opened):
    app = opened("compare", task="one", budget=str(BUDGET))
    assert any("single usable validation example" in plain(w.value) for w in app.warning)
    assert "The held-out match of GTP and top-k is not known." in said(app)


def test_hostile_names_are_shown_and_never_interpreted(opened):
    app = opened("compare", budget=str(BUDGET))
    raw = "\n".join(text.value for text in app.markdown)
    for name in HOSTILE:
        assert name not in raw, "a source's name is in a sentence as it is"
    spec = str(figures(app))
    assert "<b>" not in spec
    shown = set(table(app, "only-a")["source"]) | set(table(app, "only-b")["source"])
    assert shown <= set(HOSTILE)


def test_a_second_visit_computes_nothing(opened, monkeypatch):
    first = said(opened("compare", budget=str(BUDGET)))
    from pages import _contestants

    for name in ("contestant", "split_matches"):
        monkeypatch.setattr(_contestants, name, lambda *_, **__: pytest.fail("computed again"))
    assert said(opened("compare", budget=str(BUDGET))) == first


def test_no_estimate_is_compared(opened, core, monkeypatch):
    from pages import _view

    monkeypatch.setattr(_view, "_SMALL_POOL", 0)
    monkeypatch.setattr(_view, "between", lambda *_, **__: pytest.fail("an estimate"))
    app = opened("compare", budget=str(BUDGET), a_budget="20")
    exact = select(pose(core, "maths"), 20)
    shown = table(app, "scores").set_index("selection").loc["GTP at 20"]
    assert shown["residual, weighted"] == pytest.approx(exact.residual_weighted)
