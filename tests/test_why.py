"""Promises of the page Why: its sentence and numbers are the core's, for every kind of sample."""

import json
import re

import numpy as np
import polars as pl
import pytest
import test_app
from test_app import HOSTILE, captions, errors, figures, is_one_sentence, numbers, plain

from gtp_core.atoms import pose
from gtp_core.figures import (
    cosines_figure,
    covered_figure,
    examples_figure,
    sample_checkpoints_figure,
    subtasks_figure,
    timeline_figure,
    waterfall_figure,
)
from gtp_core.methods import Settings, select
from gtp_core.report import (
    because,
    beside_in,
    case,
    contribution,
    covering,
    examples_of,
    forced,
    forced_sentence,
    glossary,
    held_out,
    judge,
    neighbours,
    pulled,
    saved_path,
    solved_again,
    standing,
    timeline,
    timeline_sentence,
    where_it_points,
    word_diff,
)

BUDGET = 9
TABS = ("Contribution", "Checkpoints", "Neighbours", "Timeline", "Validation side", "If I…")
place, core, opened = test_app.place, test_app.core, test_app.opened
_nothing_cached, _through_the_app = test_app._nothing_cached, test_app._through_the_app


@pytest.fixture
def known(core):
    problem = pose(core, "maths")
    return judge(problem, select(problem, BUDGET))


@pytest.fixture
def look(opened):
    """`look(id, tab)`: the page at a sample, one tab open."""

    def open_at(sample_id, tab=TABS[0], **query):
        app = opened("why", budget=str(BUDGET), id=sample_id, **query)
        if tab != TABS[0]:
            app.session_state["tab"] = tab
            app.run()
            assert not app.exception, app.exception[0].value
        return app

    return open_at


def said(app) -> str:
    return plain("\n".join(text.value for text in app.markdown))


def some_of_every_verdict(core, known) -> dict[str, str]:
    found = {}
    for sample_id in core.sample_ids():
        found.setdefault(case(core, known, sample_id).verdict, sample_id)
    return found


def button(app, key):
    return next(b for b in app.button if b.key == key)


# --- the page --------------------------------------------------------------------------------


def test_without_an_id_it_offers_some(opened, core):
    app = opened("why", budget=str(BUDGET))
    assert not app.get("plotly_chart")
    offered = [b for b in app.button if (b.key or "").startswith("go-")]
    assert len(offered) == 3
    offered[0].click().run()
    assert app.text_input(key="id").value in core.sample_ids()
    assert app.get("plotly_chart")


def test_every_kind_of_sample_has_its_sentence(look, core, known):
    kinds = some_of_every_verdict(core, known)
    assert {"chosen", "redundant", "misaligned", "invalid"} <= set(kinds)
    for verdict, sample_id in kinds.items():
        app = look(sample_id)
        one = case(core, known, sample_id)
        assert because(known, one) in said(app)
        assert any(f"{verdict}]" in text.value for text in app.markdown)
        held = held_out(known.problem, BUDGET, method="gtp", settings=Settings())
        assert standing(known, held) in captions(app)
        assert [code.value for code in app.code][:2] == [one.prompt, one.completion]


def test_top_k_has_reasons_too(look, core):
    problem = pose(core, "maths")
    known = judge(problem, select(problem, BUDGET, method="top-k"))
    sample_id = core.sample_ids()[int(known.selection.support[2])]
    app = look(sample_id, whose="top-k")
    assert because(known, case(core, known, sample_id)) in said(app)


def test_an_unknown_id_is_one_sentence_and_leads_on(look, core):
    app = look("id-00", tab=TABS[0])
    assert is_one_sentence(app, "id-00", "nearest ids", "id-000")
    near = [b for b in app.button if (b.key or "").startswith("near-")]
    near[0].click().run()
    assert not errors(app)
    assert app.text_input(key="id").value == plain(near[0].label)


@pytest.mark.parametrize("text", ["x" * 900, "'; DROP TABLE samples; --", "<b>x</b>", "  "])
def test_nonsense_for_an_id_is_no_accident(look, text):
    app = look(text)
    assert not app.exception
    assert len(errors(app)) == (1 if text.strip() else 0)


def test_next_and_previous_walk_by_rank(look, core, known):
    ids = core.sample_ids()
    first, second = (ids[int(row)] for row in known.selection.support[:2])
    app = look(first)
    assert button(app, "step-Previous").disabled
    button(app, "step-Next").click().run()
    assert app.text_input(key="id").value == second
    assert beside_in(core, known, case(core, known, second))[0] == first


# --- the tabs --------------------------------------------------------------------------------


@pytest.mark.parametrize("chosen", [True, False])
def test_every_tab_draws_the_numbers_of_the_core(look, core, known, chosen):
    rest = np.setdiff1d(np.arange(8), known.selection.support)
    row = known.selection.support[1] if chosen else rest[0]
    sample_id = core.sample_ids()[int(row)]
    one = case(core, known, sample_id)
    (steps,) = figures(look(sample_id))
    assert numbers(steps["data"][0]["y"]) == pytest.approx(
        contribution(known, one)["change"].to_list(), abs=1e-6
    )
    (by,) = figures(look(sample_id, "Checkpoints"))
    table = where_it_points(core, known, one)
    assert numbers(by["data"][0]["y"]) == pytest.approx(table["target"].to_list(), abs=1e-6)
    covered, cosines = figures(look(sample_id, "Neighbours"))
    shares = [numbers(bar["x"])[0] for bar in covered["data"]]
    assert shares == pytest.approx(covering(one)["share"].to_list(), abs=1e-5)
    near, _ = neighbours(core, known, one)
    assert cosines["data"][0]["x"] == [sample_id, *near["sample_id"].to_list()]
    examples = examples_of(core, known.problem)
    pulls, subtasks = figures(look(sample_id, "Validation side"))
    found = pulled(known, one, examples).reverse()["cosine"].to_list()
    assert numbers(pulls["data"][0]["x"]) == pytest.approx(found, abs=1e-6)
    assert len(numbers(subtasks["data"][0]["y"])) == 2


def test_words_are_compared_with_the_nearest_chosen_sample(look, core, known):
    app = look("id-0003", "Neighbours")
    app.session_state["diff"] = True
    app.run()
    one = case(core, known, "id-0003")
    nearest = neighbours(core, known, one)[0]["sample_id"][0]
    other = core.texts(core.rows_of([nearest])).row(0, named=True)
    for shown, role in zip(app.dataframe, ("prompt", "completion"), strict=True):
        segments = word_diff(getattr(one, role), other[role])
        assert list(shown.value["text"]) == segments["text"].to_list()
        assert list(shown.value["where"]) == segments["where"].to_list()


def test_the_timeline_is_that_of_the_path(look, core, known):
    sample_id = core.sample_ids()[int(known.selection.support[0])]
    app = look(sample_id, "Timeline")
    path = saved_path(core, known.problem, Settings())
    table = timeline(path, "gtp", int(known.selection.support[0]))
    assert timeline_sentence(table) in said(app)
    assert numbers(figures(app)[0]["data"][0]["y"]) == pytest.approx(table["weight"].to_list())
    moved = app.dataframe[0].value
    assert set(moved["change"]) <= {"entered", "left"}
    assert len(moved) > 0


def test_forcing_says_what_would_happen_and_solves_again_when_asked(look, core, known):
    row = int(known.selection.support[0])
    sample_id = core.sample_ids()[row]
    app = look(sample_id, "If I…")
    assert forced_sentence(core, known, forced(known, row)) in said(app)
    assert not app.metric
    button(app, "solve-again").click().run()
    told = solved_again(known, row, Settings())
    shown = {metric.label: metric.value for metric in app.metric}
    assert shown["Residual, solved again"] == f"{told.selection.residual_weighted:.4f}"
    assert shown["Held-out match, solved again"] == f"{told.held.match:.3f}"
    changes = app.dataframe[0].value
    assert sample_id in list(changes[changes["change"] == "left"]["sample_id"])


def test_an_invalid_sample_can_be_looked_at_in_every_tab(look, core, known):
    sample_id = some_of_every_verdict(core, known)["invalid"]
    for tab in TABS:
        app = look(sample_id, tab)
        assert not app.error
        assert button(app, "edit-pin").disabled


def test_the_glossary_is_the_core_s(look, core):
    app = look("id-0001")
    app.session_state["glossary"] = True
    app.run()
    assert list(app.dataframe[-1].value["name"]) == glossary()["name"].to_list()


# --- edits -----------------------------------------------------------------------------------


def test_a_ban_waits_until_asked_and_can_be_undone(look, core, known):
    sample_id = core.sample_ids()[int(known.selection.support[0])]
    app = look(sample_id)
    button(app, "edit-ban").click().run()
    try:
        assert core.standing().bans == (sample_id,)
        assert because(known, case(core, known, sample_id)) in said(app)
        button(app, "choose-again").click().run()
        assert "excluded (ban by" in said(app)
        assert button(app, "edit-ban").disabled
    finally:
        button(app, "undo").click().run()
    assert core.standing().bans == ()
    button(app, "choose-again").click().run()
    assert because(known, case(core, known, sample_id)) in said(app)


def test_a_pinned_sample_says_who_pinned_it(look, core):
    app = look("id-0003")
    button(app, "edit-pin").click().run()
    try:
        button(app, "choose-again").click().run()
        assert "Pinned (pin by" in said(app)
        assert any("pinned]" in text.value for text in app.markdown)
        button(app, "edit-free").click().run()
        assert core.standing().pins == ()
        button(app, "undo").click().run()
        assert core.standing().pins == ("id-0003",)
    finally:
        button(app, "undo").click().run()
    assert core.standing().pins == ()


# --- hostile texts ---------------------------------------------------------------------------


@pytest.mark.parametrize("tab", TABS)
def test_hostile_texts_are_shown_and_never_interpreted(look, core, known, tab):
    for row in known.selection.support[:4]:
        app = look(core.sample_ids()[int(row)], tab)
        assert app.code[0].value.startswith(tuple(HOSTILE))
        spoken = [*app.markdown, *app.caption, *app.warning, *app.error]
        for text in [element.value for element in spoken] + [b.label for b in app.button]:
            assert "<b>" not in text
            assert "http://evil.example)" not in text
            assert not re.search(r"(?<!\\):red\[", text)


@pytest.mark.parametrize("name", ["<b>x</b>", "%{x} %{customdata}", "<a href='http://e.x'>y</a>"])
def test_hostile_ids_are_harmless_in_figures(name):
    parts = pl.DataFrame({"part": [name, "rest", "not covered"], "share": [0.5, 0.2, 0.3]})
    examples = pl.DataFrame({"example_id": [name], "cosine": [0.4]})
    subtasks = pl.DataFrame({"subtask": [name], "cosine": [0.4], "chosen": [0.5]})
    points = pl.DataFrame({"checkpoint": [name], "target": [0.1], "left": [0.0], "chosen": [0.2]})
    for picture in (
        covered_figure(parts, 0.1, "light"),
        cosines_figure([name, "b"], np.eye(2), "dark"),
        examples_figure(examples, "light"),
        subtasks_figure(subtasks, "light"),
        sample_checkpoints_figure(points, "light"),
    ):
        document = json.loads(picture.figure.to_json())
        document["layout"].pop("template", None)
        text = json.dumps(document).replace("<extra></extra>", "")
        assert not re.search(r"<[A-Za-z/!]", text), text
        templates = [trace.get("hovertemplate", "") for trace in document["data"]]
        assert not any("customdata" in template for template in templates)


# --- figures ---------------------------------------------------------------------------------


def test_words_beside_the_figures_hold_their_numbers(core, known):
    row = int(known.selection.support[0])
    one = case(core, known, core.sample_ids()[row])
    near, cosines = neighbours(core, known, one)
    path = saved_path(core, known.problem, Settings())
    line = timeline(path, "gtp", row)
    first = int(line.filter("chosen")["budget"][0])
    gain = f"{100 * one.gain:.3g} % of the target"
    names = [one.sample_id, *near["sample_id"]]
    for theme in ("light", "dark"):
        pictures = {
            gain: waterfall_figure(contribution(known, one), theme),
            one.strongest: sample_checkpoints_figure(where_it_points(core, known, one), theme),
            f"{one.covered:.0%} of its gradient": covered_figure(covering(one), one.chance, theme),
            f"cosine {cosines[0, 1]:.2f}": cosines_figure(names, cosines, theme),
            f"First chosen at {first:,}": timeline_figure(line, 9, theme),
        }
        for part, picture in pictures.items():
            assert part in picture.alt
            assert part in picture.figure.layout.title.text
            assert picture.alt.endswith(".")
            assert picture.table.height
            assert len(picture.figure.to_json()) < 60_000


def test_a_sample_that_nothing_can_be_said_of_still_has_its_figures():
    nothing = pl.DataFrame(schema={"part": pl.String, "share": pl.Float64})
    assert covered_figure(nothing, 0.2, "light").alt.startswith("0% of its gradient")
    alone = cosines_figure(["a"], np.ones((1, 1)), "light")
    assert "No chosen sample" in alone.alt
    never = pl.DataFrame({"budget": [5, 9], "chosen": [False, False], "weight": [0.0, 0.0]})
    assert "Not chosen at any budget" in timeline_figure(never, 5, "light").alt


def test_a_sample_that_would_raise_the_residual_says_so():
    steps = pl.DataFrame(
        {
            "step": [
                "the whole target",
                "9 other chosen samples",
                "this sample, if it joined",
                "left",
            ],
            "residual": [1.0, 0.5, 0.51, 0.51],
            "change": [1.0, -0.5, 0.01, 0.51],
        }
    )
    assert "It would raise the residual by 1 %" in waterfall_figure(steps, "light").alt
