"""Promises of the app: every page opens through app.py and shows the numbers of the core."""

import base64
import json
import re
import time
from contextlib import closing
from pathlib import Path

import conftest
import numpy as np
import polars as pl
import pytest
import streamlit as st
import streamlit.runtime.scriptrunner.script_runner as script_runner
from conftest import build_store, sample_table, write_map
from streamlit.runtime.pages_manager import PagesManager
from streamlit.testing.v1 import AppTest

import gtp_core
from gtp_core import jobs
from gtp_core.atoms import pose
from gtp_core.catalog import open_catalog
from gtp_core.errors import MethodError
from gtp_core.methods import METHODS, Settings, select
from gtp_core.neighbors import prepare_neighbors
from gtp_core.report import (
    answer,
    as_alike,
    auto_sentence,
    choose,
    chosen_table,
    cosine,
    findings,
    given,
    held_out,
    overlap,
    path_key,
    prepare_path,
    store_facts,
    tuned,
)

ROOT = Path(gtp_core.__file__).resolve().parent.parent
DEMO = ROOT / "data" / "demo"
TITLES = {
    "overview": "Is this selection good?",
    "budget_lab": "What changes if I move the budget?",
    "home": "What is in this store?",
    "export": "Give me the file",
    "compare": "How do these choices differ?",
    "samples": "What became of every sample?",
    "why": "Why was this sample chosen, or left out?",
    "activity": "Who changed what?",
    "duplicates": "Which duplicates went, and for whom?",
    "map": "Where in the pool do the choices lie?",
    "coverage": "What am I losing?",
    "verify": "Do the chosen samples train a better model?",
}
LEAST = {  # widgets and other parts that a page has at least
    "samples": {"dataframe": 1, "selectbox": 3, "multiselect": 4, "button": 7, "text_input": 2},
    "why": {"text_input": 2, "button": 3, "selectbox": 3, "select_slider": 2},
    "activity": {"dataframe": 2, "text_input": 1, "button": 3},
    "overview": {"metric": 5, "plotly_chart": 4, "selectbox": 1, "select_slider": 2},
    "budget_lab": {"metric": 4, "plotly_chart": 5, "dataframe": 1, "select_slider": 2},
    "home": {"plotly_chart": 1, "dataframe": 3, "text_input": 1, "text_area": 1},
    "verify": {"multiselect": 1, "toggle": 2, "text_input": 3, "warning": 1},
    "export": {"selectbox": 3, "toggle": 1, "button": 1, "select_slider": 2},
    "duplicates": {"metric": 4, "plotly_chart": 3, "dataframe": 5, "selectbox": 3, "button": 5},
    "map": {"plotly_chart": 1, "toggle": 1, "select_slider": 2},
    "coverage": {"plotly_chart": 4, "dataframe": 1, "selectbox": 2},
    "compare": {"plotly_chart": 6, "dataframe": 3, "selectbox": 5, "select_slider": 2},
}
DECIDING = ("overview", "budget_lab", "export", "compare", "samples", "why")
HOSTILE = ["<b>bold</b>", "[link](http://evil.example)", "$\\frac{1}{2}$ `code` **x**", ":red[x]"]
real_mpa_v1 = script_runner._mpa_v1


@pytest.fixture(scope="module", autouse=True)
def _nothing_cached():
    st.cache_data.clear()
    st.cache_resource.clear()
    yield
    st.cache_data.clear()
    st.cache_resource.clear()


@pytest.fixture(autouse=True)
def _through_the_app(monkeypatch):
    """AppTest forgets st.navigation at every run and would open a page without app.py."""

    def run_main(main):
        PagesManager.uses_pages_directory = False
        text = Path(main).read_text("utf-8")
        exec(compile(text, str(main), "exec"), {"__name__": "__main__", "__file__": str(main)})

    monkeypatch.setattr(script_runner, "_mpa_v1", run_main)
    monkeypatch.syspath_prepend(str(ROOT))


def hostile_table(rows) -> pl.DataFrame:
    table = sample_table(rows)
    source = [HOSTILE[row % len(HOSTILE)] for row in rows]
    prompt = [f"{HOSTILE[row % len(HOSTILE)]} {row}" for row in rows]
    return table.with_columns(source=pl.Series(source), prompt=pl.Series(prompt))


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a store of 120 samples, hostile in every text, its budget paths prepared."""
    folder = tmp_path_factory.mktemp("app")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conftest, "sample_table", hostile_table)
        tasks = {"maths": {"sums": 4, "proofs": 2}, "dates": {"": 4}, "one": {"": 1}, "none": {}}
        store = build_store(folder / "store", n=120, part_rows=(50, 70), tasks=tasks)
    with closing(open_catalog(store, workspace=folder / "work")) as catalog:
        for task in ("maths", "dates", "one"):
            prepare_path(catalog, pose(catalog, task), Settings())
        prepare_neighbors(catalog)
        write_map(catalog)
    return folder


@pytest.fixture
def core(place):
    """What the core says of the store that the app shows."""
    with closing(open_catalog(place / "store", workspace=place / "work")) as catalog:
        yield catalog


@pytest.fixture
def opened(place, monkeypatch):
    """`opened(page, **query)`: the app on the small store, at a page."""
    monkeypatch.setenv("GTP_STORE", str(place / "store"))
    monkeypatch.setenv("GTP_WORKSPACE", str(place / "work"))
    return open_page


def open_page(page="overview", **query) -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    if page != "overview":
        app.switch_page(f"pages/{page}.py").run()
    assert not app.exception, app.exception[0].value
    return app


def plain(text: str) -> str:
    """A text without the backslashes that disarm Markdown."""
    return re.sub(r"\\(.)", r"\1", text)


def errors(app) -> list[str]:
    return [plain(error.value) for error in app.error]


def is_one_sentence(app, *parts: str) -> bool:
    (text,) = errors(app)
    return "\n" not in text and text.endswith(".") and all(part in text for part in parts)


def metrics(app) -> dict[str, str]:
    return {metric.label: metric.value for metric in app.metric}


def captions(app) -> str:
    return plain(" ".join(caption.value for caption in app.caption))


def figures(app) -> list[dict]:
    return [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")]


def numbers(array) -> list:
    """A figure's array, whether sent as a list or packed."""
    if isinstance(array, dict):
        return np.frombuffer(base64.b64decode(array["bdata"]), array["dtype"]).tolist()
    return list(array)


# --- every page ------------------------------------------------------------------------------


@pytest.mark.parametrize("where", TITLES)
def test_every_page_opens_with_its_question_and_its_parts(opened, where):
    app = opened(where)
    assert [title.value for title in app.title] == [TITLES[where]]
    assert not app.error
    for kind, least in LEAST[where].items():
        assert len(app.get(kind)) >= least, kind
    for chart in app.get("plotly_chart"):
        assert chart.proto.alt.endswith(".")


def test_every_page_of_the_folder_is_known():
    pages = {p.stem for p in (ROOT / "pages").glob("[a-z]*.py")}
    assert pages == set(TITLES)


@pytest.mark.parametrize("where", DECIDING)
def test_a_page_says_what_is_open(opened, core, where):
    text = captions(opened(where))
    assert core.store.store_id in text
    assert "120 samples" in text
    assert "3 checkpoints" in text


def test_a_second_visit_computes_nothing(opened, monkeypatch):
    opened("overview")
    st.cache_resource.clear()
    from gtp_core.report import path
    from pages import _view

    for module, name in ((path, "budget_path"), (_view, "choose")):
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("computed again"))
    assert len(opened("overview").metric) >= 5


# --- the numbers -----------------------------------------------------------------------------


def test_the_overview_shows_the_numbers_of_the_core(opened, core):
    app = opened()
    problem = pose(core, "maths")
    budget = str(app.select_slider(key="budget").value)
    chosen = {name: select(problem, budget, method=name) for name in ("gtp", "top-k")}
    held = {name: held_out(problem, budget, method=name, settings=Settings()) for name in chosen}
    assert metrics(app) == {name: value for name, value, *_ in findings(core, chosen, held)}
    assert plain(app.markdown[0].value) == answer(chosen, held)
    both = overlap(chosen["gtp"].support, chosen["top-k"].support)["both"]
    assert any(f"{both} of " in f["layout"]["title"]["text"] for f in figures(app))


@pytest.mark.parametrize("budget", [5, 9, 12])
def test_moving_the_budget_changes_the_numbers(opened, core, budget):
    app = opened("budget_lab")
    app.select_slider(key="budget").set_value(budget).run()
    problem = pose(core, "maths")
    gtp, topk = (select(problem, budget, method=name) for name in ("gtp", "top-k"))
    held = held_out(problem, budget, method="gtp", settings=Settings())
    shown = metrics(app)
    assert shown["GTP residual"] == f"{gtp.residual_weighted:.3f}"
    assert shown["top-k residual"] == f"{topk.residual_weighted:.3f}"
    assert shown["GTP held-out match"] == f"{held.match:.3f}"
    table = app.dataframe[0].value
    assert list(table["sample_id"]) == core.sample_ids().gather(gtp.support).to_list()


def test_the_residual_as_trained_is_one_press_away(opened, core):
    app = opened("budget_lab", budget="9")
    app.get_by_key("residual").set_value("residual_as_trained").run()
    gtp = select(pose(core, "maths"), 9)
    assert metrics(app)["GTP residual"] == f"{gtp.residual_as_trained:.3f}"


def test_the_line_of_the_figure_is_the_prepared_path(opened, core):
    path = prepare_path(core, pose(core, "maths"), Settings())
    rows = path.filter(pl.col("method") == "gtp").sort("budget")
    lines = {t["name"]: t for f in figures(opened()) for t in f["data"] if t.get("name") == "GTP"}
    drawn = [
        numbers(t["y"]) for f in figures(opened()) for t in f["data"] if t.get("name") == "GTP"
    ]
    assert lines
    assert rows["residual_weighted"].to_list() in drawn
    assert rows["match"].to_list() in drawn


def test_the_list_follows_the_method(opened, core):
    app = opened("budget_lab", budget="9")
    app.get_by_key("list").set_value("top-k").run()
    problem = pose(core, "maths")
    wanted = chosen_table(core, problem, select(problem, 9, method="top-k"))
    assert list(app.dataframe[0].value["sample_id"]) == wanted["sample_id"].to_list()


def test_the_store_page_shows_the_facts_and_answers_sql(opened, core):
    app = opened("home")
    facts = store_facts(core)
    text = plain(" ".join(m.value for m in app.markdown))
    assert f"{facts['n_invalid']} samples" in text
    passport = next(d.value for d in app.dataframe if "store" in set(d.value.iloc[:, 0]))
    assert facts["store_id"] in set(passport.iloc[:, 1])
    app.text_area[0].set_value("SELECT count(*) AS n FROM samples")
    next(b for b in app.button if b.label == "Run").click().run()
    assert not app.exception
    assert app.dataframe[len(app.dataframe) - 1].value["n"][0] == 120


@pytest.mark.parametrize("sql", ["DROP TABLE samples", "SELEKT", "FROM read_text('/etc/passwd')"])
def test_wrong_sql_is_one_sentence(opened, sql):
    app = opened("home")
    app.text_area[0].set_value(sql)
    next(b for b in app.button if b.label == "Run").click().run()
    assert not app.exception
    assert is_one_sentence(app)


@pytest.mark.parametrize("method", METHODS)
def test_export_makes_files_only_when_asked(opened, core, method):
    app = opened("export")
    before = core.list_runs()
    app.get_by_key("export_method").set_value(method).run()
    assert "Nothing is written" in captions(app)
    assert core.list_runs() == before
    next(b for b in app.button if "Save run" in b.label).click().run()
    assert not app.exception
    assert not app.error
    run_id = app.session_state["_run"]
    assert set(core.list_runs()) == {*before, run_id}
    run, tables = core.read_run(run_id)
    assert run["method"] == method
    labels = " ".join(b.proto.label for b in app.get("download_button"))
    assert f"Download {run_id}.jsonl" in plain(labels)
    assert f"{tables['selection'].height} rows" in captions(app)
    assert f"--method {method}" in app.code[len(app.code) - 1].value
    app.selectbox(key="format").set_value("csv").run()
    assert "run_id.csv".replace("run_id", run_id) in plain(
        " ".join(b.proto.label for b in app.get("download_button"))
    )
    for name in ("parquet", "ids", "jsonl"):
        app.selectbox(key="format").set_value(name).run()
        assert not app.exception
    core.delete_run(run_id)


# --- the budget as typed ---------------------------------------------------------------------


@pytest.mark.parametrize("where", DECIDING)
def test_a_wrong_budget_is_one_sentence(opened, where):
    app = opened(where)
    for typed in ("abc", "0", "5000%", "-1", "1e3", "121", "nan", "1tok", "²", "<b>*5*</b>"):
        app.text_input(key="exact").set_value(typed).run()
        assert not app.exception
        assert is_one_sentence(app, typed)
    app.text_input(key="exact").set_value("").run()
    assert not app.error


def between_prepared(monkeypatch) -> None:
    """As if the pool were large, and no budget of the small store's path that of the slider."""
    from pages import _view

    monkeypatch.setattr(_view, "_SMALL_POOL", 100)
    monkeypatch.setattr(_view, "from_path", lambda *_: None)


def test_a_large_pool_is_answered_at_once_by_an_estimate_until_it_is_computed(
    opened, core, monkeypatch
):
    from pages import _view

    between_prepared(monkeypatch)
    monkeypatch.setattr(_view, "choose", lambda *_, **__: pytest.fail("nothing is to be solved"))
    app = opened("budget_lab", task="maths", exact="8")
    assert "An estimate between two prepared budgets" in captions(app)
    monkeypatch.setattr(_view, "choose", choose)
    (button,) = [one for one in app.button if one.label == "Compute exactly"]
    button.click().run()
    assert not app.exception
    assert "An estimate" not in captions(app)
    solved = select(pose(core, "maths"), "8")
    assert metrics(app)["GTP residual"] == f"{solved.residual_weighted:.3f}"


@pytest.mark.parametrize("used", ["all", "only step-1", "without step-1"])
def test_copies_and_checkpoints_are_what_was_set(opened, core, used):
    names = [checkpoint.name for checkpoint in core.store.checkpoints]
    used = used.replace("step-1", names[1])
    left_out = {"a": (), "o": [n for n in names if n != names[1]], "w": [names[1]]}[used[0]]
    told = {"copies": "one", "used": used, "exact": "9"}
    problem = pose(core, "maths", caps={"duplicate": 1}, checkpoints=dict.fromkeys(left_out, 0.0))
    solved = select(problem, "9")
    for where in ("overview", "budget_lab"):
        app = opened(where, task="maths", **told)
        assert not app.exception
        assert not app.error
        shown = {label: value for label, value in metrics(app).items() if "esidual" in label}
        assert f"{solved.residual_weighted:.3f}" in shown.values()
    assert app.selectbox(key="used").value == used


@pytest.mark.parametrize("where", ["overview", "budget_lab"])
def test_while_a_path_is_prepared_the_rest_of_the_page_is_there(opened, monkeypatch, where):
    from pages import _view

    def cut_off(*_, **__) -> None:
        raise MethodError("Not now.")

    whole = opened(where, task="dates")
    with_curves = len(whole.get("plotly_chart"))
    monkeypatch.setattr(_view, "prepare_path", cut_off)
    app = opened(where, task="dates", ridge="3.0")
    assert is_one_sentence(app, "Not now")
    assert len(app.get("plotly_chart")) == with_curves - 2
    assert len(app.dataframe) == len(whole.dataframe)


def test_the_path_of_a_large_pool_is_a_job_that_the_page_waits_for(opened, core, monkeypatch):
    from pages import _view

    monkeypatch.setattr(_view, "_SMALL_POOL", 100)
    app = opened("overview", task="dates", ridge="10.0")
    few = len(app.get("plotly_chart"))
    (button,) = [one for one in app.button if one.label == "Prepare the budget path"]
    button.click().run()
    assert any(one.label == "Cancel" for one in app.button)
    name = f"path-{path_key(core, pose(core, 'dates'), Settings(ridge=10.0))}"
    until = time.monotonic() + 120
    while (job := jobs.look(core.workspace, name)).state == "running":
        assert time.monotonic() < until
        time.sleep(0.1)
    assert (job.state, job.message) == ("done", "")
    app.run()
    assert not app.exception
    assert len(app.get("plotly_chart")) > few
    assert not [one for one in app.button if one.label in ("Cancel", "Prepare the budget path")]


def test_what_is_exported_is_never_an_estimate(opened, core, monkeypatch):
    between_prepared(monkeypatch)
    app = opened("export", task="maths", exact="8")
    assert "An estimate" in captions(app)
    (save,) = [one for one in app.button if one.label == "Save run and make files"]
    save.click().run()
    assert not app.exception
    assert not app.error
    (run,) = [one for one in core.list_runs() if "-maths-8-" in one]
    assert core.read_run(run)[0]["stop"] != "estimated"
    core.delete_run(run)


@pytest.mark.parametrize(("typed", "most"), [("5%", 6), (" 7 ", 7), ("40", 40), ("100%", 117)])
def test_an_exact_budget_takes_the_place_of_the_slider(opened, core, typed, most):
    app = opened("budget_lab", budget="12")
    app.text_input(key="exact").set_value(typed).run()
    assert not app.exception
    assert app.select_slider(key="budget").disabled
    topk = select(pose(core, "maths"), most, method="top-k")
    assert metrics(app)["top-k residual"] == f"{topk.residual_weighted:.3f}"


def test_a_budget_in_tokens(opened, core):
    app = opened("budget_lab")
    app.text_input(key="exact").set_value("300tok").run()
    gtp = select(pose(core, "maths"), "300tok")
    assert not app.exception
    assert metrics(app)["GTP residual"] == f"{gtp.residual_weighted:.3f}"


# --- deep links ------------------------------------------------------------------------------


@pytest.mark.parametrize("where", DECIDING)
def test_a_deep_link_restores_task_and_budget(opened, where):
    app = opened(where, task="dates", budget="9")
    assert app.selectbox(key="task").value == "dates"
    assert app.select_slider(key="budget").value == 9


@pytest.mark.parametrize("budget", ["7777", "<b>"])
def test_a_wrong_link_opens_with_defaults(opened, budget):
    query = {"task": "nothing", "ridge": "-3", "direction": "x", "fill": "x", "list": "random"}
    app = opened("budget_lab", budget=budget, residual="x", **query)
    assert not app.error
    assert metrics(app) == metrics(opened("budget_lab"))


def test_settings_of_a_link_reach_the_selection(opened, core):
    app = opened("budget_lab", budget="12", ridge="3.0", direction="kept", fill="influence")
    problem = pose(core, "maths", common_direction="kept")
    settings = Settings(ridge=3.0, fill="influence")
    gtp = select(problem, 12, settings=settings)
    assert metrics(app)["GTP residual"] == f"{gtp.residual_weighted:.3f}"


@pytest.mark.parametrize("name", TITLES)
def test_a_first_visit_by_deep_link_goes_through_the_app(opened, monkeypatch, name):
    """As a fresh server does it: the page's own script runs first, without app.py."""
    monkeypatch.setattr(script_runner, "_mpa_v1", real_mpa_v1)
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
    app.query_params["task"] = "dates"
    app.switch_page(f"pages/{name}.py").run()
    assert not app.exception
    assert "_pages" in app.session_state
    assert [title.value for title in app.title] == [TITLES[name]]
    if name in DECIDING:
        assert app.selectbox(key="task").value == "dates"


def test_without_the_guard_a_first_visit_misses_the_app(opened, monkeypatch):
    """What the test above would miss if it passed for another reason."""
    from pages import _start

    monkeypatch.setattr(script_runner, "_mpa_v1", real_mpa_v1)
    monkeypatch.setattr(_start, "require", lambda name: None)
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
    app.switch_page("pages/home.py").run()
    assert "_pages" not in app.session_state


# --- what cannot be opened -------------------------------------------------------------------


def shorten(folder: Path) -> None:
    path = next(folder.glob("gradients/*/*.safetensors"))
    path.write_bytes(path.read_bytes()[:-10])


def no_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def nonsense(folder: Path) -> None:
    (folder / "manifest.json").write_text("{}")


@pytest.mark.parametrize("where", TITLES)
def test_no_store_is_one_sentence(monkeypatch, tmp_path, where):
    monkeypatch.setenv("GTP_STORE", str(tmp_path / "no*where_<b>"))
    monkeypatch.setenv("GTP_WORKSPACE", str(tmp_path / "work"))
    app = open_page(where)
    assert is_one_sentence(app, "no*where_<b>", "not a folder")
    assert "\\*" in app.error[0].value
    assert [title.value for title in app.title] == [TITLES[where]]


@pytest.mark.parametrize("damage", [shorten, no_manifest, nonsense], ids=lambda d: d.__name__)
@pytest.mark.parametrize("where", ["overview", "home"])
def test_a_broken_store_is_one_sentence(monkeypatch, tmp_path, small_store, where, damage):
    damage(small_store("broken").folder)
    monkeypatch.setenv("GTP_STORE", str(tmp_path / "broken"))
    monkeypatch.setenv("GTP_WORKSPACE", str(tmp_path / "work"))
    assert is_one_sentence(open_page(where), "broken")


@pytest.mark.parametrize("where", DECIDING)
def test_a_store_without_tasks_is_one_sentence(monkeypatch, tmp_path, small_store, where):
    monkeypatch.setenv("GTP_STORE", str(small_store(tasks={}).folder))
    monkeypatch.setenv("GTP_WORKSPACE", str(tmp_path / "work"))
    assert is_one_sentence(open_page(where), "no validation task")


def test_the_store_page_shows_a_store_without_tasks(monkeypatch, tmp_path, small_store):
    monkeypatch.setenv("GTP_STORE", str(small_store(tasks={}).folder))
    monkeypatch.setenv("GTP_WORKSPACE", str(tmp_path / "work"))
    app = open_page("home")
    assert not app.error
    assert "No validation task" in plain(" ".join(m.value for m in app.markdown))


@pytest.mark.parametrize("where", DECIDING)
def test_a_task_without_examples_is_one_sentence_and_another_can_be_chosen(opened, where):
    app = opened(where)
    app.selectbox(key="task").set_value("none").run()
    assert not app.exception
    assert is_one_sentence(app, "none", "examples")
    app.selectbox(key="task").set_value("dates").run()
    assert not app.exception
    assert not app.error


@pytest.mark.parametrize("where", DECIDING)
def test_a_task_of_one_example_says_what_it_cannot_know(opened, where):
    app = opened(where, task="one")
    assert not app.error
    if where == "overview":
        assert metrics(app)["Held-out match"] == "not known"
        assert "single usable validation example" in plain(app.warning[0].value)


def press_open(app, path) -> None:
    app.text_input[0].set_value(str(path))
    next(b for b in app.button if b.label == "Open").click().run()


def test_the_store_page_opens_another_store(monkeypatch, tmp_path, place):
    monkeypatch.setenv("GTP_STORE", str(tmp_path / "nowhere"))
    monkeypatch.setenv("GTP_WORKSPACE", str(place / "work"))
    app = open_page("home")
    assert is_one_sentence(app, "nowhere")
    press_open(app, tmp_path / "nor here")
    assert not app.exception
    assert "nor here" in errors(app)[0]
    press_open(app, place / "store")
    assert not app.exception
    assert not app.error
    assert len(app.dataframe) >= 3


@pytest.mark.parametrize("path", ["", "a\0b", "x" * 300, "/etc/passwd", "<script>"])
def test_a_wrong_path_is_one_sentence(opened, path):
    app = opened("home")
    press_open(app, path)
    assert not app.exception
    assert is_one_sentence(app)


# --- hostile texts ---------------------------------------------------------------------------


@pytest.mark.parametrize("where", TITLES)
def test_hostile_texts_are_shown_and_never_interpreted(opened, where):
    app = opened(where)
    if where == "export":
        next(b for b in app.button if "Save run" in b.label).click().run()
    spoken = [*app.markdown, *app.caption, *app.warning, *app.error, *app.title, *app.subheader]
    said = [element.value for element in spoken]
    said += [metric.label + metric.value + metric.delta for metric in app.metric]
    said += [b.proto.label for b in (*app.button, *app.get("download_button"))]
    for figure in figures(app):
        figure["layout"].pop("template", None)
        said.append(json.dumps(figure).replace("<extra></extra>", ""))
    for text in said:
        assert "<b>" not in text
        assert "http://evil.example)" not in text or '"' in text  # figures know no Markdown
        assert not re.search(r"(?<!\\):red\[", text) or '"' in text


def test_hostile_texts_reach_the_table_as_they_are(opened):
    table = opened("budget_lab", budget="12").dataframe[0].value
    assert set(table["source"]) <= set(HOSTILE)
    assert all(text.startswith(tuple(HOSTILE)) for text in table["prompt"])


# --- the bundled demo ------------------------------------------------------------------------


@pytest.fixture
def demo(monkeypatch, tmp_path_factory):
    """The demo, with a workspace of its own; a path that is not shipped is not waited for."""
    from pages import _neighbors, _view

    monkeypatch.delenv("GTP_STORE", raising=False)
    monkeypatch.setenv("GTP_WORKSPACE", str(tmp_path_factory.getbasetemp() / "demo-work"))
    for page in (_view, _neighbors):
        monkeypatch.setattr(page, "_SMALL_POOL", 0)
    return open_page


def test_what_was_set_on_one_page_is_set_on_the_next(opened):
    """The menu drops it from the address; the app must not fall back to its defaults."""
    told = {"task": "dates", "budget": "9", "ridge": "3.0", "direction": "kept"}
    for where in DECIDING[1:]:
        app = opened("overview", **told)
        app.query_params.clear()
        app.switch_page(f"pages/{where}.py").run()
        assert app.selectbox(key="task").value == "dates"
        assert app.select_slider(key="budget").value == 9
        assert app.select_slider(key="ridge").value == 3.0
        assert app.get_by_key("direction").value == "kept"


@pytest.mark.parametrize("where", TITLES)
def test_the_demo_opens_on_every_page(demo, where):
    app = demo(where)
    assert [title.value for title in app.title] == [TITLES[where]]
    assert not app.error
    assert not list((DEMO / "runs").glob("*"))
    if where == "overview":
        assert len(app.metric) == 5
        assert len(app.get("plotly_chart")) >= 3


def test_caps_and_training_without_weights_are_what_the_core_chooses(opened, core):
    app = opened("overview", trained="uniform", cap="5", exact="12")
    problem = pose(core, "maths", caps={"source": 5})
    chosen = select(problem, 12, settings=Settings(weights="uniform"))
    shown = metrics(app)
    assert shown["Residual, as trained"] == f"{chosen.residual_as_trained:.3f}"
    assert shown["Residual, weighted"] == shown["Residual, as trained"]
    counts = np.bincount(problem.sources[chosen.support])
    assert counts.max() <= 5


@pytest.mark.parametrize("where", ["export", "overview"])
def test_the_figure_that_goes_ahead_is_gone_when_the_page_stops(opened, where):
    app = opened(where, exact="abc" if where == "overview" else "12")
    assert [chart.proto.id for chart in app.get("plotly_chart") if "first" in chart.proto.id] == []


def test_auto_and_subtasks_are_what_the_core_chooses(opened, core):
    app = opened("overview", auto="auto", subtasks="each", exact="6")
    problem = pose(core, "maths")
    found = tuned(problem, 6, method="gtp", settings=Settings(subtasks="each"))
    assert found.settings.ridge != Settings.ridge, "the default was chosen: nothing is tested"
    chosen = select(problem, 6, settings=found.settings)
    shown = metrics(app)
    assert shown["Residual, weighted"] == f"{chosen.residual_weighted:.3f}"
    assert shown["Held-out match"] == f"{found.held.match:.3f}"
    said = "".join(caption.value for caption in app.caption).replace("\\", "")
    assert auto_sentence(found.scores, vars(found.settings)) in said
    assert any("Prepare the budget path" in button.label for button in app.button)


def test_alike_is_what_the_core_chooses(opened, core):
    app = opened("overview", auto="alike", exact="6")
    found = as_alike(pose(core, "maths"), 6, method="gtp", settings=Settings())
    assert metrics(app)["Held-out match"] == f"{found.held.match:.3f}"
    said = "".join(caption.value for caption in app.caption).replace("\\", "")
    assert auto_sentence(found.scores, vars(found.settings)) in said


def test_a_list_is_compared_beside_gtp_and_top_k(opened, core):
    app = opened("budget_lab", budget="9")
    problem = pose(core, "maths")
    ids = [f"id-{row:04d}" for row in (4, 2, 60)]
    app.get_by_key("ids").set_value("\n".join(ids)).run()
    rows = app.dataframe[-1].value.set_index("selection")
    listed = given(core, problem, ids)
    assert list(rows.index) == ["your list", "GTP", "top-k"]
    assert rows.loc["your list", "residual, as trained"] == listed.residual_as_trained
    held = held_out(problem, 9, method="gtp", settings=Settings())
    assert rows.loc["GTP", "held-out match"] == pytest.approx(held.match)
    assert rows.loc["your list", "ceiling"] == pytest.approx(held.ceiling)
    total = problem.atoms.rows(listed.support).astype(float).sum(axis=0)
    match = np.mean([cosine(total, split.rest) for split in problem.splits])
    assert rows.loc["your list", "held-out match"] == pytest.approx(match)
    (button,) = [b for b in app.button if b.label == "Save the list as a run"]
    button.click().run()
    run = next(plain(c.value) for c in app.caption if c.value.startswith("Saved as"))
    assert run[len("Saved as ") : -1] in core.list_runs()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<b>x</b>\n[y](http://evil.example)", "<b>x</b>"),
        ("id-0004\nid-0004", "twice"),
        ('{"sample_id": "id-0004"}\nid-0005', "line 2"),
        ('{"sample_ids": 7}', "no list of texts"),
        ("id-0004\n" + "[" * 5000, "not in this store"),
        ("id-0007", "no usable gradient"),
    ],
)
def test_a_list_that_is_none_is_refused_in_one_sentence(opened, text, words):
    app = opened("budget_lab", budget="9")
    app.get_by_key("ids").set_value(text).run()
    assert not app.exception
    (error,) = errors(app)
    assert words in error
    assert "\n" not in error
