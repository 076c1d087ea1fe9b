"""Promises of the page Compare that only a browser can check: seen, linked, moved and sent."""

import re
from contextlib import suppress
from urllib.parse import parse_qs, urlsplit

import pytest

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import TimeoutError as TooLate
from playwright.sync_api import expect

from browser.conftest import PATIENCE
from gtp_core.atoms import pose
from gtp_core.methods import Settings
from gtp_core.report import choose, contestant, five_sentences

QUESTION = "How do these choices differ?"
FIGURES = 6
MEGABYTE = 1_000_000
_IS_LINK = "([x, y]) => getComputedStyle(document.elementFromPoint(x, y)).cursor === 'pointer'"


def sentences(catalog, task, budget, wanted) -> list[str]:
    problem = pose(catalog, task)
    found = []
    for method, name in wanted:
        selection, held = choose(problem, budget, method=method, settings=Settings())
        found.append(contestant(catalog, problem, selection, name=name, held=held))
    return five_sentences(catalog, problem, found)


def shows(visitor, texts) -> None:
    """Every sentence is on the page, once: none of an earlier run that is about to go."""
    for text in texts:
        expect(visitor.page.get_by_role("listitem").filter(has_text=text)).to_have_count(
            1, timeout=PATIENCE
        )


def pick(visitor, letter: str, name: str) -> None:
    box = visitor.page.get_by_role("combobox", name=re.compile(rf"\b{letter}$"))
    box.click()
    visitor.page.get_by_role("option", name=name, exact=True).click()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_figure_is_drawn_with_words_in_light_and_in_dark(visit, scheme):
    visitor = visit("/compare", color_scheme=scheme)
    expect(visitor.page.get_by_role("heading", level=1)).to_have_text(QUESTION)
    charts = visitor.page.get_by_test_id("stPlotlyChart")
    expect(charts).to_have_count(FIGURES, timeout=PATIENCE)
    titles = visitor.page.locator(".js-plotly-plot .gtitle")
    expect(titles).to_have_count(FIGURES, timeout=PATIENCE)
    for ink in titles.evaluate_all("nodes => nodes.map(n => getComputedStyle(n).fill)"):
        assert (sum(map(int, ink.strip("rgba()").split(",")[:3])) < 384) == (scheme == "light")
    assert visitor.page.locator("[aria-label*='conditional gain given GTP']").count() >= 1
    for name in ("only GTP", "only top-k", "both"):
        expect(visitor.page.locator(".legendtext").filter(has_text=name)).not_to_have_count(0)
    expect(visitor.page.get_by_role("heading", name=re.compile("^Only "))).to_have_count(2)


def test_a_link_shows_someone_else_the_same_comparison(visit, core):
    first = visit("/compare?task=dates&budget=12")
    shows(first, sentences(core, "dates", 12, [("gtp", "GTP"), ("top-k", "top-k")]))
    pick(first, "B", "random")
    expect(first.page).to_have_url(re.compile(r"b=random"), timeout=PATIENCE)
    expected = sentences(core, "dates", 12, [("gtp", "GTP"), ("random", "random")])
    shows(first, expected)
    second = visit("", address=first.page.url)
    shows(second, expected)


def test_a_change_sends_less_than_a_megabyte(visit):
    visitor = visit("/compare")
    expect(visitor.page.get_by_test_id("stPlotlyChart")).to_have_count(FIGURES, timeout=PATIENCE)
    assert sum(visitor.received) < MEGABYTE
    for letter, name in (("B", "random"), ("C", "top-k"), ("D", "omp")):
        visitor.received.clear()
        pick(visitor, letter, name)
        expect(visitor.page).to_have_url(re.compile(rf"{letter.lower()}=\S"), timeout=PATIENCE)
        visitor.settle()
        assert 0 < sum(visitor.received) < MEGABYTE
    expect(visitor.page.get_by_test_id("stPlotlyChart")).to_have_count(FIGURES)


def test_the_first_of_what_only_gtp_has_leads_to_its_why_page(visit):
    visitor = visit("/compare?task=dates")
    opened = follow_first_link(visitor, visitor.page.get_by_test_id("stDataFrame").nth(1))
    opened.wait_for_url("**/why?**", timeout=PATIENCE)
    told = parse_qs(urlsplit(opened.url).query)
    assert told["task"] == ["dates"]
    assert re.fullmatch(r"id-\d{4}", told["id"][0])


def follow_first_link(visitor, grid):
    """Click on the link in the first cell of a table until it opens its tab.

    The table is a canvas: it learns what lies under the pointer from the pointer's moves, says so
    by the pointer's shape, and forgets it when it is drawn anew.
    """
    page = visitor.page
    for _ in range(10):
        grid.scroll_into_view_if_needed()
        visitor.settle()
        box = grid.bounding_box()
        x, y = box["x"] + 28, box["y"] + 52
        page.mouse.move(x, y + 3 * 35)  # away, so that the next move is one
        page.mouse.move(x, y, steps=3)
        with suppress(TooLate):
            page.wait_for_function(_IS_LINK, arg=[x, y], timeout=3000)
            with page.context.expect_page(timeout=5000) as opened:
                page.mouse.click(x, y)
            return opened.value
    raise AssertionError("No tab was opened by ten clicks.")
