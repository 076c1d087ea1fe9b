"""Promises of a large pool without a prepared path: a job chooses, and no page stands still."""

import os
import re
import signal
import time
from contextlib import closing
from dataclasses import replace

import psutil
import pytest
import test_app
from conftest import build_store
from streamlit.testing.v1 import AppTest
from test_app import captions, metrics, open_page, plain

from gtp_core import jobs
from gtp_core.atoms import pose
from gtp_core.catalog import open_catalog
from gtp_core.methods import Settings, select
from gtp_core.report import as_alike, auto_sentence, choose, prepare_path, saved_choice
from gtp_core.store import write_json

_nothing_cached, _through_the_app = test_app._nothing_cached, test_app._through_the_app
START, WHOLE = "Choose the samples", "Prepare the budget path"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    tasks = {"maths": {"sums": 4, "proofs": 2}}
    return build_store(
        tmp_path_factory.mktemp("long") / "store", n=120, part_rows=(50, 70), tasks=tasks
    )


@pytest.fixture
def core(store, tmp_path):
    """The catalog in a workspace where nothing was chosen yet."""
    with closing(open_catalog(store, workspace=tmp_path)) as catalog:
        yield catalog
        for name in names(catalog):
            jobs.cancel(catalog.workspace, name)


@pytest.fixture
def as_it_is(core, tmp_path, monkeypatch):
    """`as_it_is(page, **query)`: the app on the small store."""
    monkeypatch.setenv("GTP_STORE", str(core.store.folder))
    monkeypatch.setenv("GTP_WORKSPACE", str(tmp_path))
    return open_page


@pytest.fixture
def opened(as_it_is, monkeypatch):
    """`opened(page, **query)`: the same as if the store were a large one."""
    from pages import _view

    monkeypatch.setattr(_view, "_WAITED_FOR", 0)
    monkeypatch.setattr(_view, "_SMALL_POOL", 0)
    return as_it_is


@pytest.fixture
def held(monkeypatch):
    """Every job stands still from its start on, so that the page can be looked at meanwhile."""
    real = jobs.start

    def start(*told):
        job = real(*told)
        os.kill(job.pid, signal.SIGSTOP)
        return job

    monkeypatch.setattr(jobs, "start", start)


def names(catalog) -> list[str]:
    found = (catalog.workspace / "jobs").glob("*.json")
    return sorted(path.stem for path in found)


def only_job(catalog) -> str:
    (name,) = names(catalog)
    return name


def ended(catalog, name) -> jobs.Job:
    until = time.monotonic() + 60
    while (job := jobs.look(catalog.workspace, name)).state in ("running", "starting"):
        assert time.monotonic() < until
        time.sleep(0.05)
    return job


def button(app: AppTest, label: str):
    (found,) = [one for one in app.button if one.label == label]
    return found


def labels(app: AppTest) -> list[str]:
    return [one.label for one in app.button]


def test_the_page_says_at_once_what_is_being_worked_out_and_a_reload_finds_it(opened, core, held):
    app = opened("overview")
    assert not app.exception
    assert not app.error
    assert "being chosen** among 120" in app.markdown[0].value
    assert "Cancel" in labels(app)
    assert app.select_slider(key="budget").value == 6, "the header is there"
    assert "120 samples" in captions(app)
    assert not app.metric
    job = jobs.look(core.workspace, only_job(core))
    again = opened("budget_lab")
    assert "Cancel" in labels(again)
    assert not again.metric
    assert jobs.look(core.workspace, only_job(core)).pid == job.pid


def test_every_round_has_its_line_while_it_works(opened, core, held):
    app = opened("overview")
    file = core.workspace / "jobs" / f"{only_job(core)}.json"
    told = ["GTP, round 2: residual 0.512 after 7 s", "GTP, round 1: residual 0.731 after 4 s"]
    job = jobs.look(core.workspace, only_job(core))
    write_json(file, vars(replace(job, done=0, total=0, what="\n".join(told))))
    app.run()
    assert not app.exception
    (status,) = app.get("status")
    assert re.fullmatch(r"The selection for a budget of 6: \d+ s so far", status.label)
    assert plain(status.markdown[0].value) == f"- {told[0]}\n- {told[1]}"


def test_a_cancel_stops_the_work_and_it_begins_again_when_asked(opened, core, held):
    app = opened("overview")
    name = only_job(core)
    worker = psutil.Process(jobs.look(core.workspace, name).pid)
    button(app, "Cancel").click().run()
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE
    app.run()
    assert not app.exception
    assert any("Cancelled." in info.value for info in app.info)
    assert {START, WHOLE} <= set(labels(app))
    assert jobs.look(core.workspace, name).state == "cancelled", "nobody asked for it again"
    assert START in labels(opened("overview"))
    button(app, START).click().run()
    assert "Cancel" in labels(app)
    assert jobs.look(core.workspace, name).state == "running"


def test_what_the_job_chose_is_what_solving_gives_and_is_kept(opened, core, monkeypatch):
    app = opened("overview", exact="8")
    job = ended(core, only_job(core))
    assert (job.state, job.message) == ("done", "")
    from pages import _view

    monkeypatch.setattr(_view, "choose", lambda *_, **__: pytest.fail("solved on the page"))
    app.run()
    problem = pose(core, "maths")
    for method in ("gtp", "top-k"):
        solved, held_out = choose(problem, "8", method=method, settings=Settings())
        kept, kept_held = saved_choice(core, problem, Settings(), "8", method)
        assert kept.support.tolist() == solved.support.tolist()
        assert kept.weights.tobytes() == solved.weights.tobytes()
        assert (kept.rounds, kept.stop, kept.settings) == (
            solved.rounds,
            solved.stop,
            solved.settings,
        )
        assert kept_held == held_out
        if method == "gtp":
            shown = f"{solved.residual_weighted:.3f}"
    for where in (app, opened("overview", exact="8")):
        assert not where.exception
        assert metrics(where)["Residual, weighted"] == shown
        assert "Cancel" not in labels(where)
    assert len(names(core)) == 1


def test_a_small_pool_has_no_job(as_it_is, core):
    app = as_it_is("overview", exact="8")
    assert len(app.metric) == 5
    assert not names(core)
    assert not (core.workspace / "choices").exists()


@pytest.mark.parametrize("typed", ["abc", "0", "5000%"])
def test_a_budget_that_is_none_begins_nothing(opened, core, typed):
    app = opened("overview", exact=typed)
    assert test_app.is_one_sentence(app, typed)
    assert not names(core)


def test_a_job_that_fails_shows_its_one_sentence(opened, core):
    app = opened("overview", exact="1tok")
    job = ended(core, only_job(core))
    assert job.state == "failed"
    app.run()
    assert not app.exception
    assert test_app.is_one_sentence(app, "1tok; the shortest sample")
    assert {START, WHOLE} <= set(labels(app))


def test_moving_the_slider_ends_what_nobody_waits_for_any_more(opened, core, held):
    app = opened("overview")
    first = only_job(core)
    app.select_slider(key="budget").set_value(9).run()
    assert not app.exception
    assert jobs.look(core.workspace, first).state == "cancelled"
    (second,) = set(names(core)) - {first}
    assert jobs.look(core.workspace, second).state == "running"


@pytest.mark.parametrize(
    ("where", "told"),
    [("export", {"export_method": "random"}), ("compare", {"b": "random"})],
)
def test_a_method_of_one_page_is_chosen_by_a_job_too(opened, core, where, told):
    app = opened(where, exact="8", **told)
    first = only_job(core)
    assert ended(core, first).state == "done"
    app.run()
    assert not app.exception
    (second,) = set(names(core)) - {first}
    assert ended(core, second).state == "done"
    app.run()
    assert not app.exception
    assert not app.error
    assert "Cancel" not in labels(app)
    assert START not in labels(app)


def test_the_ridge_of_a_rule_is_found_by_the_job(opened, core):
    app = opened("overview", exact="6", auto="alike")
    assert ended(core, only_job(core)).state == "done"
    app.run()
    assert not app.exception
    found = as_alike(pose(core, "maths"), "6", method="gtp", settings=Settings())
    said = captions(app).replace("\\", "")
    assert auto_sentence(found.scores, vars(found.settings)) in said
    assert len(names(core)) == 1


def test_an_estimate_is_shown_while_a_job_computes_the_exact_answer(opened, core, monkeypatch):
    from pages import _view

    prepare_path(core, pose(core, "maths"), Settings())
    monkeypatch.setattr(_view, "from_path", lambda *_: None)
    app = opened("budget_lab", exact="8")
    assert "An estimate between" in captions(app)
    assert not names(core)
    button(app, "Compute exactly").click().run()
    assert "An estimate between" in captions(app)
    assert app.metric, "the page stays"
    assert ended(core, only_job(core)).state == "done"
    app.run()
    assert "An estimate between" not in captions(app)
    solved = select(pose(core, "maths"), "8")
    assert metrics(app)["GTP residual"] == f"{solved.residual_weighted:.3f}"


def test_a_page_that_waits_with_edits_is_given_what_it_asked_for(opened, core):
    """Samples goes on with the pins and bans of its arrival; the edit log is newer."""
    app = opened("samples", exact="8")
    first = only_job(core)
    assert ended(core, first).state == "done"
    app.run()
    chosen = select(pose(core, "maths"), "9").support
    core.edit("ban", who="me", sample_id=core.sample_ids()[int(chosen[0])])
    app.text_input(key="exact").set_value("9").run()
    (second,) = set(names(core)) - {first}
    assert ended(core, second).state == "done"
    app.run()
    assert not app.exception
    assert START not in labels(app)
    kept, _ = saved_choice(core, pose(core, "maths"), Settings(), "9", "gtp")
    assert kept.support.tolist() == chosen.tolist()


def test_solving_again_on_why_leaves_compute_exactly_alone(as_it_is, core, monkeypatch):
    """Both remembered what was asked under the same name, and the second one failed."""
    from pages import _view

    monkeypatch.setattr(_view, "_SMALL_POOL", 0)
    prepare_path(core, pose(core, "maths"), Settings())
    monkeypatch.setattr(_view, "from_path", lambda *_: None)
    row = int(select(pose(core, "maths"), "8").support[0])
    app = as_it_is("why", exact="8", id=core.sample_ids()[row])
    app.session_state["tab"] = "If I…"
    app.run()
    app.button(key="solve-again").click().run()
    assert not app.exception
    button(app, "Compute exactly").click().run()
    assert not app.exception
    assert "An estimate between" not in captions(app)
