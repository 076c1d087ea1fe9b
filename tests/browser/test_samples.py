"""Promises of Samples that only a browser can check: keys, clicks, links, dialogs, bytes."""

import re

import polars as pl
import pytest

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import expect

from browser.conftest import PATIENCE
from gtp_core.atoms import pose
from gtp_core.catalog import Current
from gtp_core.catalog.edits import LOG
from gtp_core.methods import select
from gtp_core.report import current_table, path_budgets

HEADING = "What became of every sample?"


@pytest.fixture
def found(core):
    """The working set that an untouched Samples page shows; edits are forgotten afterwards."""
    problem = pose(core, "maths")
    budgets = path_budgets(problem.most, problem.atoms.dim)
    budget = min(budgets, key=lambda one: abs(one - round(problem.most * 0.05)))
    current = Current(core, current_table(core, problem, select(problem, budget)))
    yield current.working_set(order="valuable")
    (core.workspace / LOG).unlink(missing_ok=True)


def focused(visitor, sample_id: str) -> None:
    """The panel beside the table shows this sample."""
    panel = visitor.page.get_by_test_id("stCode").first
    expect(panel).to_have_text(sample_id, timeout=PATIENCE)
    expect(visitor.page).to_have_url(re.compile(rf"id={sample_id}\b"), timeout=PATIENCE)


def ready(visitor) -> None:
    """The whole page is there, and no field has the keyboard."""
    expect(visitor.page.locator(".st-key-next")).to_be_visible(timeout=PATIENCE)
    visitor.settle()
    visitor.page.get_by_role("heading", level=1).click()


def noted(core, *wanted: tuple[str, str]) -> bool:
    return [(edit.what, edit.samples[0]) for edit in core.edits()] == list(wanted)


def test_a_review_needs_no_mouse(visit, core, found):
    ids = found.sample_ids()
    visitor = visit("/samples")
    ready(visitor)
    keyboard = visitor.page.keyboard
    for key, place in (("j", 0), ("j", 1), ("j", 2), ("k", 1)):
        keyboard.press(key)
        focused(visitor, ids[place])
        visitor.settle()
    keyboard.press("p")
    note = visitor.page.get_by_test_id("stToast")
    expect(note.filter(has_text="Noted: pin").first).to_be_visible(timeout=PATIENCE)
    visitor.settle()
    keyboard.press("j")
    focused(visitor, ids[2])
    keyboard.press("x")
    expect(note.filter(has_text="Noted: ban").first).to_be_visible(timeout=PATIENCE)
    visitor.settle()
    assert noted(core, ("pin", ids[1]), ("ban", ids[2]))
    keyboard.press("Control+z")
    undo = visitor.page.get_by_role("button", name="Undo")
    visitor.settle()
    assert noted(core, ("pin", ids[1]))
    keyboard.press("Control+Enter")
    expect(visitor.page.get_by_test_id("stMain")).to_contain_text("1 pinned", timeout=PATIENCE)
    keyboard.press("Control+z")
    expect(undo).to_be_disabled(timeout=PATIENCE)
    assert noted(core)


def test_letters_in_a_field_are_letters(visit, core, found):
    visitor = visit(f"/samples?id={found.sample_ids()[0]}")
    field = visitor.page.get_by_role("textbox", name="Tag to give")
    field.press_sequentially("jxp")
    field.press("Enter")
    visitor.settle()
    assert noted(core)
    focused(visitor, found.sample_ids()[0])
    ready(visitor)
    visitor.page.keyboard.press("t")
    note = visitor.page.get_by_test_id("stToast").filter(has_text="Noted: tag jxp").first
    expect(note).to_be_visible(timeout=PATIENCE)
    assert core.tags() == ["jxp"]


def test_a_click_on_a_row_sets_the_focus_and_its_box_selects_it(visit, core, found):
    ids = found.sample_ids()
    visitor = visit("/samples")
    ready(visitor)
    grid = visitor.page.get_by_test_id("stDataFrame")
    row = 3  # the head is row 0, so this is the third sample

    def click(x: float) -> None:
        """The grid draws itself on a canvas, and nothing says when it listens."""
        box = grid.bounding_box()
        visitor.page.mouse.click(box["x"] + x, box["y"] + 32 * row + 16)

    panel = visitor.page.get_by_test_id("stCode")
    visitor.insist(lambda: click(130), lambda: panel.count() > 0)
    focused(visitor, ids[row - 1])
    scope = visitor.page.get_by_role("radio", name="selected rows (1)")
    visitor.insist(lambda: click(16), lambda: scope.count() > 0)
    scope.click()
    visitor.settle()
    visitor.page.keyboard.press("x")
    note = visitor.page.get_by_test_id("stToast").filter(has_text="Noted: ban").first
    expect(note).to_be_visible(timeout=PATIENCE)
    assert noted(core, ("ban", ids[row - 1]))


def test_all_results_are_edited_after_asking_and_undone_as_one(visit, core, found):
    banned = found.current.catalog.query(
        "SELECT sample_id FROM samples WHERE source = 'dolly' ORDER BY row"
    )["sample_id"]
    visitor = visit("/samples?f=o%3Ddolly")
    ready(visitor)
    page = visitor.page
    page.get_by_role("radio", name=f"all results ({len(banned)})").click()
    visitor.settle()
    page.keyboard.press("x")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(f"{len(banned)} samples", timeout=PATIENCE)
    assert noted(core)
    dialog.get_by_role("button", name=f"Ban {len(banned)} samples").click()
    expect(dialog).to_have_count(0, timeout=PATIENCE)
    visitor.settle()
    (edit,) = core.edits()
    assert sorted(edit.samples) == sorted(banned)
    page.keyboard.press("Control+z")
    expect(page.get_by_role("button", name="Undo")).to_be_disabled(timeout=PATIENCE)
    assert core.edits() == []


def test_a_link_restores_the_view_for_someone_else(visit, core, found):
    first = visit("/samples?budget=9")
    page = first.page
    search = page.get_by_role("textbox", name="Search for")
    search.fill("Wieviel")
    search.press("Enter")
    expect(page.get_by_role("button", name="text: Wieviel")).to_be_visible(timeout=PATIENCE)
    first.settle()
    page.get_by_role("combobox", name=re.compile("Order")).click()
    page.get_by_role("option", name="long but weak").click()
    expect(page).to_have_url(re.compile("sort=long"), timeout=PATIENCE)
    ready(first)
    page.keyboard.press("j")
    expect(page).to_have_url(re.compile(r"id=id-\d+"), timeout=PATIENCE)
    first.settle()
    link, sample = page.url, page.get_by_test_id("stCode").first.inner_text().strip()
    second = visit("", address=link)
    focused(second, sample)
    pill = second.page.get_by_role("button", name="text: Wieviel")
    expect(pill).to_be_visible(timeout=PATIENCE)
    order = second.page.get_by_role("combobox", name=re.compile("Order"))
    expect(order).to_have_value("long but weak")
    assert "budget=9" in second.page.url
    for visitor in (first, second):
        visitor.go("Overview", "Is this selection good?")
        visitor.go("Samples", HEADING)
        focused(visitor, sample)


def test_nothing_on_the_page_sends_a_megabyte(visit, core, found):
    visitor = visit("/samples")
    ready(visitor)
    page = visitor.page
    print(f"opening Samples: {sum(visitor.received) + sum(visitor.sent):,} bytes")

    def search(word: str) -> None:
        field = page.get_by_role("textbox", name="Search for")
        field.fill(word)
        field.press("Enter")

    for name, act in (
        ("next", lambda: page.keyboard.press("j")),
        ("pin", lambda: page.keyboard.press("p")),
        ("undo", lambda: page.keyboard.press("Control+z")),
        ("search", lambda: search("Wieviel")),
        ("page", lambda: page.get_by_test_id("stPagination").get_by_text("2", exact=True).click()),
        ("similar", lambda: page.get_by_role("button", name="Similar gradients").click()),
    ):
        before = sum(visitor.received) + sum(visitor.sent)
        act()
        visitor.settle()
        moved = sum(visitor.received) + sum(visitor.sent) - before
        print(f"{name}: {moved:,} bytes")
        assert 0 < moved < 1_000_000, name


def test_the_ids_leave_as_a_file(visit, core, found, tmp_path):
    visitor = visit("/samples?f=v%3Dchosen")
    with visitor.page.expect_download() as waited:
        visitor.page.get_by_role("button", name="Ids as CSV").click()
    waited.value.save_as(tmp_path / "ids.csv")
    table = pl.read_csv(tmp_path / "ids.csv")
    assert table["verdict"].unique().to_list() == ["chosen"]
    assert table["sample_id"].to_list() == found.sample_ids()[: table.height]
