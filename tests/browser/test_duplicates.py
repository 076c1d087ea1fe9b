"""Duplicates and the map in a browser: built by a job, edited, undone, and what a lasso sends."""

import math
import time

import pytest

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import expect

from browser.conftest import PATIENCE


def built(visitor, heading: str) -> None:
    """Wait until the job is done and the page is there."""
    place = visitor.page.get_by_role("heading", name=heading)
    expect(place).to_be_visible(timeout=2 * PATIENCE)
    visitor.settle()


def test_the_graph_is_built_while_the_page_is_reloaded_and_keepers_are_made_and_undone(visit, core):
    visitor = visit("/duplicates")
    visitor.page.reload()
    built(visitor, "Dropped, and for whom")
    assert visitor.metric("Neither").inner_text()
    visitor.page.get_by_role("button", name="Make keeper").click()
    expect(visitor.page.get_by_text("your choice").first).to_be_attached(timeout=PATIENCE)
    made = core.edits()
    assert [edit.what for edit in made] == ["keeper"]
    visitor.settle()
    visitor.page.get_by_role("button", name="Undo").click()
    visitor.settle()
    assert core.edits() == []
    visitor.page.get_by_role("button", name="Save clusters and ledger").click()
    expect(visitor.page.get_by_text("Saved as tables")).to_be_visible(timeout=PATIENCE)
    gone = core.query("SELECT * FROM dropped")
    assert gone.height >= 3
    assert set(gone["rule"]) == {"weight"}


def test_a_threshold_is_in_the_address_and_leads_back(visit):
    visitor = visit("/duplicates?at-gradient=0.9&basis=gradient")
    built(visitor, "Dropped, and for whom")
    slider = visitor.page.get_by_role("slider", name="Near gradient from")
    slider.focus()
    slider.press("ArrowRight")
    visitor.page.wait_for_url("**at-gradient=0.905**", timeout=PATIENCE)
    visitor.settle()


def test_a_lasso_sends_its_corners_and_little_comes_back(visit):
    visitor = visit("/map")
    area = visitor.page.locator(".nsewdrag").first
    expect(area).to_be_visible(timeout=4 * PATIENCE)
    visitor.settle(2.0)
    box = area.bounding_box()
    visitor.sent.clear()
    visitor.received.clear()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    radius = 0.45 * min(box["width"], box["height"])
    visitor.page.mouse.move(x + radius, y)
    visitor.page.mouse.down()
    for step in range(1, 17):
        turn = step / 16 * 2 * math.pi
        visitor.page.mouse.move(x + radius * math.cos(turn), y + radius * math.sin(turn))
    visitor.page.mouse.up()
    card = visitor.page.get_by_role("heading", name="Region of")
    expect(card).to_be_visible(timeout=PATIENCE)
    visitor.settle()
    assert sum(visitor.sent) < 3000
    assert sum(visitor.received) < 100_000
    assert "region=" in visitor.page.url
    shown = card.inner_text()
    visitor.page.reload()
    expect(card).to_have_text(shown, timeout=PATIENCE)
    visitor.page.get_by_role("button", name="Clear region").click()
    expect(card).to_have_count(0, timeout=PATIENCE)
    visitor.settle()
    assert "region=" not in visitor.page.url


def test_a_job_is_cancelled_and_says_so(visit, place, tmp_path):
    from browser.conftest import environment_of, running

    environment = environment_of(place) | {"GTP_WORKSPACE": str(tmp_path)}
    with running(tmp_path, **environment) as fresh:
        visitor = visit("/map", address=fresh.address)
        button = visitor.page.get_by_role("button", name="Cancel")
        expect(button).to_be_visible(timeout=PATIENCE)
        start = time.monotonic()
        button.click()
        expect(visitor.page.get_by_text("Cancelled.")).to_be_visible(timeout=PATIENCE)
        assert time.monotonic() - start < 20
        expect(visitor.page.get_by_role("button", name="Build:")).to_be_visible()
