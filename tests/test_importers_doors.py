"""Promises of the two doors: the form on the Store page, and the way back to LESS's own files."""

import json
import shutil
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import streamlit as st
from foreign import make_less
from test_app import _through_the_app, open_page, plain  # noqa: F401
from test_importers import assert_is, left_behind

from benchmarks import importing
from gtp_core.atoms import pose
from gtp_core.catalog import open_catalog
from gtp_core.export import export_run
from gtp_core.importers import import_store, survey
from gtp_core.methods import select
from gtp_core.report import save
from gtp_core.store import open_store


def less_files(folder: Path, scores, names: list[str], budget: float) -> Path:
    """What LESS's write_selected_data.py writes of scores, training files in order."""
    folder.mkdir()
    lines = {name: (folder.parent / f"{name}.jsonl").read_text("utf-8") for name in names}
    table = [(name, i) for name in names for i in range(len(lines[name].split("\n")) - 1)]
    order = sorted(range(len(table)), key=lambda at: -scores[at])
    with open(folder / "sorted.csv", "w", encoding="utf-8") as file:
        file.write("file name, index, score\n")
        for at in order:
            file.write(f"{table[at][0]}, {table[at][1]}, {round(float(scores[at]), 6)}\n")
    count = int(budget * len(table))
    with open(folder / f"top_p{budget}.jsonl", "w", encoding="utf-8") as file:
        for at in order[:count]:
            name, index = table[at]
            file.write(lines[name].split("\n")[index] + "\n")
    return folder


@pytest.fixture
def imported(tmp_path):
    """A catalog over an imported LESS store, and its source."""
    source = make_less(tmp_path)
    store = import_store(survey("less", source.folder, source.asked), tmp_path / "store")
    with closing(open_catalog(store)) as catalog:
        yield catalog, source


def test_top_k_leaves_as_less_would_have_written_it(imported, tmp_path):
    catalog, _ = imported
    problem = pose(catalog, "tydiqa")
    run = save(catalog, problem, select(problem, "20%", method="top-k"), None)
    export_run(catalog, run["run"], tmp_path / "mine", file_format="less")
    scores = catalog.influence("tydiqa").astype(float)
    theirs = less_files(tmp_path / "theirs", scores, ["alpha", "beta"], 0.2)
    assert left_behind(tmp_path / "mine") == ["sorted.csv", "top_p0.2.jsonl"]
    for name in left_behind(theirs):
        assert (tmp_path / "mine" / name).read_bytes() == (theirs / name).read_bytes()


def test_gtp_leaves_with_the_chosen_first_and_every_line_named(imported, tmp_path):
    catalog, source = imported
    problem = pose(catalog, "tydiqa")
    selection = select(problem, 5)
    run = save(catalog, problem, selection, None)
    export_run(catalog, run["run"], tmp_path / "mine", file_format="less")
    rows = (tmp_path / "mine" / "sorted.csv").read_text().split("\n")[1:-1]
    first = {"alpha": 0, "beta": 11}
    named = [first[row.split(", ")[0]] + int(row.split(", ")[1]) for row in rows]
    assert named[: len(selection.support)] == selection.support.tolist()
    assert sorted(named) == list(range(20))
    scores = [float(row.split(", ")[2]) for row in rows]
    assert scores[: len(selection.support)] == pytest.approx(selection.weights, abs=1e-6)
    assert not any(scores[len(selection.support) :])
    lines = [
        line
        for path in source.asked.samples
        for line in Path(path).read_text("utf-8").split("\n")
        if line
    ]
    top = tmp_path / "mine" / f"top_num{len(selection.support)}.jsonl"
    told = top.read_text("utf-8").split("\n")[:-1]
    assert told == [lines[row] for row in selection.support]


# --- the form ----------------------------------------------------------------------------------


def typed(app, source, out):
    app.toggle(key="import").set_value(True).run()
    app.selectbox(key="import-format").set_value("less")
    app.text_input(key="import-source").set_value(str(source.folder))
    app.text_input(key="import-out").set_value(str(out))
    app.text_area(key="import-samples").set_value("\n".join(source.asked.samples))
    app.text_input(key="import-checkpoints").set_value(source.asked.checkpoints)
    return look(app)


def look(app):
    (button,) = [b for b in app.button if b.label == "Look, and write nothing"]
    return button.click().run()


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A store that is open already, so that nothing is written into the demo."""
    source = make_less(tmp_path / "from")
    store = import_store(survey("less", source.folder, source.asked), tmp_path / "open")
    monkeypatch.setenv("GTP_STORE", str(store.folder))
    monkeypatch.setenv("GTP_WORKSPACE", str(tmp_path / "work"))
    st.cache_resource.clear()
    yield source
    st.cache_resource.clear()


def test_the_form_shows_what_it_found_before_it_writes_and_opens_what_it_wrote(place, tmp_path):
    app = typed(open_page("home"), place, tmp_path / "made" / "store")
    assert not app.exception
    shown = plain(" ".join(m.value for m in app.markdown))
    assert "20 samples (alpha 11, beta 9) x 3 checkpoints" in shown
    assert "nobody says: model (--model)" in shown
    assert not (tmp_path / "made").exists()
    app.button(key="import-write").click().run()
    assert not app.exception
    assert_is(open_store(tmp_path / "made" / "store"), place)
    assert str(tmp_path / "made" / "store") in app.query_params["store"]


def test_the_form_says_in_one_sentence_what_is_wrong_and_the_page_goes_on(place, tmp_path):
    app = open_page("home")
    shutil.rmtree(place.folder / "grads" / "tydiqa-ckpt30-sgd")
    app = typed(app, place, tmp_path / "made")
    assert not app.exception
    assert "has no folder at step 30" in plain(app.error[0].value)
    assert not [b for b in app.button if b.key == "import-write"]
    assert any(s.value == "Health" for s in app.subheader)
    app.text_input(key="import-dim").set_value("many")
    app = look(app)
    assert "whole number" in plain(app.error[0].value)
    assert json.dumps(left_behind(tmp_path)) == json.dumps(["from", "open", "work"])


# --- the benchmark -----------------------------------------------------------------------------


def test_the_benchmark_tells_scores_that_agree_from_scores_that_do_not():
    told = np.linspace(1, 0, 50)
    near = told + np.random.default_rng(0).uniform(-1e-5, 1e-5, 50)
    assert importing.distance(near, told)["difference"] < 1.1e-5
    assert importing.distance(near, told)["first_20"] == 1
    matrix = np.stack([told, told], axis=1)
    wrong = matrix.copy()
    wrong[:, 1] = told[::-1]
    assert importing.distance(matrix, matrix)["rank_correlation"] == pytest.approx(1)
    assert importing.distance(wrong, matrix)["rank_correlation"] == pytest.approx(-1)


def test_the_benchmark_imports_what_it_made_and_measures_it(tmp_path):
    rows = importing.make_source(tmp_path / "source", 0.005)
    seconds, peak = importing.timed_import(tmp_path / "source", tmp_path / "store")
    assert open_store(tmp_path / "store").n_samples == rows == 76
    assert 0 < seconds < 100
    assert 50 < peak < 1024
