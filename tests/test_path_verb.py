"""Promises of the command `path`: the budgets that the app shows, made where it looks for them."""

import json
from contextlib import closing

import polars as pl
import pytest

from gtp_core import jobs
from gtp_core.atoms import pose
from gtp_core.catalog import open_catalog
from gtp_core.cli import main, paths
from gtp_core.methods import Settings
from gtp_core.report import choose, path_words, prepare_path, saved_choice, saved_path

BOTH = ("gtp", "top-k")


@pytest.fixture
def said(capsys):
    """`said(*words)`: what `path --json` printed, or the sentence with which it refused."""

    def run(*words):
        status = main(["path", *map(str, words), "--json"])
        out, err = capsys.readouterr()
        assert (status, bool(out)) in ((0, True), (2, False)), err
        return json.loads(out) if status == 0 else err

    return run


def test_the_command_prepares_what_the_app_reads(said, small_store, tmp_path):
    store = small_store()
    answer = said(store.folder, "--workspace", tmp_path, "--task", "dates", "--ridge", 2)
    with closing(open_catalog(store, workspace=tmp_path)) as catalog:
        found = saved_path(catalog, pose(catalog, "dates"), Settings(ridge=2.0))
        assert found is not None
        assert answer["budgets"] == found["budget"].unique().sort().to_list()
        assert pl.read_parquet(answer["file"]).equals(found)
        assert saved_path(catalog, pose(catalog, "dates"), Settings()) is None
    again = said(store.folder, "--workspace", tmp_path, "--task", "dates", "--ridge", 2)
    assert {**again, "seconds": 0} == {**answer, "seconds": 0}


def test_what_has_no_single_path_is_refused(said, small_store, tmp_path):
    store = small_store()
    text = said(store.folder, "--workspace", tmp_path, "--task", "dates", "--ridge", "auto")
    assert text.startswith("gtp: ridge auto may choose another value")
    assert text.count("\n") == 1


def test_one_budget_is_what_solving_gives_and_every_round_is_told(
    said, small_store, tmp_path, monkeypatch
):
    store, told = small_store(), []
    monkeypatch.setattr(paths, "report_progress", lambda *words: told.append(words))
    words = (store.folder, "--workspace", tmp_path, "--task", "dates", "--budget", "8")
    answer = said(*words)
    with closing(open_catalog(store, workspace=tmp_path)) as catalog:
        problem = pose(catalog, "dates")
        solved = {name: choose(problem, "8", method=name, settings=Settings()) for name in BOTH}
        for name, (selection, held) in solved.items():
            assert answer["chosen"][name] == {
                "n_selected": len(selection.support),
                "residual_weighted": selection.residual_weighted,
                "match": held.match,
            }
            kept, kept_held = saved_choice(catalog, problem, Settings(), "8", name)
            assert kept.support.tolist() == selection.support.tolist()
            assert kept.settings == selection.settings
            assert kept_held == held
        assert saved_choice(catalog, problem, Settings(), "9", "gtp") is None
        assert saved_path(catalog, problem, Settings()) is None
    rounds = [words[2].split("\n") for words in told if words[2].startswith("GTP, round")]
    assert len(rounds) == len(solved["gtp"][0].rounds)
    for at, (lines, round_) in enumerate(zip(rounds, solved["gtp"][0].rounds, strict=True), 1):
        assert lines[0].startswith(f"GTP, round {at}: residual {round_.residual:.3f} after ")
        assert len(lines) == at + 1
    told.clear()
    assert {**said(*words), "seconds": 0} == {**answer, "seconds": 0}
    assert not [words for words in told if "round" in words[2]], "it was solved again"


def test_a_method_without_a_budget_is_refused(said, small_store, tmp_path):
    store = small_store()
    text = said(store.folder, "--workspace", tmp_path, "--task", "dates", "--method", "omp")
    assert text.startswith("gtp: --method is for one budget")
    words = ("--task", "dates", "--budget", "8", "--subspace", "auto")
    assert "subspace auto may choose" in said(store.folder, "--workspace", tmp_path, *words)


def test_a_problem_tells_the_words_that_pose_it_again(small_store, tmp_path):
    """As a job of the app: pins from the edit log, caps, weights that begin with a minus."""
    store = small_store()
    settings = Settings(ridge=0.5, weights="uniform", tolerance=1e-3)
    with closing(open_catalog(store, workspace=tmp_path)) as catalog:
        catalog.edit("pin", who="me", sample_id=catalog.sample_ids()[30])
        posed = pose(
            catalog,
            "dates,maths=2",
            common_direction="kept",
            gradients="raw",
            checkpoints={catalog.store.checkpoints[0].name: 0.0},
            caps={"source": 3},
            where="n_tokens > 1",
            pins=[catalog.sample_ids()[30]],
        )
        words = [str(store.folder), "--workspace", str(tmp_path), *path_words(posed, settings)]
        job = jobs.start(catalog.workspace, "path", ["path", *words])
        while job.state == "running":
            job = jobs.look(catalog.workspace, "path")
        assert (job.state, job.message) == ("done", "")
        found = saved_path(catalog, posed, settings)
        assert found is not None
        assert found.equals(prepare_path(catalog, posed, settings))
