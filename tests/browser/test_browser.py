"""Promises that only a browser can check: what is seen, moved, linked, downloaded and sent."""

import hashlib
import json
import re
import time

import polars as pl
import pytest

pytest.importorskip("playwright.sync_api")
from foreign import make_arrays
from playwright.sync_api import expect

from browser.conftest import PATIENCE, ROOT, environment_of, running
from gtp_core.atoms import pose
from gtp_core.methods import Settings, select
from gtp_core.report import held_out, path_budgets
from gtp_core.store import open_store

OVERVIEW, LAB, STORE, EXPORT = (
    "Is this selection good?",
    "What changes if I move the budget?",
    "What is in this store?",
    "Give me the file",
)
SAMPLES, ACTIVITY = "What became of every sample?", "Who changed what?"
PAGES = {"Budget lab": LAB, "Store": STORE, "Export": EXPORT}
PAGES |= {"Samples": SAMPLES, "Activity": ACTIVITY}
TASKS = ("maths", "dates")
SECONDS = 10  # allowed in CI from the printed address to the first complete view; the aim is 3


def budgets_of(catalog) -> list[int]:
    problem = pose(catalog, "maths")
    return path_budgets(int(problem.atoms.candidates.sum()), problem.atoms.dim)


def shows(visitor, catalog, *, task, budget) -> None:
    """The Budget lab shows the core's numbers for this task and budget."""
    problem = pose(catalog, task)
    for method, word in (("gtp", "GTP"), ("top-k", "top-k")):
        residual = select(problem, budget, method=method).residual_weighted
        held = held_out(problem, budget, method=method, settings=Settings())
        found = visitor.metric(f"{word} residual")
        # A list: exactly one such number, none of an earlier run that is about to go.
        expect(found).to_have_text([f"{residual:.3f}"], timeout=PATIENCE)
        match = visitor.metric(f"{word} held-out match")
        expect(match).to_have_text([f"{held.match:.3f}"], timeout=PATIENCE)


def slider(visitor):
    found = visitor.page.get_by_role("slider", name="Budget (samples)")
    expect(found).to_have_count(1, timeout=PATIENCE)
    return found


def task_of(visitor) -> str:
    return visitor.page.get_by_role("combobox").first.input_value()


# --- pages -----------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_renders_in_light_and_in_dark(visit, scheme):
    visitor = visit("/", color_scheme=scheme)
    expect(visitor.page.get_by_role("heading", level=1)).to_have_text(OVERVIEW)
    is_in(visitor, scheme)
    for name, heading in PAGES.items():
        visitor.go(name, heading)
        is_in(visitor, scheme)


def is_in(visitor, scheme: str) -> None:
    """The page and the titles of its figures have the colours of light or of dark."""
    colour = visitor.page.get_by_test_id("stApp").evaluate(
        "node => getComputedStyle(node).backgroundColor"
    )
    brightness = sum(int(part) for part in colour.strip("rgba()").split(",")[:3])
    assert (brightness > 384) == (scheme == "light"), colour
    titles = visitor.page.locator(".js-plotly-plot .gtitle")
    for ink in titles.evaluate_all("nodes => nodes.map(n => getComputedStyle(n).fill)"):
        assert (sum(map(int, ink.strip("rgba()").split(",")[:3])) < 384) == (scheme == "light")


def test_figures_have_words_for_those_who_cannot_see_them(visit):
    visitor = visit("/")
    charts = visitor.page.get_by_test_id("stPlotlyChart")
    expect(charts).to_have_count(4, timeout=PATIENCE)
    labelled = visitor.page.locator("[aria-label*='Relative residual']")
    assert labelled.count() >= 1


# --- deep links and moving between pages -----------------------------------------------------


def test_a_deep_link_restores_task_and_budget_for_someone_else(visit, core):
    budget = budgets_of(core)[-3]
    first = visit("/budget_lab?task=dates")
    assert task_of(first) == "dates"
    slider(first).focus()
    values = budgets_of(core)
    while (away := values.index(budget) - int(slider(first).input_value())) != 0:
        slider(first).press("ArrowRight" if away > 0 else "ArrowLeft")
    shows(first, core, task="dates", budget=budget)
    expect(first.page).to_have_url(re.compile(rf"budget={budget}\b"), timeout=PATIENCE)
    link = first.page.url
    assert "task=dates" in link
    second = visit("", address=link)
    assert task_of(second) == "dates"
    shows(second, core, task="dates", budget=budget)


def test_quick_moves_end_in_the_address_of_what_is_shown(visit, core):
    values = budgets_of(core)
    visitor = visit(f"/budget_lab?budget={values[0]}")
    slider(visitor).focus()
    for _ in values[1:]:
        slider(visitor).press("ArrowRight")
    shows(visitor, core, task="maths", budget=values[-1])
    visitor.settle()
    assert re.search(rf"budget={values[-1]}\b", visitor.page.url)
    visitor.go("Export", EXPORT)
    assert re.search(rf"budget={values[-1]}\b", visitor.page.url)
    assert f"of a budget of {values[-1]}." in visitor.page.get_by_test_id("stMain").inner_text()


def test_back_and_forward_bring_the_numbers_of_their_address(visit, core):
    first, second = budgets_of(core)[:2]
    visitor = visit(f"/budget_lab?budget={first}")
    slider(visitor).focus()
    slider(visitor).press("ArrowRight")
    shows(visitor, core, task="maths", budget=second)
    expect(visitor.page).to_have_url(re.compile(rf"budget={second}\b"), timeout=PATIENCE)
    visitor.page.go_back()
    shows(visitor, core, task="maths", budget=first)
    assert re.search(rf"budget={first}\b", visitor.page.url)
    visitor.page.go_forward()
    shows(visitor, core, task="maths", budget=second)


def test_what_was_set_stays_set_on_the_next_page(visit, core):
    budget = budgets_of(core)[1]
    visitor = visit(f"/?task=dates&budget={budget}")
    visitor.go("Export", EXPORT)
    assert task_of(visitor) == "dates"
    assert f"of a budget of {budget}." in visitor.page.get_by_test_id("stMain").inner_text()
    assert "task=dates" in visitor.page.url
    visitor.go("Store", STORE)
    visitor.go("Budget lab", LAB)
    shows(visitor, core, task="dates", budget=budget)


def test_another_store_stays_open_on_the_next_page(visit, core, place):
    visitor = visit("/home")
    field = visitor.page.get_by_label("Folder of a gradient store")
    field.fill(str(ROOT / "data" / "demo"))
    visitor.page.get_by_role("button", name="Open", exact=True).click()
    expect(visitor.page.get_by_test_id("stMain")).to_contain_text("demo-", timeout=PATIENCE)
    visitor.settle()
    field.fill(str(place / "store"))
    visitor.page.get_by_role("button", name="Open", exact=True).click()
    expect(visitor.page).to_have_url(re.compile("store=.*browser"), timeout=PATIENCE)
    visitor.settle()
    visitor.go("Budget lab", LAB)
    expect(visitor.page.get_by_test_id("stMain")).to_contain_text(core.store.store_id)


# Two pages as a browser meets them; that every page has the guard is a test of the app.
@pytest.mark.parametrize(("path", "heading"), [("/budget_lab", LAB), ("/home", STORE)])
def test_the_first_visit_to_a_new_server_by_deep_link_has_the_frame(
    visit, place, tmp_path, path, heading
):
    with running(tmp_path, **environment_of(place)) as fresh:
        visitor = visit(f"{path}?task=dates", address=fresh.address)
        expect(visitor.page.get_by_role("heading", level=1)).to_have_text(heading)
        links = visitor.page.get_by_test_id("stSidebarNav").get_by_role("link")
        assert links.all_inner_texts() != []
        assert len(links.all_inner_texts()) == len(list((ROOT / "pages").glob("[a-z]*.py")))
        assert visitor.page.title() in ("Budget lab", "Store", "GTP Explorer")
        if path != "/home":
            assert task_of(visitor) == "dates"
        visitor.page.close()  # before its server ends


# --- the budget ------------------------------------------------------------------------------


def test_keys_move_the_budget_and_the_numbers_follow(visit, core):
    budgets = budgets_of(core)
    visitor = visit("/budget_lab")
    slider(visitor).focus()
    for step in (1, 1, -1):
        here = int(slider(visitor).input_value())
        slider(visitor).press("ArrowRight" if step > 0 else "ArrowLeft")
        shows(visitor, core, task="maths", budget=budgets[here + step])


def test_the_first_move_leaves_the_keyboard_on_the_slider(visit, core):
    budgets = budgets_of(core)
    visitor = visit(f"/budget_lab?budget={budgets[0]}")
    slider(visitor).focus()
    for budget in budgets[1:3]:
        visitor.page.keyboard.press("ArrowRight")
        shows(visitor, core, task="maths", budget=budget)
        visitor.settle()


def test_dragging_moves_the_budget_and_the_numbers_follow(visit, core):
    budgets = budgets_of(core)
    visitor = visit(f"/budget_lab?budget={budgets[0]}")
    shows(visitor, core, task="maths", budget=budgets[0])
    whole = visitor.page.get_by_test_id("stSlider").first
    thumb = whole.get_by_role("slider")
    thumb.scroll_into_view_if_needed()
    box, track = thumb.bounding_box(), whole.bounding_box()
    y = box["y"] + box["height"] / 2
    visitor.page.mouse.move(box["x"] + box["width"] / 2, y)
    visitor.page.mouse.down()
    for share in (0.25, 0.5, 0.75, 1.1):
        visitor.page.mouse.move(track["x"] + share * track["width"], y)
    visitor.page.mouse.up()
    shows(visitor, core, task="maths", budget=budgets[-1])


def test_a_move_of_the_slider_sends_little(visit, core):
    budgets = budgets_of(core)
    visitor = visit("/budget_lab")
    for step in (1, -1):
        visitor.settle()
        before = sum(visitor.received) + sum(visitor.sent)
        here = int(slider(visitor).input_value())
        slider(visitor).press("ArrowRight" if step > 0 else "ArrowLeft")
        shows(visitor, core, task="maths", budget=budgets[here + step])
        visitor.settle()
        moved = sum(visitor.received) + sum(visitor.sent) - before
        print(f"one move of the slider: {moved:,} bytes")
        assert 0 < moved < 1_000_000


# --- files -----------------------------------------------------------------------------------


def test_the_file_and_its_receipt_are_what_they_say(visit, core, tmp_path):
    visitor = visit(f"/export?task=dates&budget={budgets_of(core)[2]}")
    page = visitor.page
    page.get_by_role("button", name="Save run and make files").click()
    downloads = page.get_by_test_id("stDownloadButton")
    expect(downloads).to_have_count(2, timeout=PATIENCE)
    visitor.settle()
    paths = []
    for position in (0, 1):
        with page.expect_download() as waited:
            downloads.nth(position).get_by_role("button").click()
        paths.append(tmp_path / waited.value.suggested_filename)
        waited.value.save_as(paths[-1])
    content, receipt = paths[0].read_bytes(), json.loads(paths[1].read_text("utf-8"))
    assert paths[1].name == f"{paths[0].name}.receipt.json"
    assert receipt["file"] == paths[0].name
    assert receipt["sha256"] == hashlib.sha256(content).hexdigest()
    assert receipt["rows"] == content.count(b"\n") == len(receipt["sample_ids"])
    run, tables = core.read_run(receipt["run"]["run"])
    assert run == receipt["run"]
    assert tables["selection"]["sample_id"].to_list() == receipt["sample_ids"]
    pool = core.store.samples().collect()
    rows = pool.filter(pl.col("sample_id").is_in(receipt["sample_ids"]))
    assert set(content.decode().splitlines()) == set(rows["record"])


# --- stores of other tools -------------------------------------------------------------------


def test_a_store_of_another_tool_is_looked_at_then_written_and_opened(visit, tmp_path):
    source = make_arrays(tmp_path)
    out = tmp_path / "imported"
    visitor = visit("/home")
    page = visitor.page
    page.get_by_text("Import a store that another tool made").click()
    form = page.get_by_test_id("stForm").filter(has=page.get_by_text("Format", exact=True))
    form.get_by_role("combobox").first.click()
    page.get_by_role("option", name="arrays").click()
    form.get_by_label("Folder of the source, which is only read").fill(str(source.folder))
    form.get_by_label("Folder of the store to make").fill(str(out))
    look = form.get_by_role("button", name="Look, and write nothing")
    look.click()
    visitor.settle()
    said = page.get_by_test_id("stAlert")
    expect(said).to_contain_text("step", timeout=PATIENCE)  # nobody says the step sizes
    form.get_by_text("What the source does not say").click()
    form.get_by_role("textbox", name="Step size").fill("\n".join(source.asked.step_size))
    look.click()
    main = page.get_by_test_id("stMain")
    expect(main).to_contain_text("20 samples", timeout=PATIENCE)
    assert not out.exists()
    page.get_by_role("button", name="Write the store").click()
    expect(page).to_have_url(re.compile("store=.*imported"), timeout=PATIENCE)
    visitor.settle()
    assert open_store(out).n_samples == 20
    expect(page.get_by_label("Folder of a gradient store")).to_have_value(str(out))
    expect(main).to_contain_text("Declared by the user")


# --- the demo --------------------------------------------------------------------------------


@pytest.mark.skipif(
    not (ROOT / "data" / "demo" / "paths").is_dir(), reason="the demo has no prepared paths"
)
def test_the_demo_is_complete_soon_after_its_address_is_printed(browser, tmp_path):
    """At one of three first starts: what else a machine does can only make them slower."""
    taken: list[float] = []
    while len(taken) < 3 and min(taken, default=SECONDS + 1) > SECONDS:
        taken.append(first_view_of_the_demo(browser, tmp_path / str(len(taken))))
    print(f"first complete views of the demo after {', '.join(f'{t:.1f}' for t in taken)} s")
    assert min(taken) <= SECONDS


def first_view_of_the_demo(browser, folder) -> float:
    """Seconds from the printed address of a new server to all there is on the first page."""
    folder.mkdir()
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    page = context.new_page()
    with running(folder, GTP_WORKSPACE=str(folder / "work")) as started:
        page.goto(started.address)
        expect(page.get_by_test_id("stMetricValue")).to_have_count(5, timeout=PATIENCE)
        expect(page.locator(".js-plotly-plot .gtitle")).to_have_count(4, timeout=PATIENCE)
        seconds = time.monotonic() - started.printed
        context.close()
    return seconds
