"""Duplicates and the map in a browser: built by a job, edited, undone, and what a lasso sends."""

import math
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from conftest import build_store

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import expect

from browser.conftest import PATIENCE, environment_of, running
from gtp_core.catalog import open_catalog
from gtp_core.neighbors import kept
from gtp_core.store import write_json


def built(visitor, heading: str) -> None:
    """Wait until the job is done and the page is there."""
    place = visitor.page.get_by_role("heading", name=heading)
    expect(place).to_be_visible(timeout=4 * PATIENCE)
    visitor.settle()


def test_the_graph_is_built_while_the_page_is_reloaded_and_keepers_are_made_and_undone(visit, core):
    visitor = visit("/duplicates", rest=False)
    begun = visitor.page.get_by_role("button", name="Cancel")
    ended = visitor.page.get_by_role("heading", name="Dropped, and for whom")
    expect(begun.or_(ended)).to_be_visible(timeout=PATIENCE)
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
    expect(visitor.page.get_by_text("Saved: the tables clusters")).to_be_visible(timeout=PATIENCE)
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


@pytest.fixture
def review(visit, core):
    """The page with its graph, the groups by gradient; edits are forgotten afterwards."""

    def start(**address: str):
        said = "&".join(f"{key}={value}" for key, value in {"keep": "first", **address}.items())
        visitor = visit(f"/duplicates?basis=gradient&{said}")
        built(visitor, "Dropped, and for whom")
        visitor.page.get_by_role("heading", level=1).click()
        return visitor

    yield start
    for edit in core.edits():
        core.edit("undo", who="the end", undoes=edit.edit)


def press(visitor, key: str) -> None:
    visitor.page.keyboard.press(key)
    visitor.settle()


def test_a_group_is_reviewed_without_a_mouse_and_every_key_is_undone(review, core):
    visitor = review()
    press(visitor, "j")
    assert "group=id-0012" in visitor.page.url
    press(visitor, "k")
    assert "group=id-0005" in visitor.page.url
    for key, what, samples, value in (
        ("m", "keeper", {"id-0045"}, ""),
        ("b", "keeper", {"id-0005", "id-0045"}, ""),
        ("d", "split", {"id-0045"}, "id-0005"),
        ("a", "keeper", {"id-0005"}, ""),
        ("x", "ban", {"id-0005", "id-0045", "id-0046"}, ""),
    ):
        press(visitor, key)
        (edit,) = core.edits()
        assert (edit.what, set(edit.samples), edit.value) == (what, samples, value)
        expect(visitor.page.get_by_test_id("stToast").first).to_be_visible(timeout=PATIENCE)
        press(visitor, "Control+z")
        assert core.edits() == []
    hints = visitor.page.locator(".st-key-make-keeper")
    expect(hints).to_contain_text("M")


def test_a_rule_says_what_it_changes_before_it_is_applied(review):
    visitor = review()
    visitor.page.locator(".st-key-keep-next").get_by_role("combobox").click()
    visitor.page.get_by_role("option", name="longest", exact=True).click()
    told = visitor.page.get_by_text("Instead of first, longest would change")
    expect(told).to_be_visible(timeout=PATIENCE)
    visitor.settle()
    assert "keep=first" in visitor.page.url
    visitor.page.get_by_role("button", name="Apply the rule").click()
    expect(told).to_have_count(0, timeout=PATIENCE)
    visitor.settle()
    assert "keep=longest" in visitor.page.url


def test_a_click_on_a_size_shows_only_groups_of_that_size(review):
    visitor = review()
    point = visitor.page.locator(".st-key-sizes-0 .scatterlayer .point").last
    shown = visitor.page.get_by_text("1 of 2 groups")

    def click() -> None:
        box = point.bounding_box()
        visitor.point_and_click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)

    visitor.insist(click, lambda: shown.count() > 0)
    assert "size=3" in visitor.page.url
    expect(visitor.page.get_by_text("Group of 3")).to_be_visible()


N_LARGE, N_PAIRS = 120_000, 30_000


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Path:
    """A pool of 120,000 with 30,000 pairs from 0.8 on, written as the command leaves them."""
    folder = tmp_path_factory.mktemp("large")
    tasks = {"maths": {"": 4}}
    store = build_store(
        folder / "store", n=N_LARGE, dim=8, step_sizes=(1.0,), part_rows=(N_LARGE,), tasks=tasks
    )
    generator = np.random.default_rng(0)
    one = generator.integers(0, N_LARGE - 4, N_PAIRS)
    other = one + generator.integers(1, 4, N_PAIRS)
    score = np.sort(generator.uniform(0.8, 1, N_PAIRS).astype(np.float32))[::-1]
    pairs = pl.DataFrame({"one": one, "other": other, "score": score})
    pairs = pairs.unique(["one", "other"]).sort("score", descending=True)
    with closing(open_catalog(store, workspace=folder / "work")) as catalog:
        write_pairs(catalog, pairs)
    return folder


def write_pairs(catalog, pairs: pl.DataFrame) -> None:
    """A graph without neighbours, and these pairs as near gradients."""
    everyone = np.arange(catalog.store.n_samples)
    empty = {"text": 1.0, "near-text": 0.5}
    said = kept._settings(catalog, "kept", 0) | {
        "n_samples": len(everyone),
        "floors": {**empty, "gradient": 0.8},
    }

    def write(folder: Path) -> None:
        for name in ("copies", "points"):
            np.save(folder / f"{name}.npy", everyone)
        np.save(folder / "neighbours.npy", np.empty((len(everyone), 0), np.int64))
        np.save(folder / "cosines.npy", np.empty((len(everyone), 0), np.float32))
        for basis in said["floors"]:
            np.save(folder / f"copies-{basis}.npy", everyone)
            table = pairs if basis == "gradient" else pairs.clear()
            table.write_parquet(folder / f"pairs-{basis}.parquet")
        write_json(folder / kept.MANIFEST, said)

    kept.put(kept.neighbors_folder(catalog), write)


@pytest.fixture(scope="module")
def large_server(large, tmp_path_factory):
    with running(tmp_path_factory.mktemp("large-server"), **environment_of(large)) as started:
        yield started


def test_a_threshold_of_a_large_pool_moves_with_little_on_the_wire(visit, large_server):
    visitor = visit("/duplicates?basis=gradient", address=large_server.address)
    built(visitor, "Dropped, and for whom")
    assert sum(visitor.received) < 2_000_000
    slider = visitor.page.get_by_role("slider", name="Near gradient from")
    slider.focus()
    for threshold in ("0.945", "0.94"):
        visitor.sent.clear()
        visitor.received.clear()
        slider.press("ArrowLeft")
        visitor.page.wait_for_url(f"**at-gradient={threshold}**", timeout=PATIENCE)
        visitor.settle()
        assert sum(visitor.received) < 1_000_000
        assert sum(visitor.sent) < 20_000
    expect(visitor.page.get_by_text("Shown are 100; of the other")).to_be_visible()


def test_pairs_are_answered_by_key_and_undone(visit, large, large_server):
    visitor = visit("/duplicates?basis=gradient", address=large_server.address)
    built(visitor, "Dropped, and for whom")
    visitor.page.get_by_text("Would you merge these?").click()
    yes = visitor.page.locator(".st-key-answer-Y")
    expect(yes).to_contain_text("Y", timeout=PATIENCE)
    visitor.settle()
    visitor.page.get_by_role("heading", level=1).click()
    with closing(open_catalog(large / "store", workspace=large / "work")) as catalog:
        for key, wanted in (("y", ["duplicate"]), ("n", ["duplicate", "distinct"])):
            press(visitor, key)
            assert [edit.what for edit in catalog.edits()] == wanted
        expect(visitor.page.get_by_text("2 answered: 1 yes, 1 no.")).to_be_visible()
        press(visitor, "Control+z")
        assert [edit.what for edit in catalog.edits()] == ["duplicate"]
        press(visitor, "Control+z")
        assert catalog.edits() == []


def test_a_lasso_sends_its_corners_and_little_comes_back(visit):
    visitor = visit("/map", rest=False)
    area = visitor.page.locator("[data-heard] .nsewdrag").first
    expect(area).to_be_visible(timeout=4 * PATIENCE)
    visitor.settle()
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
    environment = environment_of(place) | {"GTP_WORKSPACE": str(tmp_path)}
    with running(tmp_path, **environment) as fresh:
        visitor = visit("/map", address=fresh.address, rest=False)
        button = visitor.page.get_by_role("button", name="Cancel")
        expect(button).to_be_visible(timeout=PATIENCE)
        start = time.monotonic()
        button.click()
        expect(visitor.page.get_by_text("Cancelled.")).to_be_visible(timeout=PATIENCE)
        assert time.monotonic() - start < 20
        expect(visitor.page.get_by_role("button", name="Build:")).to_be_visible()
        visitor.page.close()  # before its server ends
