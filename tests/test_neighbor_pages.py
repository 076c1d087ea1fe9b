"""Promises of the pages Duplicates, Map and Coverage: what they show, and when there is nothing."""

import json
import time
from contextlib import closing
from pathlib import Path

import conftest
import numpy as np
import pytest
import test_app
from conftest import build_store, write_map
from streamlit.testing.v1 import AppTest
from test_app import hostile_table

import gtp_core
from gtp_core import jobs
from gtp_core.atoms import pose
from gtp_core.catalog import Filter, open_catalog, read_filters, spell_filters
from gtp_core.methods import Settings
from gtp_core.neighbors import (
    inside,
    prepare_neighbors,
    saved_map,
    spell_region,
)
from gtp_core.report import prepare_path

ROOT = Path(gtp_core.__file__).resolve().parent.parent
_nothing_cached, _through_the_app = test_app._nothing_cached, test_app._through_the_app


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A hostile store of 120 samples with its budget path, its graph and a map."""
    folder = tmp_path_factory.mktemp("pages")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conftest, "sample_table", hostile_table)
        store = build_store(folder / "store", n=120, part_rows=(50, 70))
    with closing(open_catalog(store, workspace=folder / "work")) as catalog:
        prepare_path(catalog, pose(catalog, "maths"), Settings())
        prepare_neighbors(catalog)
        write_map(catalog)
    return folder


@pytest.fixture
def opened(place, monkeypatch):
    """`opened(page, **address)`: a page of the app on that store."""
    monkeypatch.setenv("GTP_STORE", str(place / "store"))
    monkeypatch.setenv("GTP_WORKSPACE", str(place / "work"))

    def start(page: str, **address: str) -> AppTest:
        app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
        for key, value in address.items():
            app.query_params[key] = value
        app.switch_page(f"pages/{page}.py").run()
        assert not app.exception
        return app

    return start


@pytest.fixture
def core(place):
    with closing(open_catalog(place / "store", workspace=place / "work")) as catalog:
        yield catalog


ALL = "AAAA__AA____AA__:trajectory"


def hear(app: AppTest, key: str, said: str) -> None:
    """What the browser's component does when it says something: its trigger, and a rerun."""
    (mouse,) = (one.proto for one in app.get("bidi_component") if key in one.proto.id)
    states = app._tree.get_widget_states()
    event = states.widgets.add(id=f"$$STREAMLIT_INTERNAL_KEY_{mouse.id}__events")
    event.json_trigger_value = json.dumps([{"event": "said", "value": said}])
    app._run(states)
    assert not app.exception


def said(app: AppTest) -> str:
    return " ".join(element.value for element in app.markdown)


def test_a_region_of_the_address_is_counted_and_tagged(opened, core):
    app = opened("map", region="AAAA__AA____AA__:trajectory")
    headings = [heading.value for heading in app.subheader]
    assert headings == ["Region of 120 samples"]
    app.get_by_key("region-tag").set_value("all").run()
    app.get_by_key("region-do-tag").click().run()
    tagged = core.query("SELECT * FROM tags")
    assert tagged.height == 120
    assert len(core.edits()) == 1
    app.get_by_key("undo").click().run()
    assert core.query("SELECT * FROM tags").is_empty()
    app.get_by_key("clear-region").click().run()
    assert not app.subheader


@pytest.mark.parametrize(
    "region", ["", "<b>", "AAAABBBB:trajectory", "AAAAAAABAABB:trajectory", "AAAA__AA____:step-10"]
)
def test_a_region_that_is_none_or_empty_breaks_nothing(opened, region):
    app = opened("map", region=region)
    assert not app.subheader


def test_examples_and_one_panel_are_drawn(opened):
    app = opened("map", panels="one")
    app.get_by_key("examples").set_value(True).run()
    assert not app.exception
    spec = app.get("plotly_chart")[0].proto.spec
    assert "validation examples" in spec
    assert "&lt;b&gt;one" in spec


def test_a_region_is_pinned_banned_and_put_into_the_basket(opened, core):
    corner = np.array([[0, 0], [0.16, 0], [0.16, 0.16], [0, 0.16]])
    app = opened("map", region=f"{spell_region(corner)}:trajectory")
    count = len(inside(saved_map(core), corner))
    assert 0 < count <= 6
    for key, what in (("basket", "tag"), ("pin", "pin"), ("ban", "ban")):
        app.get_by_key(f"region-do-{key}").click().run()
        assert not app.exception
        edit = core.edits()[-1]
        assert (edit.what, len(edit.samples)) == (what, count)
    assert core.tags() == ["basket"]
    for _ in range(3):
        app.get_by_key("undo").click().run()
    assert core.edits() == []
    assert opened("map", region=ALL).get_by_key("region-do-pin").disabled


def test_a_region_is_a_filter_of_any_number_of_samples(opened, core):
    app = opened("map", region=ALL)
    app.get_by_key("region-filter").click().run()
    link = app.query_params["f"]
    assert read_filters(link) == (Filter("region", ALL),)
    sql = "SELECT source, count(*) FROM samples WHERE row % 2 = 1 GROUP BY source ORDER BY source"
    source, odd = core.query(sql).row(0)
    assert 0 < odd < 60
    for text, count in (
        (link, 120),
        (spell_filters([Filter("topic", "1")]), 60),
        (spell_filters([Filter("topic", "1"), Filter("topic", "0")]), 120),
        (spell_filters([Filter("topic", "1"), Filter("source", source)]), odd),
        (spell_filters([Filter("region", "AAAABBBB:trajectory")]), 0),
        (spell_filters([Filter("topic", "99")]), 0),
        (spell_filters([Filter("range", "length:5:12.5")]), None),
    ):
        app = opened("samples", f=text)
        if count is None:
            sql = "SELECT count(*) AS n FROM samples WHERE n_tokens >= 5 AND n_tokens < 12.5"
            count = core.query(sql)["n"][0]
            assert 0 < count < 120
        assert f"**{count}** of 120 samples" in said(app)


@pytest.mark.parametrize("bad", ["AAAA__AA____:step-10", "AAAA__AA____", "AAAA__AA____:<b>"])
def test_a_region_of_a_map_that_is_not_there_is_one_sentence_and_can_be_removed(opened, bad):
    app = opened("samples", f=spell_filters([Filter("region", bad)]))
    assert "not made here yet" in app.error[0].value
    app.get_by_key("pill-0").click().run()
    assert not app.error


def test_coverage_counts_the_examples(opened):
    app = opened("coverage")
    assert "of 8 validation examples" in said(app)
    app.get_by_key("tag-topic").click().run()
    assert not app.exception
    app.get_by_key("undo").click().run()


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("filter-topic", "topic"),
        ("filter-source", "source"),
        ("filter-range", "range"),
        ("filter-example", "near"),
    ],
)
def test_whatever_a_click_asks_for_a_button_does_too(opened, key, kind):
    app = opened("coverage")
    app.get_by_key(key).click().run()
    assert not app.exception
    (one,) = read_filters(app.query_params["f"])
    assert one.kind == kind
    app = opened("samples", f=app.query_params["f"])
    assert not app.error


def test_a_click_becomes_the_filter_of_what_was_clicked(opened):
    """As the browser sends it: `figure:click:trace.part`; what is none asks for nothing."""
    for what, kinds in (
        ("topics:click:0.1", {"topic"}),
        ("source-topics:click:0.1.0", {"source", "topic"}),
        ("lengths-chosen:click:0.3", {"range"}),
        ("quality-chosen:click:2.3", {"range"}),
        ("served:click:0.2", {"near"}),
        ("topics:click:0.x", set()),
        ("topics:click:0.2", set()),
        ("topics:click:", set()),
        ("served:click:0.999999", set()),
        ("moon:click:0.1", set()),
        ("", set()),
    ):
        app = opened("coverage")
        hear(app, "coverage-mouse", what)
        link = app.query_params.get("f", "")
        assert {one.kind for one in read_filters(link)} == kinds, what


def test_a_lasso_becomes_the_region_and_a_double_click_takes_it_away(opened):
    app = opened("map")
    hear(app, "map-mouse", "map-figure-0:region:AAAA__AA____AA__")
    assert [heading.value for heading in app.subheader] == ["Region of 120 samples"]
    assert app.query_params["region"] == ALL
    hear(app, "map-mouse", "map-figure-0:region:")
    assert not app.subheader
    assert "region" not in app.query_params


def test_without_a_graph_it_is_built_by_a_job_and_then_shown(place, monkeypatch, tmp_path):
    monkeypatch.setenv("GTP_STORE", str(place / "store"))
    monkeypatch.setenv("GTP_WORKSPACE", str(tmp_path))
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
    app.switch_page("pages/duplicates.py").run()
    assert not app.exception
    with closing(open_catalog(place / "store", workspace=tmp_path)) as catalog:
        end = time.monotonic() + 60
        while jobs.look(catalog.workspace, "neighbors").state == "running":
            assert time.monotonic() < end
            time.sleep(0.1)
        assert jobs.look(catalog.workspace, "neighbors").state == "done"
    app.run()
    assert not app.exception
    assert "120 samples go" in said(app)
