"""Promises of the command `compare`: two to four runs, their sentences, or why not."""

import numpy as np
import pytest
import test_cli

from gtp_core.atoms import pose
from gtp_core.catalog import open_catalog
from gtp_core.methods import Settings
from gtp_core.report import choose, five_sentences, from_run, likeness, save

folder, gtp, document = test_cli.folder, test_cli.gtp, test_cli.document


@pytest.fixture(scope="module")
def runs(folder, tmp_path_factory):
    """A workspace with four runs: GTP, top-k and random for maths, and GTP for dates."""
    workspace = tmp_path_factory.mktemp("compare")
    catalog = open_catalog(folder, workspace=workspace)
    found = []
    for task, method in (
        ("maths", "gtp"),
        ("maths", "top-k"),
        ("maths", "random"),
        ("dates", "gtp"),
    ):
        problem = pose(catalog, task)
        selection, held = choose(problem, 6, method=method, settings=Settings())
        found.append(save(catalog, problem, selection, held)["run"])
    catalog.close()
    return workspace, found


def test_four_runs_stand_side_by_side(document, folder, runs):
    workspace, ids = runs
    answer = document("compare", folder, *ids, "--workspace", workspace)
    assert [answer[letter]["run"] for letter in "abcd"] == ids
    assert len(answer["overlaps"]) == 6
    assert {"pool", "a", "b", "c", "d"} <= set(answer["sources"][0])
    assert answer["judged_by"] == "maths"
    assert len(answer["sentences"]) == 5
    (note,) = answer["notes"]
    assert note.startswith("D (gtp) was chosen for task dates")
    assert answer["overlap"] == {
        key: answer["overlaps"][0][key] for key in ("only_a", "both", "only_b", "jaccard")
    }
    assert sum(row["samples"] for row in answer["combinations"]) >= 6


def test_the_sentences_and_redundancy_are_those_of_the_core(document, folder, runs):
    workspace, ids = runs
    answer = document("compare", folder, *ids[:2], "--workspace", workspace)
    catalog = open_catalog(folder, workspace=workspace)
    problem = pose(catalog, "maths")
    pair = [
        from_run(catalog, problem, run, name=name)
        for run, name in zip(ids[:2], ("A (gtp)", "B (top-k)"), strict=True)
    ]
    assert answer["sentences"] == five_sentences(catalog, problem, pair)
    for letter, one in zip("ab", pair, strict=True):
        assert answer[letter]["redundancy"] == likeness(problem, one.support).mean
        rows = problem.atoms.rows(one.support).astype(float)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        cosines = rows @ rows.T - 2 * np.eye(len(rows))
        assert answer[letter]["redundancy"] == pytest.approx(cosines.max(axis=1).mean(), abs=1e-6)
    catalog.close()


def test_people_read_the_same(gtp, document, folder, runs):
    workspace, ids = runs
    words = ("compare", folder, *ids, "--workspace", workspace)
    answer = document(*words)
    status, out, err = gtp(*words)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert all(sentence in lines for sentence in answer["sentences"] + answer["notes"])
    assert all(run in out for run in ids)
    judged = next(i for i, line in enumerate(lines) if line == "judged by maths:")
    here = [row["residual, weighted"] for row in answer["scores"]]
    assert lines[judged + 1].split() == ["residual_weighted", *(f"{v:.4f}" for v in here)]


@pytest.mark.parametrize("count", [0, 1, 5])
def test_fewer_than_two_or_more_than_four_are_refused(gtp, says, folder, runs, count):
    workspace, ids = runs
    words = (ids * 2)[:count]
    status, out, err = gtp("compare", folder, *words, "--workspace", workspace)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    if count:
        assert f"{count} runs to compare; give two to 4" in err


def test_a_list_first_leaves_the_others_their_held_out_match(document, folder, runs, tmp_path):
    workspace, ids = runs
    path = tmp_path / "theirs.txt"
    path.write_text("id-0004\nid-0011\nid-0030\n")
    words = ("--task", "maths", "--ids", path, "--workspace", workspace)
    listed = document("select", folder, *words)["run"]
    answer = document("compare", folder, listed, ids[0], "--workspace", workspace)
    matches = [row["held-out match"] for row in answer["scores"]]
    assert matches[1] == answer["b"]["held_out"]["match"]
    assert None not in matches


def test_the_spread_is_measured_on_demand(document, folder, runs, monkeypatch):
    workspace, ids = runs
    monkeypatch.setattr("gtp_core.report.contrast.contestants._CHEAP", 0)
    catalog = open_catalog(folder, workspace=workspace)
    problem = pose(catalog, "maths")
    asked, not_asked = (from_run(catalog, problem, ids[0], refit=r) for r in (True, None))
    assert not_asked.matches is None
    assert asked.matches.mean() == pytest.approx(asked.held.match)
    catalog.close()
    told = document("compare", folder, *ids[:2], "--spread", "--workspace", workspace)
    bare = document("compare", folder, *ids[:2], "--workspace", workspace)
    assert told["sentences"][:4] == bare["sentences"][:4]
