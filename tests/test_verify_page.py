"""Promises of the page Verify: what it shows is what was trained, in every state of the work."""

import shutil
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
import test_app
import test_verify
from conftest import build_store
from test_app import captions, figures, numbers, open_page, plain
from test_verify import ROOT, sums, write_lines

from gtp_core import jobs
from gtp_core.atoms import pose
from gtp_core.catalog import open_catalog
from gtp_core.methods import Settings, select
from gtp_core.report import choose, save
from gtp_core.verify import Asked, answer, names_of, shown_table, verifications, verify
from gtp_core.verify.wishing import Kept, Wish

_nothing_cached, _through_the_app = test_app._nothing_cached, test_app._through_the_app
model_folder, store = test_verify.model_folder, test_verify.store
STEPS = 4
QUERY = {"task": "sums", "exact": "8", "steps": str(STEPS), "seeds": "2"}
TOLD = {"steps": STEPS, "seeds": 2, "threads": 1}


@pytest.fixture(scope="module")
def trained(store, tmp_path_factory):
    """A workspace with GTP and top-k of 8, chance draws and the whole pool, each trained twice."""
    workspace = tmp_path_factory.mktemp("trained")
    with closing(open_catalog(store, workspace=workspace)) as catalog:
        verify(catalog, Asked(runs=both(catalog), told=TOLD, random=True, full=True))
    return workspace


def both(catalog, budget="8"):
    """The runs that the page makes of its selections."""
    problem = pose(catalog, "sums")
    found = []
    for method in ("gtp", "top-k"):
        chosen, held = choose(problem, budget, method=method, settings=Settings())
        found.append(save(catalog, problem, chosen, held)["run"])
    return found


@pytest.fixture
def work(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "work")


@pytest.fixture
def opened(store, work, monkeypatch):
    """`opened(**query)`: the page on the small store with a workspace of the test's own."""
    monkeypatch.setenv("GTP_STORE", str(store))
    monkeypatch.setenv("GTP_WORKSPACE", str(work))
    return lambda **query: open_page("verify", **{**QUERY, **query})


@pytest.fixture
def core(store, work):
    with closing(open_catalog(store, workspace=work)) as catalog:
        yield catalog


def said(app):
    return plain("\n".join(text.value for text in app.markdown))


def warned(app):
    return plain(" ".join(text.value for text in app.warning))


def buttons(app):
    return [button.label for button in app.button]


def kept_of(catalog) -> Kept:
    (found,) = verifications(catalog, "sums")
    return found


# --- finished --------------------------------------------------------------------------------


def test_it_shows_sentences_and_numbers_of_what_was_trained(opened, core):
    app = opened()
    kept = kept_of(core)
    names = names_of(kept.trials)
    arms = [*both(core), "random-8", "full"]
    found = answer(kept.trials, arms, kept.plan["settings"], names=names)
    assert "All 8 models are trained and tested." in app.success[0].value
    assert not [label for label in buttons(app) if label.startswith("Train and test")]
    for sentence in found["sentences"]:
        assert sentence in said(app)
    assert len(found["sentences"]) == 6
    assert "than of GTP 8" in said(app)
    assert "4 steps (equal steps)" in said(app)
    assert "unweighted" in said(app)
    learning, loss, match = figures(app)
    lines = {t["name"]: numbers(t["y"]) for t in learning["data"] if t.get("name")}
    assert list(lines) == ["GTP 8", "top-k 8", "random 8", "the whole pool"]
    base = found["table"][0]["test_loss"]
    for row in found["table"][1:]:
        assert lines[row["arm"]][0] == pytest.approx(base)
        assert lines[row["arm"]][-1] == pytest.approx(row["test_loss"])
    wanted = [base - row["test_loss"] for row in found["table"][1:]]
    assert numbers(loss["data"][0]["x"]) == pytest.approx(wanted)
    half = [(row["test_loss_high"] - row["test_loss_low"]) / 2 for row in found["table"][1:]]
    assert numbers(loss["data"][0]["error_x"]["array"]) == pytest.approx(half)
    wanted = [row["exact_match"] for row in found["table"][1:]]
    assert numbers(match["data"][0]["x"]) == pytest.approx(wanted)
    shown = app.dataframe[0].value
    assert list(shown["test loss"]) == shown_table(found["table"])["test loss"].to_list()
    assert next(iter(shown["trained on"])) == "untrained"
    assert "From 5 subsets on" in captions(app)


def test_weights_dropped_and_samples_not_met_are_said(opened):
    notes = [plain(note.value) for note in opened().info]
    assert any(n.startswith("GTP 8: solved with weights and trained without") for n in notes)
    assert any(n.startswith("the whole pool: 4 steps come by 16 of its 24 samples") for n in notes)


def test_it_asks_the_files_and_not_the_page_that_made_them(opened, core):
    """A trial that is gone is asked for again."""
    kept = kept_of(core)
    path = core.workspace / "verify" / kept.key / "trials" / "full.seed-1.json"
    path.unlink()
    assert "Train and test 1 of 8 models" in buttons(opened())


def test_five_subsets_are_held_against_what_they_were_judged_by(opened, core):
    runs = [*both(core), both(core, "4")[0]]
    verify(core, Asked(runs=runs, told=TOLD, random=True))
    app = opened()
    kept = kept_of(core)
    settings = kept.plan["settings"]
    found = answer(kept.trials, both(core), settings, names=names_of(kept.trials))
    assert found["correlations"][0]["n"] == 5
    assert found["correlation_sentences"]
    for sentence in found["correlation_sentences"]:
        assert sentence in said(app)
    points = figures(app)[-1]["data"][0]
    arms = [arm for arm in kept_arms(kept) if arm != "full"]  # four steps come by some of it
    assert sorted(points["text"]) == sorted(names_of(kept.trials)[arm] for arm in arms)
    table = answer(kept.trials, arms, settings)["table"]
    wanted = sorted(row["test_loss"] for row in table if row["arm"] != "base")
    assert sorted(numbers(points["y"])) == pytest.approx(wanted)
    app.get_by_key("judge").set_value("residual_as_trained").run()
    assert "residual, as trained" in figures(app)[-1]["layout"]["title"]["text"]


def kept_arms(kept):
    return list(dict.fromkeys(t["arm"] for t in kept.trials if t["arm"] != "base"))


# --- stale, half-way, nothing ----------------------------------------------------------------


def test_what_was_trained_otherwise_is_said(opened):
    app = opened(steps="5")
    assert "trained otherwise" in warned(app)
    assert "steps 4 instead of 5" in warned(app)
    assert "Train and test 8 of 8 models" in buttons(app)
    assert len(figures(app)) == 3  # it is shown all the same
    assert "weighted loss 0 instead of 1" in warned(opened(weighted="True"))
    assert not opened().warning


def test_what_was_trained_before_can_be_looked_at_and_the_new_comes_first(opened, core):
    old = kept_of(core)
    verify(core, Asked(runs=both(core), told={**TOLD, "steps": 3, "seeds": 1}))
    app = opened(steps="3", seeds="1")
    assert not app.warning
    assert "3 steps (equal steps)" in said(app)
    app.get_by_key("trial").set_value(old.key).run()
    assert "steps 4 instead of 3" in warned(app)
    assert "4 steps (equal steps)" in said(app)
    assert old.title in app.get_by_key("trial").options


def test_a_run_of_another_seed_begins_with_its_own(opened, core):
    """The command takes the first run's seed, and so must what the page counts as done."""
    problem = pose(core, "sums")
    chosen = select(problem, 8, method="gtp", settings=Settings(seed=5))
    run = save(core, problem, chosen, None)["run"]
    assert run not in both(core)
    told = {**TOLD, "seeds": 1}
    verify(core, Asked(runs=[run, both(core)[1]], told=told))
    app = opened(arms=f"{run},top-k", seeds="1", random="False", full="False")
    assert "All 2 models are trained and tested." in app.success[0].value


def test_looking_loads_no_library_of_training():
    code = "import sys; from gtp_core.verify import Wish, answer, at_hand, verifications; "
    code += "print({'torch', 'transformers', 'peft'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


def test_other_test_examples_make_it_stale(opened, tmp_path):
    other = write_lines(tmp_path / "*other*.jsonl", sums(90, 3, "sums"))
    app = opened(test=str(other))
    assert "other test examples" in warned(app)
    assert str(other) in captions(app)


def test_a_new_budget_is_to_be_trained_and_the_rest_is_shown(opened):
    app = opened(exact="6")
    assert "Train and test 6 of 8 models" in buttons(app)  # the whole pool is there already
    assert not app.warning


def test_cut_off_half_way_it_shows_what_is_done(opened, core, work):
    shutil.rmtree(core.workspace / "verify")

    def third(done, total, what):
        if "(3 of" in what:
            raise KeyboardInterrupt

    verify(core, Asked(runs=both(core), told=TOLD, random=True, full=True), third)
    app = opened()
    assert "Train and test 7 of 8 models" in buttons(app)
    assert "not two yet" in captions(app)
    assert "GTP 8" in [t.get("name") for t in figures(app)[0]["data"]]


def test_nothing_trained_yet(opened, core):
    shutil.rmtree(core.workspace / "verify")
    for run in core.list_runs():
        core.delete_run(run)
    app = opened()
    assert "Train and test 8 of 8 models" in buttons(app)
    assert "Nothing was trained for this task yet" in app.info[0].value
    assert "No run is saved yet" in captions(app)
    assert not figures(app)
    assert core.list_runs() == []  # looking saves nothing


def test_without_test_examples_or_model_it_says_what_is_wanted(opened, tmp_path, monkeypatch):
    app = opened(task="more")
    assert "more.jsonl is not there" in warned(app)
    assert not [label for label in buttons(app) if label.startswith("Train and test")]
    assert "no folder here; wanted the model" in warned(opened(model="/no/*such*/folder"))
    store = build_store(tmp_path / "imported", tasks={"maths": {"": 4}})
    monkeypatch.setenv("GTP_STORE", str(store.folder))
    app = opened(task="maths")
    assert "learning_rate is 2.0" in warned(app)  # its largest step size is none
    app = opened(task="maths", rate="1e-3", test=str(write_lines(tmp_path / "t.jsonl", [])))
    assert "'nobody/toy' is no folder here" in warned(app)
    assert "A learning rate is a number" in warned(opened(task="maths", rate="fast"))


def test_a_task_whose_examples_have_no_answers_has_no_exact_match(opened, core, tmp_path):
    rows = [{**row, "completion": "a long story " * 6} for row in sums(80, 3, "sums")]
    path = write_lines(tmp_path / "test.jsonl", rows)
    told = {**TOLD, "seeds": 1, "max_tokens": 90}
    verify(core, Asked(runs=both(core), test=path, told=told))
    key = next(one.key for one in verifications(core, "sums") if one.plan["n_test"] == 3)
    app = opened(trial=key)
    assert len(figures(app)) == 2
    assert "exact match" not in app.dataframe[0].value.columns


# --- the work --------------------------------------------------------------------------------


def test_it_starts_tells_how_far_it_is_and_can_be_cancelled(opened, core):
    app = opened(steps="30000", seeds="1")
    app.get_by_key("start-verify-sums").click().run()
    try:
        assert "Cancel" in buttons(app)
        assert "Weighted loss" in [toggle.label for toggle in app.toggle]
        end = time.monotonic() + 60
        while "trials)" not in (job := jobs.look(core.workspace, "verify-sums")).what:
            assert job.state == "running", job
            assert time.monotonic() < end
            time.sleep(0.1)
        assert job.what.endswith("left")
        assert set(both(core)) <= set(core.list_runs())
    finally:
        jobs.cancel(core.workspace, "verify-sums")
    app = opened(steps="30000", seeds="1")
    assert "Cancelled. Every model that was done is kept" in app.info[0].value
    assert "Train and test 4 of 4 models" in buttons(app)


def test_a_link_restores_what_is_asked(opened, core):
    run = both(core, "4")[1]
    app = opened(arms=f"gtp,{run}", equal="epochs", epochs="2", full="False", asks="3")
    assert app.get_by_key("arms-box").value == ["gtp", run]
    assert app.get_by_key("epochs").value == 2
    assert not app.get_by_key("full").value
    assert f"{run} --epochs 2 --seeds 2 --max-test 3 --random" in captions(app)
    assert "Train and test 8 of 8 models" in buttons(app)  # two runs, draws of 4 and of 8


def test_a_wish_is_what_the_command_line_trains(store, core):
    """Every trial of the arguments, and none besides, is one that the wish counts."""
    import argparse

    from gtp_core.cli.verifying import verify_arguments, verify_runs

    problem = pose(core, "sums")
    run = save(core, problem, select(problem, 5, method="top-k", settings=Settings()), None)["run"]
    wish = Wish(
        "sums", {run: 5}, {"steps": 2, "seeds": 2, "max_test": 2, "weighted": 1}, full=False
    )
    parser = argparse.ArgumentParser()
    verify_arguments(parser)
    words = [str(store), "--workspace", str(core.workspace.parent), *wish.arguments()]
    found, _ = verify_runs(parser.parse_args([*words, "--threads", "1"]))
    kept = next(one for one in verifications(core, "sums") if one.key == found["key"])
    assert {(t["arm"], t["seed"]) for t in kept.trials} == {*wish.trials(core.store), ("base", 0)}
    assert wish.to_do(core.store, kept) == 0
    assert wish.differences(core.store, kept) == []
    assert Path(found["folder"]).name == kept.key
