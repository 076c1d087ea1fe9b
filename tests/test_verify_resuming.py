"""Promises of a trial that is cut off: it goes on between two steps, to the same bytes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import test_verify
from safetensors.torch import load_file, save_file
from test_verify import ROOT, asked, trials_in

from gtp_core.atoms import pose
from gtp_core.catalog import open_catalog
from gtp_core.errors import CancelledError, CatalogError, RunError
from gtp_core.methods import Settings
from gtp_core.report import choose, given
from gtp_core.verify import verify
from gtp_core.verify.pace import Pace
from gtp_core.verify.resuming import standing
from gtp_core.verify.settings import VerifySettings
from gtp_core.verify.steps import places_in_order, places_met, samples_left, samples_seen

model_folder, store, runs, fresh = (
    test_verify.model_folder,
    test_verify.store,
    test_verify.runs,
    test_verify.fresh,
)
LONG = {"seeds": 1, "steps": 150, "points": 3, "dropout": 0.3}


@pytest.fixture
def elsewhere(store, runs, tmp_path):
    """Another catalog with the same runs, in a workspace of its own."""
    shutil.copytree(runs[0], tmp_path / "other")
    with closing(open_catalog(store, workspace=tmp_path / "other")) as catalog:
        yield catalog


@pytest.fixture
def started(store, runs, fresh, model_folder, tmp_path):
    """`started(**told)`: the command in a process of its own, and the folder it works in."""
    processes = []

    def start(**told):
        words = ["verify", str(store), runs[1][0], "--workspace", str(tmp_path / "work")]
        words += ["--model", str(model_folder), "--max-new-tokens", "4", "--threads", "1"]
        for name, value in told.items():
            words += [f"--{name.replace('_', '-')}", str(value)]
        command = [sys.executable, "-m", "gtp_core", *words]
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        processes.append(process)
        return process, fresh.workspace / "verify"

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_for(process, folder, pattern):
    end = time.monotonic() + 120
    while not (found := list(folder.glob(pattern))):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.002)
    return found[0]


# --- the same bytes --------------------------------------------------------------------------


def test_killed_within_a_trial_it_goes_on_there_to_the_same_bytes(
    started, runs, fresh, elsewhere, model_folder
):
    process, folder = started(**LONG, save_seconds=0)
    part = wait_for(process, folder, "*/parts/*.safetensors")
    process.send_signal(signal.SIGKILL)
    process.wait()
    (folder,) = folder.iterdir()
    step = saved_step(part)
    assert 0 < step < 150
    assert list(trials_in(folder)) == ["base.json"]
    assert fresh.query("SELECT arm FROM trials")["arm"].to_list() == ["base"]
    calls = []
    found = verify(fresh, asked(runs[1][:1], model_folder, told=LONG), lambda *c: calls.append(c))
    assert Path(found["folder"]) == folder
    assert not list(folder.glob("parts/*"))
    whole_calls = []
    whole = verify(
        elsewhere, asked(runs[1][:1], model_folder, told=LONG), lambda *c: whole_calls.append(c)
    )
    assert trials_in(folder) == trials_in(whole["folder"])
    assert len(calls) < len(whole_calls) - step  # those steps and the untrained model not again
    assert fresh.query("SELECT count(*) FROM trials").item() == 2


def cut_at(word):
    """A progress that interrupts at its so many-th word."""
    words = []

    def told(*say):
        words.append(say)
        if len(words) == word:
            raise KeyboardInterrupt

    return told


def saved_step(part):
    with open(part, "rb") as file:
        head = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    subset = json.loads(head["__metadata__"]["told"])["subset"]
    assert standing(part, "another subset") == 0
    return standing(part, subset)


def test_cut_off_over_and_over_it_ends_with_the_same_bytes(fresh, elsewhere, runs, model_folder):
    """After every fourth word it says: between steps, while points are taken, while it answers."""
    told = {**LONG, "steps": 30, "points": 4, "max_batch_tokens": 120}
    again = asked(runs[1][:1], model_folder, told=told)
    cuts = 0
    for _ in range(100):
        try:
            found = verify(fresh, again, cut_at(4))
        except CancelledError:
            cuts += 1
            continue
        if not found["cancelled"]:
            break
        cuts += 1
    assert cuts > 8
    assert trials_in(found["folder"]) == trials_in(verify(elsewhere, again)["folder"])


def test_cut_off_at_any_word_it_ends_with_the_same_bytes(fresh, elsewhere, runs, model_folder):
    one = asked(runs[1][:1], model_folder, told={**LONG, "steps": 4, "points": 2})
    calls = []
    whole = trials_in(verify(elsewhere, one, lambda *say: calls.append(say))["folder"])
    assert len(calls) == 9  # untrained: asked, answers; then 4 steps, 2 points, answers
    for cut in range(3, 10):
        folder = Path(verify(fresh, one, cut_at(cut))["folder"])
        assert len(list(folder.glob("parts/*"))) == 1
        verify(fresh, one)
        assert trials_in(folder) == whole, cut
        shutil.rmtree(folder)


@pytest.mark.parametrize("damage", ["truncated", "another subset", "another rank"])
def test_what_cannot_be_gone_on_from_is_begun_anew(fresh, elsewhere, runs, model_folder, damage):
    told = {**LONG, "steps": 12}

    def in_the_middle(done, total, what):
        if "gtp" in what and done > 40:
            raise KeyboardInterrupt

    one = asked(runs[1][:1], model_folder, told=told)
    folder = Path(verify(fresh, one, in_the_middle)["folder"])
    (part,) = folder.glob("parts/*")
    assert saved_step(part) > 0
    if damage == "truncated":
        part.write_bytes(part.read_bytes()[:-100])
    elif damage == "another subset":
        told_of = {"subset": "another", "step": 5, "losses": [], "curve": [], "seconds": 0}
        save_file(load_file(part), part, metadata={"told": json.dumps(told_of)})
    else:
        other = asked(runs[1][:1], model_folder, told={**told, "rank": 3})
        theirs = Path(verify(elsewhere, other, in_the_middle)["folder"])
        (its,) = theirs.glob("parts/*")
        part.write_bytes(its.read_bytes())
    verify(fresh, one)
    assert trials_in(folder) == trials_in(verify(elsewhere, one)["folder"])


def test_a_cancel_ends_it_between_two_steps_and_saves_them(started, fresh):
    process, folder = started(seeds=1, steps=30_000, save_seconds=600)
    wait_for(process, folder, "*/trials/base.json")
    time.sleep(0.3)
    assert not list(folder.glob("*/parts/*"))
    process.send_signal(signal.SIGTERM)  # what cancelling a job sends
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert b"Cancelled: 1 of 2 trials are done" in out
    part = wait_for(process, folder, "*/parts/*.safetensors")
    assert saved_step(part) > 0
    assert fresh.query("SELECT count(*) FROM trials").item() == 1


def test_two_at_once_do_not_do_the_same(fresh, runs, model_folder):
    one, told = asked(runs[1][:1], model_folder), []

    def meanwhile(*say):
        if not told:
            told.append(say)
            with pytest.raises(RunError, match="another process is at the trials"):
                verify(fresh, one)

    found = verify(fresh, one, meanwhile)
    assert told
    assert [row["trials"] for row in found["table"]] == [1, 2]
    verify(fresh, one)  # nobody holds it any more


# --- the tables ------------------------------------------------------------------------------


def test_trials_and_curves_are_tables_that_sql_may_ask(fresh, runs, model_folder):
    one, other, _ = runs[1]
    assert fresh.ask("SELECT * FROM trials").height == 0
    found = verify(fresh, asked([one, other], model_folder, random=True, full=True))
    table = fresh.ask(
        "SELECT arm, method, budget, avg(test_loss) AS loss, count(*) AS n FROM trials"
        " WHERE verification = $1 GROUP BY ALL",
        params=[found["key"]],
    )
    rows = {row["arm"]: row for row in table.iter_rows(named=True)}
    for row in found["table"]:
        assert rows[row["arm"]]["loss"] == pytest.approx(row["test_loss"])
        assert rows[row["arm"]]["n"] == row["trials"]
    assert rows[one]["method"] == "gtp"
    assert rows[one]["budget"] == "8"
    joined = "SELECT t.held_out_match AS a, r.held_out_match AS b, t.residual_weighted AS c,"
    joined += " r.residual_weighted AS d FROM trials t JOIN runs r USING (run)"
    for a, b, c, d in fresh.ask(joined).iter_rows():
        assert (a, c) == (b, d)
    last = "SELECT arg_max(c.test_loss, c.step) AS a, any_value(t.test_loss) AS b"
    last += " FROM trial_curves c JOIN trials t USING (verification, arm, seed) GROUP BY arm, seed"
    curves = fresh.ask(last)
    assert curves.height == 8
    assert curves["a"].to_list() == curves["b"].to_list()
    with pytest.raises(CatalogError):
        fresh.ask("DELETE FROM trials")


def test_a_damaged_trial_is_no_row_and_a_new_one_is_seen_at_once(fresh, runs, model_folder):
    found = verify(fresh, asked(runs[1][:1], model_folder))
    folder = Path(found["folder"])
    path = folder / "trials" / f"{runs[1][0]}.seed-0.json"
    text = path.read_text("utf-8")
    path.write_text(text[:50], "utf-8")
    assert fresh.query("SELECT count(*) FROM trials").item() == 2
    path.write_text('{"arm": "x", "seed": "no number", "curve": 3}', "utf-8")
    assert fresh.query("SELECT count(*) FROM runs").item() == 3  # the others are as they were
    path.write_text(text, "utf-8")
    assert fresh.query("SELECT count(*) FROM trials").item() == 3
    (folder / "plan.json").write_text("{", "utf-8")
    path.touch()
    assert fresh.query("SELECT count(*) FROM trials").item() == 0


def test_every_arm_is_judged_as_it_would_be_alone(fresh, runs, model_folder):
    found = verify(fresh, asked(runs[1][:1], model_folder, random=True, full=True))
    table = fresh.query("SELECT * FROM trials ORDER BY arm, seed")
    problem = pose(fresh, "sums")
    for seed in (0, 1):
        chosen, held = choose(problem, 8, method="random", settings=Settings(seed=seed))
        (row,) = table.filter(method="random", seed=seed).iter_rows(named=True)
        assert row["residual_as_trained"] == pytest.approx(chosen.residual_as_trained)
        assert row["held_out_match"] == pytest.approx(held.match)
    everything = given(fresh, problem, fresh.sample_ids().to_list())
    row = table.filter(method="full").row(0, named=True)
    assert row["residual_as_trained"] == pytest.approx(everything.residual_as_trained)
    assert row["residual_weighted"] == pytest.approx(everything.residual_weighted)
    assert table.filter(method="base")["held_out_match"].is_null().all()
    assert found["correlations"] == []  # three subsets are too few


def test_solved_with_weights_and_trained_without_is_said(fresh, runs, model_folder):
    one, other, _ = runs[1]
    plain = verify(fresh, asked([one, other], model_folder, told={"seeds": 1}))
    (note,) = [note for note in plain["notes"] if "solved with weights" in note]
    assert one in note
    assert other not in note  # top-k's are all alike
    weighted = verify(fresh, asked([one, other], model_folder, told={"seeds": 1, "weighted": 1}))
    assert not [note for note in weighted["notes"] if "solved with weights" in note]


# --- counting --------------------------------------------------------------------------------


@pytest.mark.parametrize("told", [{"steps": 3}, {"epochs": 2}])
def test_only_samples_that_a_step_comes_by_are_read(told):
    settings = VerifySettings(batch_size=4, **told)
    batches = places_in_order(50, 4, 7)
    steps = settings.steps or 26
    met = np.unique(np.concatenate([next(batches) for _ in range(steps)]))
    assert places_met(50, settings, 7).tolist() == met.tolist()
    assert len(met) == (50 if "epochs" in told else len(met)) <= 4 * steps


def test_samples_left_are_those_of_the_steps_that_follow():
    settings = VerifySettings(batch_size=4, epochs=2)
    batches = places_in_order(10, 4, 0)
    sizes = [len(next(batches)) for _ in range(6)]
    for step in range(7):
        assert samples_left(10, settings, step) == sum(sizes[step:])
    assert samples_seen(10, settings) == 20


def test_the_time_left_is_that_of_measured_steps():
    now = [0.0]
    pace = Pace({"train": 100, "ask": 50, "answer": 10}, clock=lambda: now[0])
    assert pace.left() is None
    for kind, seconds, times in (("ask", 1.0, 5), ("train", 2.0, 10), ("answer", 7.0, 2)):
        for _ in range(times):
            now[0] += seconds
            pace.did(kind, 1)
    assert pace.left() == pytest.approx(45 * 1.0 + 90 * 2.0 + 8 * 7.0)
    now[0] += 1000
    pace.begin()  # a model was loaded meanwhile
    now[0] += 2
    pace.did("train", 1)
    assert pace.left() == pytest.approx(45 * 1.0 + 89 * 2.0 + 8 * 7.0)


def test_the_time_left_is_told_before_every_kind_was_measured():
    now = [0.0]
    pace = Pace({"train": 10, "ask": 5, "answer": 0}, clock=lambda: now[0])
    now[0] += 1.0
    pace.did("ask", 1)
    assert pace.left() == pytest.approx(4 * 1.0 + 10 * 3.0)


def test_tables_beside_the_trials_hold_the_same(fresh, runs, model_folder):
    found = verify(fresh, asked(runs[1][:1], model_folder))
    kept = pl.read_parquet(Path(found["folder"]) / "trials.parquet").sort("arm", "seed")
    asked_of = fresh.query("SELECT arm, seed, test_loss FROM trials ORDER BY arm, seed")
    assert kept.select("arm", "seed", "test_loss").equals(asked_of)
