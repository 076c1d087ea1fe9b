"""Promises of the page Why that only a browser can check: a curator's whole question, seen."""

import re

import pytest

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import expect

from browser.conftest import PATIENCE
from gtp_core.atoms import pose
from gtp_core.methods import select
from gtp_core.report import because, case, judge

QUESTION = "Why was this sample chosen, or left out?"
BUDGET = 12
MEGABYTE = 1_000_000


def judged(catalog, **edits):
    problem = pose(catalog, "maths", **edits)
    return judge(problem, select(problem, BUDGET))


def surprising(catalog, known) -> str:
    """The sample that top-k ranks first of those that GTP left out."""
    chosen = set(known.selection.support.tolist())
    row = min((r for r in range(300) if r not in chosen), key=lambda r: known.topk[r])
    return catalog.sample_ids()[row]


def look_at(visitor, sample_id) -> None:
    field = visitor.page.get_by_label("Sample id")
    field.fill(sample_id)
    field.press("Enter")
    expect(visitor.page).to_have_url(re.compile(rf"id={sample_id}\b"), timeout=PATIENCE)


def says(visitor, text) -> None:
    main = visitor.page.get_by_test_id("stMain")
    expect(main.get_by_text(text, exact=True)).to_have_count(1, timeout=PATIENCE)


def press(visitor, name) -> None:
    visitor.page.get_by_role("button", name=name).click()
    visitor.settle()


def test_a_curator_learns_who_covers_a_sample_bans_it_and_takes_it_back(visit, core):
    before = judged(core)
    sample_id = surprising(core, before)
    one = case(core, before, sample_id)
    first = one.coverers["sample_id"][0]
    visitor = visit(f"/why?budget={BUDGET}")
    expect(visitor.page.get_by_role("heading", level=1)).to_have_text(QUESTION)
    press(visitor, re.compile(rf"Ranked first by top-k.*{sample_id}"))
    says(visitor, because(before, one))
    visitor.page.get_by_role("tab", name="Neighbours").click()
    legend = visitor.page.locator(".legendtext").filter(has_text=first)
    expect(legend).to_have_count(1, timeout=PATIENCE)
    look_at(visitor, first)
    says(visitor, because(before, case(core, before, first)))
    press(visitor, re.compile(r"^\W*\w*\s*Ban"))
    try:
        press(visitor, "Choose again with these edits")
        expect(visitor.page.get_by_text("excluded (ban by")).to_have_count(1, timeout=PATIENCE)
        after = judged(core, bans=[first])
        look_at(visitor, sample_id)
        changed = because(after, case(core, after, sample_id))
        assert changed != because(before, one)
        says(visitor, changed)
    finally:
        press(visitor, re.compile(r"^\W*\w*\s*Undo"))
    assert core.standing().bans == ()
    press(visitor, "Choose again with these edits")
    says(visitor, because(before, one))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_tab_draws_its_figures_in_light_and_in_dark(visit, core, scheme):
    known = judged(core)
    sample_id = core.sample_ids()[int(known.selection.support[0])]
    visitor = visit(f"/why?budget={BUDGET}&id={sample_id}", color_scheme=scheme)
    says(visitor, because(known, case(core, known, sample_id)))
    for tab, figures in {
        "Contribution": 1,
        "Checkpoints": 1,
        "Neighbours": 2,
        "Timeline": 1,
        "Validation side": 2,
        "If I…": 0,
    }.items():
        before = sum(visitor.received)
        visitor.page.get_by_role("tab", name=tab).click()
        titles = visitor.page.locator(".js-plotly-plot .gtitle")
        expect(titles).to_have_count(figures, timeout=PATIENCE)
        visitor.settle()
        for ink in titles.evaluate_all("nodes => nodes.map(n => getComputedStyle(n).fill)"):
            assert (sum(map(int, ink.strip("rgba()").split(",")[:3])) < 384) == (scheme == "light")
        assert sum(visitor.received) - before < MEGABYTE


def test_a_link_shows_someone_else_the_same_sample(visit, core):
    known = judged(core)
    ids = core.sample_ids()
    first, second = (ids[int(row)] for row in known.selection.support[:2])
    visitor = visit(f"/why?budget={BUDGET}&id={first}")
    says(visitor, because(known, case(core, known, first)))
    # The key is heard once the button it belongs to is drawn.
    expect(visitor.page.get_by_role("button", name="Next")).to_be_visible(timeout=PATIENCE)
    visitor.settle()
    visitor.page.keyboard.press("j")
    says(visitor, because(known, case(core, known, second)))
    expect(visitor.page).to_have_url(re.compile(rf"id={second}\b"), timeout=PATIENCE)
    other = visit("", address=visitor.page.url)
    says(other, because(known, case(core, known, second)))
