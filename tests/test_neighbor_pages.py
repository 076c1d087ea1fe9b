"""Promises of the pages Duplicates, Map and Coverage: what they show, and when there is nothing."""

import time
from contextlib import closing
from pathlib import Path

import conftest
import pytest
import test_app
from conftest import build_store, write_map
from streamlit.testing.v1 import AppTest
from test_app import hostile_table

import gtp_core
from gtp_core import jobs
from gtp_core.atoms import pose
from gtp_core.catalog import open_catalog
from gtp_core.methods import Settings
from gtp_core.neighbors import (
    prepare_neighbors,
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


def said(app: AppTest) -> str:
    return " ".join(element.value for element in app.markdown)


def test_a_region_of_the_address_is_counted_and_tagged(opened, core):
    app = opened("map", region="0.0_999.0_999.999_0.999")
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


@pytest.mark.parametrize("region", ["", "<b>", "1.2_3.4", "5.5_5.6_6.5"])
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


def test_coverage_counts_the_examples(opened):
    app = opened("coverage")
    assert "of 8 validation examples" in said(app)
    app.get_by_key("tag-topic").click().run()
    assert not app.exception
    app.get_by_key("undo").click().run()


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
