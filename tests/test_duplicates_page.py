"""Promises of the page Duplicates: what it shows, what its buttons do, and what if nothing."""

import io
from contextlib import closing
from pathlib import Path

import conftest
import numpy as np
import polars as pl
import pytest
import test_app
from conftest import build_store
from streamlit.testing.v1 import AppTest
from test_app import hostile_table

import gtp_core
from gtp_core.atoms import pose
from gtp_core.catalog import open_catalog
from gtp_core.export import ledger_bytes, ledger_of
from gtp_core.methods import Settings
from gtp_core.neighbors import (
    THRESHOLDS,
    answers_of,
    crossing,
    duplicates,
    families,
    kept_in,
    pairs_near,
    prepare_neighbors,
    rule_change,
    rule_scores,
    saved_neighbors,
    scores_of,
)
from gtp_core.report import prepare_path
from pages import _keepers
from pages._view import View

ROOT = Path(gtp_core.__file__).resolve().parent.parent
_nothing_cached, _through_the_app = test_app._nothing_cached, test_app._through_the_app
_rows = conftest.raw_rows
COPIES = {45: 5, 46: 5, 50: 12, 61: 60, 62: 60, 63: 60}


def near_rows(generator, n, dim, common, checkpoint):
    """Rows as ever, and behind row 80 twelve that are less and less alike."""
    rows = _rows(generator, n, dim, common, checkpoint)
    if n > 93:
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        for step in range(1, 13):
            rows[80 + step] = rows[80] + 0.05 * step * rows[94]
    return rows


def made(folder: Path, **what) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conftest, "sample_table", hostile_table)
        patch.setattr(conftest, "raw_rows", near_rows)
        store = build_store(folder / "store", n=120, part_rows=(50, 70), **what)
    with closing(open_catalog(store, workspace=folder / "work")) as catalog:
        prepare_path(catalog, pose(catalog, "maths"), Settings())
        prepare_neighbors(catalog)
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A hostile store of 120 samples with its budget path and its graph."""
    return made(tmp_path_factory.mktemp("pages"), duplicates=COPIES)


@pytest.fixture
def opened(place, monkeypatch):
    """`opened(**address)`: the page of the app on that store, and no edits in the end."""
    monkeypatch.setenv("GTP_STORE", str(place / "store"))
    monkeypatch.setenv("GTP_WORKSPACE", str(place / "work"))
    yield start
    with closing(open_catalog(place / "store", workspace=place / "work")) as catalog:
        for edit in catalog.edits():
            catalog.edit("undo", who="the end", undoes=edit.edit)


def start(**address: str) -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
    for key, value in address.items():
        app.query_params[key.replace("_", "-")] = value
    app.switch_page("pages/duplicates.py").run()
    assert not app.exception
    return app


@pytest.fixture
def core(place):
    with closing(open_catalog(place / "store", workspace=place / "work")) as catalog:
        yield catalog


def said(app: AppTest) -> str:
    parts = [*app.markdown, *app.caption, *app.info, *app.warning]
    return " ".join(element.value for element in parts).replace("\\", "")


def decided(core, rule="first", **what):
    return duplicates(core, saved_neighbors(core), THRESHOLDS, rule_scores(core, rule), rule=rule)


def test_what_the_core_decides_is_shown_with_its_guarantee(opened, core):
    app = opened(keep="first")
    decision = decided(core)
    gone = decision.dropped.height
    total, kept = kept_in(families(decision), decision.stays)
    assert f"{gone:,} of 120 samples go" in said(app)
    assert f"{total:,} groups, {kept:,} with a keeper ✓" in said(app)
    assert f"{gone:,} of {gone:,} rows that go have a kept row" in said(app)
    assert sum(int(m.value.replace(",", "")) for m in app.metric) == 120


def test_twins_of_text_and_gradient_are_crossed_whatever_a_sample_goes_for(opened, core):
    wanted = [f"{n:,}" for n in crossing(decided(core))["n"]]
    assert wanted[2] != "0"
    for drops in ("any", "texts", "gradient"):
        assert [metric.value for metric in opened(keep="first", drops=drops).metric] == wanted


def test_a_keeper_both_a_cannot_link_and_undo(opened, core):
    app = opened(keep="first", basis="gradient", group="id-0005")
    before = said(app)
    picked = app.get_by_key("member-gradient-id-0005").value
    for key, what, ids, value in (
        ("make-keeper", "keeper", (picked,), ""),
        ("keep-both", "keeper", ("id-0005", picked), ""),
        ("no-duplicate", "split", None, None),
    ):
        app.get_by_key(key).click().run()
        edit = core.edits()[-1]
        assert edit.what == what
        if ids is not None:
            assert (set(edit.samples), edit.value) == (set(ids), value)
    assert len(core.edits()) == 3
    for _ in range(3):
        app.get_by_key("undo").click().run()
    assert core.edits() == []
    assert said(app) == before


def test_a_chain_is_told_and_split(opened, core):
    app = opened(keep="first", basis="gradient", group="id-0005")
    assert app.get_by_key("split-group").disabled
    assert "This is a chain" not in said(app)
    app = opened(keep="first", basis="gradient", group="id-0080")
    assert "This is a chain" in said(app)
    app.get_by_key("split-group").click().run()
    assert [(e.what, e.value) for e in core.edits()] == [("split", "")]
    assert "This is a chain" not in said(app)
    assert decided(core).groups["gradient"].count == 5


def test_a_chain_too_large_to_be_split_offers_no_split(opened, core, monkeypatch):
    monkeypatch.setattr("gtp_core.neighbors.groups.LARGEST", 2)
    app = opened(keep="first", basis="gradient", group="id-0080")
    assert "only groups of up to 2 are split" in said(app)
    assert app.get_by_key("split-group").disabled


def test_a_group_is_accepted_then_excluded_and_both_are_one_edit(opened, core):
    app = opened(keep="first", basis="gradient", group="id-0005")
    app.get_by_key("accept-group").click().run()
    assert [(e.what, e.samples) for e in core.edits()] == [("keeper", ("id-0005",))]
    assert app.get_by_key("accept-group").disabled
    app.get_by_key("exclude-group").click().run()
    assert core.edits()[-1].what == "ban"
    assert len(core.edits()[-1].samples) == 3
    assert app.get_by_key("exclude-group").disabled
    assert "were made before that" in said(app)
    app.get_by_key("again").click().run()
    assert not app.exception
    assert "were made before that" not in said(app)
    assert "3 banned" in said(app)
    app.get_by_key("undo").click().run()
    assert [e.what for e in core.edits()] == ["keeper"]


def test_all_groups_that_are_alike_enough_are_accepted_as_one_edit(opened, core):
    app = opened(keep="first", basis="gradient")
    button = app.get_by_key("accept-all")
    assert button.label == "Accept 3 groups"
    button.click().run()
    assert [(e.what, e.samples) for e in core.edits()] == [
        ("keeper", ("id-0005", "id-0012", "id-0060"))
    ]
    assert app.get_by_key("accept-all").disabled
    app.get_by_key("which").set_value("open").run()
    assert "1 of 4 groups" in said(app)  # the chain is not accepted in one go
    app.get_by_key("undo").click().run()
    assert core.edits() == []
    assert app.get_by_key("accept-all").label == "Accept 3 groups"


def test_a_rule_is_applied_only_after_it_said_what_it_changes(opened, core):
    app = opened(keep="first")
    wanted = rule_change(decided(core), decided(core, "longest"))
    assert not app.info
    app.get_by_key("keep-next").set_value("longest").run()
    assert wanted in said(app)
    assert app.query_params["keep"] == "first"
    app.get_by_key("keep-rule").click().run()
    assert app.get_by_key("keep-next").value == "first"
    app.get_by_key("keep-next").set_value("longest").run()
    app.get_by_key("apply-rule").click().run()
    assert not app.info
    assert app.query_params["keep"] == "longest"
    assert f"{decided(core, 'longest').dropped.height:,} of 120 samples go" in said(app)


@pytest.mark.parametrize("rule", ["weight", "gain", "influence", "longest", "source", "first"])
def test_every_rule_that_means_something_here_can_be_applied(opened, rule):
    app = opened(keep=rule)
    assert app.get_by_key("keep-next").value == rule
    assert "newest (no record of this store holds a date)" in said(app)
    assert "newest" not in app.get_by_key("keep-next").options


def test_another_ridge_is_another_question(core):
    """What is kept in memory of one selection must not be shown for another."""
    problem = pose(core, "maths")
    views = [
        View(core, problem, Settings(ridge=ridge), "9", None, "light") for ridge in (0.0, 100.0)
    ]
    one, other = (_keepers._selection_key(view) for view in views)
    assert one != other
    assert one == _keepers._selection_key(views[0])


def test_keys_step_through_groups_and_the_address_leads_back(opened):
    app = opened(keep="first", basis="gradient")
    assert app.get_by_key("group-Previous").disabled
    assert "Group of 13" in said(app)
    app.get_by_key("group-Next").click().run()
    assert app.query_params["group"] == "id-0060"
    app.get_by_key("group-Next").click().run()
    app.get_by_key("group-Next").click().run()
    assert app.query_params["group"] == "id-0012"
    assert "Group of 2" in said(app)
    app.get_by_key("group-Previous").click().run()
    assert app.query_params["group"] == "id-0005"


def test_groups_of_one_size(opened):
    app = opened(keep="first", basis="gradient", size="2")
    assert app.get_by_key("size").value == 2
    assert "1 of 4 groups" in said(app)
    assert "Group of 2" in said(app)


def asking(opened) -> AppTest:
    """The page with the questions open."""
    app = opened(keep="first", basis="gradient")
    app.session_state["merge"] = True
    return app.run()


def test_pairs_are_asked_about_and_the_answers_move_the_threshold(opened, core):
    app = asking(opened)
    likeness = saved_neighbors(core).likenesses["gradient"]
    assert pairs_near(likeness, 0.95)["side"].to_list() == ["above"] * 6 + ["below"] * 4
    for count in range(1, 7):
        label = app.get_by_key(keys(app, "pair-")[0]).value
        assert label.endswith("merged now" if count % 2 else "apart now")
        app.get_by_key("answer-N").click().run()
        edit = core.edits()[-1]
        assert (edit.what, len(core.edits())) == ("distinct", count)
        assert label.startswith(f"{edit.samples[0]} and {edit.value}: ")
    assert "6 answered: 0 yes, 6 no." in said(app)
    assert "agrees with 6 of 6 answers, this one with 3" in said(app)
    app.get_by_key("take-threshold").click().run()
    scores = scores_of(likeness, list(answers_of(core)))
    assert float(app.get_by_key("at-gradient").value) > scores.max()
    app.get_by_key("undo").click().run()
    assert len(core.edits()) == 5


def keys(app: AppTest, start: str) -> list[str]:
    return [w.key for w in app.selectbox if str(w.key).startswith(start)]


def test_a_no_can_keep_two_apart_and_a_yes_is_no_keeper(opened, core):
    app = asking(opened)
    app.get_by_key("answer-Y").click().run()
    before = decided(core).dropped
    app.get_by_key("no-is-apart").set_value(True).run()
    app.get_by_key("answer-N").click().run()
    assert [e.what for e in core.edits()] == ["duplicate", "split"]
    assert "2 answered: 1 yes, 1 no." in said(app)
    assert not decided(core).dropped.equals(before)


@pytest.fixture(scope="module")
def single(tmp_path_factory) -> Path:
    """The same without a copy, so that nothing is alike in every number."""
    return made(tmp_path_factory.mktemp("single"), duplicates={})


def test_without_a_group_the_nearest_pair_is_offered(single, monkeypatch):
    monkeypatch.setenv("GTP_STORE", str(single / "store"))
    monkeypatch.setenv("GTP_WORKSPACE", str(single / "work"))
    app = start(basis="gradient", at_gradient="1.0")
    assert "No pairs above 1; the nearest pair is at 0.9997." in said(app)
    assert "What differs" not in said(app)
    app.get_by_key("view-nearest").set_value(True).run()
    assert "What differs" in said(app)
    app.get_by_key("lower").click().run()
    assert float(app.get_by_key("at-gradient").value) == 0.995
    assert "No pairs above" not in said(app)
    assert "Group of" in said(app)
    assert "none from 0.5 on" in said(start(basis="near-text"))
    assert "No two samples have the same" in said(start(basis="text"))


def test_the_ledger_is_saved_and_told_stale_when_the_decision_changes(opened, core):
    app = opened(keep="first")
    app.get_by_key("save").click().run()
    assert not app.exception
    assert core.query("SELECT * FROM clusters").height > 0
    assert "hold this decision" in said(app)
    app.get_by_key("make-keeper").click().run()
    assert "What is saved is stale" in said(app)
    app.get_by_key("undo").click().run()
    assert "hold this decision" in said(app)


def test_the_page_export_offers_the_saved_ledger(opened, core):
    app = opened(keep="first")
    app.get_by_key("save").click().run()
    app.switch_page("pages/export.py").run()
    next(b for b in app.button if "Save run" in b.label).click().run()
    assert not app.exception
    offered = [b.proto.label for b in app.get("download_button")]
    assert "Download the ledger of dropped duplicates" in offered
    gone = pl.read_parquet(io.BytesIO(ledger_bytes(ledger_of(core))))
    assert gone.height == core.query("SELECT * FROM dropped").height > 0
