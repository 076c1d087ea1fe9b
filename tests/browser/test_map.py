"""The map and coverage under a real mouse: what a lasso sends, what clicks ask for, jobs."""

import math
import re
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api")
from conftest import build_store, write_map
from playwright.sync_api import expect

from browser.conftest import PATIENCE, Server, Visitor, held, running
from gtp_core import jobs
from gtp_core.atoms import pose
from gtp_core.catalog import Catalog, open_catalog
from gtp_core.methods import Settings
from gtp_core.neighbors import inside, region_of, saved_map
from gtp_core.report import prepare_path

N = 2000
UP, DOWN = 1000, 1_000_000  # bytes of one lasso: what we promise


@pytest.fixture(scope="module")
def pool(tmp_path_factory) -> Path:
    """A store of 2,000 samples with its path and a map."""
    folder = tmp_path_factory.mktemp("map")
    store = build_store(folder / "store", n=N, part_rows=(900, 1100))
    with closing(open_catalog(store, workspace=folder / "work")) as catalog:
        prepare_path(catalog, pose(catalog, "maths"), Settings())
        write_map(catalog)
    return folder


@pytest.fixture(scope="module")
def mapped(pool) -> Iterator[Server]:
    environment = {"GTP_STORE": str(pool / "store"), "GTP_WORKSPACE": str(pool / "work")}
    with running(pool, **environment) as started:
        yield started


@pytest.fixture
def known(pool) -> Iterator[Catalog]:
    with closing(open_catalog(pool / "store", workspace=pool / "work")) as catalog:
        yield catalog


def heard(visitor: Visitor, key: str):
    """A figure that is there and listened to."""
    plot = visitor.page.locator(f"[class*=st-key-{key}] [data-heard]")
    expect(plot).to_be_visible(timeout=PATIENCE)
    return plot


def lasso(visitor: Visitor, panel: int, x: float, y: float, radius: float, corners=80) -> None:
    """Draw a wavy lasso by mouse; places are shares of the panel."""
    area = heard(visitor, "map-figure").locator(".nsewdrag").nth(panel)
    area.scroll_into_view_if_needed()
    box = area.bounding_box()
    mouse = visitor.page.mouse
    for step in range(corners + 1):
        turn = step / corners * 2 * math.pi
        far = radius * (1 + 0.2 * math.sin(7 * turn))
        mouse.move(
            box["x"] + box["width"] * (x + far * math.cos(turn)),
            box["y"] + box["height"] * (y + far * math.sin(turn)),
        )
        if step == 0:
            mouse.down()
    mouse.up()


def counted(visitor: Visitor, catalog: Catalog) -> int:
    """How many samples the address's region has, by the core; the page says the same."""
    expect(visitor.page).to_have_url(re.compile("region="), timeout=PATIENCE)
    visitor.settle()
    text = re.search(r"region=([\w-]+)%3A(\w+)", visitor.page.url)
    polygon, source = region_of(f"{text[1]}:{text[2]}")
    rows = inside(saved_map(catalog, source), polygon)
    card = visitor.page.get_by_role("heading", name=f"Region of {len(rows):,} samples")
    expect(card).to_be_visible(timeout=PATIENCE)
    return len(rows)


def test_a_lasso_sends_a_kilobyte_and_is_counted_as_drawn(visit, mapped, known):
    visitor = visit("/map", address=mapped.address)
    heard(visitor, "map-figure")
    visitor.settle()
    print(f"the first view: {sum(visitor.received):,} bytes")
    assert sum(visitor.received) < DOWN
    area = math.pi * 0.15**2 * 1.02 * N  # of a map whose samples lie evenly
    for panel, x in ((0, 0.25), (1, 0.7)):
        visitor.sent.clear()
        visitor.received.clear()
        lasso(visitor, panel, x, 0.5, 0.15)
        visitor.settle()
        moved = sum(visitor.sent), sum(visitor.received)
        print(f"lasso {panel}: {moved[0]:,} bytes up, {moved[1]:,} down")
        assert 0 < moved[0] <= UP
        assert moved[1] < DOWN / 10
        assert counted(visitor, known) == pytest.approx(area, rel=0.35)
    shown = counted(visitor, known)
    visitor.page.reload()
    visitor.settle()
    assert counted(visitor, known) == shown
    visitor.page.get_by_role("button", name="Clear region").click()
    expect(visitor.page.get_by_role("heading", name="Region of")).to_have_count(0, timeout=PATIENCE)
    visitor.settle()
    assert "region=" not in visitor.page.url


def test_a_box_by_the_toolbar_and_a_double_click_that_takes_it_away(visit, mapped, known):
    visitor = visit("/map", address=mapped.address)
    plot = heard(visitor, "map-figure")
    visitor.settle()
    plot.hover()
    visitor.page.locator('[data-title="Box Select"]').click()
    box = plot.locator(".nsewdrag").first.bounding_box()
    mouse = visitor.page.mouse
    mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.2 * box["height"])
    mouse.down()
    for step in range(1, 9):
        far = 0.2 + 0.3 * step / 8
        mouse.move(box["x"] + far * box["width"], box["y"] + far * box["height"])
    mouse.up()
    assert counted(visitor, known) == pytest.approx(0.09 * N, rel=0.35)
    place = box["x"] + 0.9 * box["width"], box["y"] + 0.9 * box["height"]
    card = visitor.page.get_by_role("heading", name="Region of")
    visitor.insist(lambda: mouse.dblclick(*place), lambda: card.count() == 0)


def test_panels_zoom_together_and_a_chosen_point_says_who_it_is(visit, mapped, known):
    visitor = visit("/map", address=mapped.address)
    plot = heard(visitor, "map-figure")
    visitor.settle()
    ranges = "gd => [gd._fullLayout.xaxis.range, gd._fullLayout.xaxis2.range]"
    box = plot.locator(".nsewdrag").first.bounding_box()
    place = plot.evaluate(
        """gd => {
          const trace = gd.data.find((one) => one.name === "GTP"), {xaxis, yaxis} = gd._fullLayout
          const at = (axis, values) => axis._offset + axis.d2p(Array.from(values)[0])
          const full = gd._fullData.find((one) => one.name === "GTP")
          return [at(xaxis, full.x), at(yaxis, full.y), trace.customdata[0]]
        }"""
    )
    frame = plot.bounding_box()
    mouse = visitor.page.mouse
    for back in (8, 4, 0):
        mouse.move(frame["x"] + place[0] + back, frame["y"] + place[1])
    label = plot.locator(".hoverlayer .hovertext")
    expect(label).to_be_visible(timeout=PATIENCE)
    name, verdict = place[2].split("<br>")[:2]
    assert verdict == "chosen"
    assert name in known.sample_ids()
    expect(label).to_contain_text(name)
    mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    mouse.wheel(0, -300)
    visitor.settle()
    one, other = plot.evaluate(ranges)
    assert one[1] - one[0] < 0.95
    assert one == other


def test_a_region_filters_the_table_of_samples_and_the_link_is_enough(visit, mapped, known):
    visitor = visit("/map?panels=one", address=mapped.address)
    heard(visitor, "map-figure")
    visitor.settle()
    lasso(visitor, 0, 0.5, 0.5, 0.4)
    count = counted(visitor, known)
    assert count > 500
    visitor.received.clear()
    visitor.page.get_by_text(f"Show its {count:,} points").click()
    visitor.settle()
    assert 4 * count < sum(visitor.received) < DOWN
    visitor.page.get_by_role("button", name="Filter to region").click()
    pill = visitor.page.get_by_role("button", name="region: on the map of trajectory")
    expect(pill).to_be_visible(timeout=PATIENCE)
    visitor.page.get_by_role("link", name="What they find").click()
    total = visitor.page.get_by_text(f"{count:,} of {N:,} samples")
    expect(total).to_be_visible(timeout=PATIENCE)
    visitor.settle()
    assert len(visitor.page.url) < 400
    other = visit("", address=visitor.page.url)
    expect(other.page.get_by_text(f"{count:,} of {N:,} samples")).to_be_visible(timeout=PATIENCE)


def click_at(visitor: Visitor, key: str, x: float, y: float) -> None:
    """Click on a figure; places are shares of its plot."""
    plot = heard(visitor, key)
    plot.scroll_into_view_if_needed()
    visitor.settle()
    area = plot.locator(".nsewdrag, .treemaplayer").first
    box = area.bounding_box()
    visitor.point_and_click(box["x"] + x * box["width"], box["y"] + y * box["height"])


def test_every_figure_of_coverage_filters_on_click(visit, mapped, known):
    visitor = visit("/coverage", address=mapped.address)
    heard(visitor, "source-topics")
    visitor.settle()
    page = visitor.page

    def pill(text: str):
        return page.get_by_role("button", name=re.compile(f"^{re.escape(text)}"))

    for key, x, y, words in (
        ("topics", 0.2, 0.5, ["topic: "]),
        ("source-topics", 0.1, 0.1, ["source: ", "topic: "]),
        ("lengths-chosen", 0.5, 0.5, ["range: length from"]),
        ("quality-chosen", 0.5, 0.5, ["range: "]),
        ("served", 0.5, 0.5, ["gradient like: "]),
    ):
        visitor.insist(
            lambda key=key, x=x, y=y: click_at(visitor, key, x, y),
            lambda words=words: all(pill(word).count() for word in words),
        )
        page.get_by_role("button", name="Clear all").click()
        expect(page.get_by_role("button", name="Clear all")).to_have_count(0, timeout=PATIENCE)
        visitor.settle()
    visitor.insist(
        lambda: click_at(visitor, "topics", 0.2, 0.5), lambda: pill("topic: ").count() > 0
    )
    number = int(re.search(r"f=c%3D(\d+)", page.url)[1])
    count = int((saved_map(known).topic == number).sum())
    page.get_by_role("link", name="What they find").click()
    expect(page.get_by_text(f"{count:,} of {N:,} samples")).to_be_visible(timeout=PATIENCE)
    visitor.settle()


def test_a_job_outlives_a_reload_and_is_cancelled(visit, pool, tmp_path):
    environment = {"GTP_STORE": str(pool / "store"), "GTP_WORKSPACE": str(tmp_path)}
    with running(tmp_path, **environment) as fresh:
        visitor = visit("/map", address=fresh.address, rest=False)
        button = visitor.page.get_by_role("button", name="Cancel")
        expect(button).to_be_visible(timeout=PATIENCE)
        with closing(open_catalog(pool / "store", workspace=tmp_path)) as catalog:
            workspace = catalog.workspace
        before = jobs.look(workspace, "map-trajectory")
        with held(before):
            visitor.page.reload()
            expect(button).to_be_visible(timeout=PATIENCE)
            assert jobs.look(workspace, "map-trajectory").pid == before.pid
        start = time.monotonic()
        button.click()
        expect(visitor.page.get_by_text("Cancelled.")).to_be_visible(timeout=PATIENCE)
        assert time.monotonic() - start < 20
        assert jobs.look(workspace, "map-trajectory").state == "cancelled"
        assert not list((workspace / "neighbors").glob("map-*"))
        again = visitor.page.get_by_role("button", name="Build:")
        expect(again).to_be_visible()
        again.click()
        expect(visitor.page.locator("[data-heard]")).to_be_visible(timeout=5 * PATIENCE)
        visitor.settle()
        visitor.page.close()  # before its server ends
