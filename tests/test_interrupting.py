"""Promises of Ctrl-C where `select` compares settings before it chooses."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import build_store

from gtp_core.atoms import pose
from gtp_core.cli import choosing, main
from gtp_core.errors import GTPError
from gtp_core.methods import Settings
from gtp_core.report import as_alike, tuned

SLOW = """
import sys, time
from gtp_core.atoms import sharing
from gtp_core.cli import choosing, main
from gtp_core.trajectories import Trajectories
real = Trajectories.products
def products(self, vectors):
    print("pass", flush=True)
    time.sleep(0.5)
    return real(self, vectors)
sharing.LARGE = float(sys.argv[1])
Trajectories.products = products
choosing.report_progress = lambda done, total, what: print(what, flush=True)
sys.exit(main(sys.argv[2:]))
"""
NOTHING = "gtp: cancelled before anything was chosen; nothing was saved."


def asked(store, workspace, *told):
    words = ["select", store.folder, "--task", "maths", "--budget", "12", *told]
    return [str(word) for word in (*words, "--workspace", workspace)]


@pytest.fixture
def comparing(small_store, tmp_path):
    """`comparing(large, *told)`: a real process that has begun to compare, each pass slow."""
    running = []

    def start(large, *told):
        command = [sys.executable, "-c", SLOW, str(large)]
        process = subprocess.Popen(
            [*command, *asked(small_store(), tmp_path / "work", *told)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[1],
        )
        running.append(process)
        for line in process.stdout:
            if line.startswith("ridge"):
                break
        assert process.stdout.readline() == "pass\n"
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


def saved(folder):
    return list(folder.rglob("run.json"))


@pytest.mark.parametrize("large", [0, 2e9], ids=["side by side", "one after the other"])
@pytest.mark.parametrize("ridge", ["auto", "alike"])
def test_ctrl_c_ends_the_comparison_within_a_pass(comparing, tmp_path, ridge, large):
    process = comparing(large, "--ridge", ridge)
    process.send_signal(signal.SIGINT)
    out, said = process.communicate(timeout=60)
    assert out.count("pass") <= 1, "it went on"
    assert "ridge" not in out
    assert process.returncode == 2
    assert said.splitlines()[-1].startswith(NOTHING)
    assert "Traceback" not in said
    assert not saved(tmp_path / "work")


def test_a_second_ctrl_c_ends_the_comparison_at_once(comparing):
    process = comparing(2e9, "--ridge", "auto")
    process.send_signal(signal.SIGINT)
    assert "once more to stop" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, said = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "interrupted" in said


@pytest.mark.parametrize("ridge", ["auto", "alike"])
def test_ctrl_c_after_the_comparison_keeps_the_best_round(
    small_store, tmp_path, capsys, monkeypatch, ridge
):
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(choosing, "_print_round", lambda _: signal.raise_signal(signal.SIGINT))
    assert main([*asked(small_store(), tmp_path, "--ridge", ridge), "--json"]) == 0
    out, said = capsys.readouterr()
    answer = json.loads(out)
    assert said.startswith("gtp: keeping the best so far")
    assert (answer["stop"], answer["held_out"]) == ("cancelled", None)
    assert answer["settings"]["auto"], "what was compared is told"
    assert answer["n_selected"] > 0
    assert len(saved(tmp_path)) == 1
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_while_a_subspace_is_fitted_ends_the_comparison(tmp_path, capsys, monkeypatch):
    store = build_store(tmp_path / "store", dim=40)
    told = []

    def interrupted(done, total, what):
        told.append(what)
        if "fitting" in what:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(choosing, "report_progress", interrupted)
    assert main(asked(store, tmp_path / "work", "--subspace", "auto")) == 2
    assert sum("fitting" in what for what in told) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith(NOTHING)


@pytest.mark.parametrize("rule", [tuned, as_alike])
def test_whoever_hears_the_rounds_of_a_comparison_may_end_it(catalog, rule):
    """Also between passes: what keeps inner products goes through many rounds without one."""
    heard = []

    def stop(round_):
        heard.append(round_)
        if len(heard) == 3:
            raise GTPError("enough. Stop.")

    problem = pose(catalog, "maths")
    with pytest.raises(GTPError, match="enough"):
        rule(problem, 12, method="gtp", settings=Settings(), on_round=stop)
    assert len(heard) == 3


@pytest.mark.parametrize("rule", [tuned, as_alike])
def test_hearing_the_rounds_changes_nothing(catalog, rule):
    problem, heard = pose(catalog, "maths"), []
    told = {"method": "gtp", "settings": Settings()}
    found = rule(problem, 12, on_round=heard.append, **told)
    assert found == rule(problem, 12, **told)
    assert np.isfinite([round_.residual for round_ in heard]).all()
    assert heard
