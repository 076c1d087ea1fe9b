"""Verify in a browser: started, reloaded while it trains, cancelled, taken up, finished."""

import re
from contextlib import closing

import pytest

pytest.importorskip("playwright.sync_api")
import test_verify
from playwright.sync_api import expect

from browser.conftest import PATIENCE, held, running
from gtp_core import jobs
from gtp_core.catalog import open_catalog

model_folder, store = test_verify.model_folder, test_verify.store


@pytest.fixture(scope="module")
def place(store, tmp_path_factory):
    """A workspace for a small store with its model and its test examples."""
    return tmp_path_factory.mktemp("verify")


@pytest.fixture(scope="module")
def server(store, place):
    with running(place, GTP_STORE=str(store), GTP_WORKSPACE=str(place / "work")) as started:
        yield started


def test_models_are_trained_by_a_job_that_outlives_the_page(visit, store, place):
    query = "task=sums&exact=8&steps=400&seeds=1&full=False&random=False"
    visitor = visit(f"/verify?{query}")
    page = visitor.page
    start = page.get_by_role("button", name="Train and test 2 of 2 models")
    start.click()
    progress = page.get_by_text(re.compile(r"\(\d of 3 trials\), .* left"))
    expect(progress).to_be_visible(timeout=PATIENCE)
    with closing(open_catalog(store, workspace=place / "work")) as catalog:
        job = jobs.look(catalog.workspace, "verify-sums")
    cancel = page.get_by_role("button", name="Cancel")
    with held(job):
        page.reload()
        expect(cancel).to_be_visible(timeout=PATIENCE)
    cancel.click()
    expect(page.get_by_text("the one begun goes on where it was")).to_be_visible(timeout=PATIENCE)
    page.get_by_role("button", name=re.compile(r"Train and test \d of 2 models")).click()
    done = page.get_by_text("All 2 models are trained and tested")
    expect(done).to_be_visible(timeout=5 * PATIENCE)
    visitor.settle()
    sentence = page.get_by_text(re.compile("Test loss of top-k 8 is .* than of GTP 8"))
    expect(sentence).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_text("every subset gets 400 steps (equal steps)")).to_be_visible()
    expect(page.locator(".js-plotly-plot")).to_have_count(3, timeout=PATIENCE)
    with closing(open_catalog(store, workspace=place / "work")) as catalog:
        table = catalog.query("SELECT method, steps FROM trials ORDER BY method")
    assert table.rows() == [("base", 0), ("gtp", 400), ("top-k", 400)]
