"""Promises of `auto` and `alike`: a setting chosen is said, on the receipt, and rebuilt."""

import json
import shlex
from dataclasses import replace

import numpy as np
import pytest

from gtp_core.atoms import Problem, Split, pose, pose_array
from gtp_core.cli import main
from gtp_core.errors import MethodError
from gtp_core.methods import Settings, select
from gtp_core.report import ALIKE, AUTO, as_alike, auto_sentence, held_out, save, tuned
from gtp_core.report.alike_ridge import likeness, likeness_of_examples
from gtp_core.report.auto import EXAMPLES, RIDGES


def problem_with_halves(noise: float, seed: int = 0) -> Problem:
    """Atoms of which some carry a signal; two halves' targets are the signal, each with noise."""
    generator = np.random.default_rng(seed)
    matrix = generator.standard_normal((120, 40))
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    signal = matrix[:12].sum(axis=0)
    signal /= np.linalg.norm(signal)
    halves = [signal + noise * generator.standard_normal(40) for _ in range(8)]
    pairs = zip(halves[::2], halves[1::2], strict=True)
    splits = [Split(a, b, a[None]) for one, two in pairs for a, b in ((one, two), (two, one))]
    whole = pose_array(matrix, np.mean(halves, axis=0))
    return Problem(**{**vars(whole), "splits": tuple(splits)})


def slow_best(problem: Problem, budget: int, method: str = "gtp") -> dict[float, float]:
    """The held-out match at every ridge there is."""
    return {
        ridge: held_out(problem, budget, method=method, settings=Settings(ridge=ridge)).match
        for ridge in RIDGES
    }


@pytest.mark.parametrize("noise", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("method", ["gtp", "omp"])
def test_the_ridge_chosen_has_the_best_match_of_those_compared(noise, method):
    problem = problem_with_halves(noise)
    found = tuned(problem, 15, method=method, settings=Settings(max_rounds=50))
    every = slow_best(problem, 15, method)
    scores = {float(ridge): match for ridge, match in found.scores["ridge"].items()}
    assert list(scores) == sorted(scores)
    for ridge, match in scores.items():
        assert match == pytest.approx(every[ridge], abs=1e-12)
    assert found.held.match == max(scores.values()) == scores[found.settings.ridge]
    assert found.settings.max_rounds == 50
    # Nothing compared lies beyond a neighbour that was left out.
    place = RIDGES.index(found.settings.ridge)
    assert set(RIDGES[max(place - 1, 0) : place + 2]) <= set(scores)
    assert found.held.match >= every[1.0]


def test_the_noisier_the_target_the_more_ridge_it_wants():
    chosen = [
        tuned(problem_with_halves(noise), 15, method="gtp", settings=Settings()).settings.ridge
        for noise in (0.0, 0.1, 0.3)
    ]
    assert chosen == sorted(set(chosen))


def test_the_choice_repeats_and_reports_progress():
    problem, told = problem_with_halves(0.3), []
    one = tuned(
        problem, 9, method="gtp", settings=Settings(), progress=lambda *what: told.append(what)
    )
    assert one == tuned(problem, 9, method="gtp", settings=Settings())
    assert [done for done, _, _ in told] == list(range(len(one.scores["ridge"])))
    assert all(done < total for done, total, _ in told)


def test_a_rank_is_chosen_too(catalog):
    problem = pose(catalog, "maths")
    found = tuned(problem, 6, method="gtp", settings=Settings(), auto=("ridge", "subspace"))
    ranks = found.scores["subspace"]
    assert list(ranks) == ["none"], "gradients of 16 numbers have no rank of 32"
    assert found.settings.subspace == "none"


def told_of_examples(problem: Problem, alike: float, n_examples: int = 8) -> Problem:
    """The problem with examples of this mean cosine: halves that agree as much as theirs would."""
    half = n_examples / 2
    r = half * alike / (1 + (half - 1) * alike)
    other = np.zeros(problem.atoms.dim)
    other[0] = 1.0

    def agreeing(fit: np.ndarray) -> np.ndarray:
        along = fit / np.linalg.norm(fit)
        across = other - (other @ along) * along
        return r * along + np.sqrt(1 - r * r) * across / np.linalg.norm(across)

    splits = tuple(Split(s.fit, agreeing(s.fit), s.subtasks) for s in problem.splits)
    return replace(problem, splits=splits, n_examples=n_examples)


def test_likeness_is_the_mean_cosine_of_two_samples():
    matrix = np.random.default_rng(5).standard_normal((600, 7)) * 3
    matrix[4] = 0
    atoms, index = pose_array(matrix, np.ones(7)).atoms, np.arange(500)
    unit = np.delete(matrix[:500], 4, axis=0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    apart = ~np.eye(len(unit), dtype=bool)
    assert likeness(atoms, index) == pytest.approx((unit @ unit.T)[apart].mean(), abs=1e-9)
    assert likeness(atoms, np.array([3])) == 1.0


def test_likeness_of_examples_is_that_of_what_they_were_drawn_from():
    generator, signal = np.random.default_rng(6), np.eye(400)[0]
    found = []
    for _ in range(60):
        noise = generator.standard_normal((10, 400)) / 20
        examples = 0.5 * signal + np.sqrt(0.75) * noise  # a mean cosine of 0.25
        a, b = examples[:5].mean(axis=0), examples[5:].mean(axis=0)
        whole = pose_array(np.eye(400), examples.mean(axis=0))
        split = Split(a, b, a[None])
        problem = replace(whole, splits=(split,), n_examples=10)
        found.append(likeness_of_examples(problem))
    assert np.mean(found) == pytest.approx(0.25, abs=0.03)
    assert likeness_of_examples(whole) is None, "nothing can be held out"


@pytest.mark.parametrize("wanted", [0.0, 0.03, 0.07, 0.9])
def test_the_ridge_is_the_least_whose_choice_is_as_alike_as_the_examples(wanted):
    problem = told_of_examples(problem_with_halves(0.0), wanted)
    assert likeness_of_examples(problem) == pytest.approx(wanted)
    found = as_alike(problem, 15, method="gtp", settings=Settings(max_rounds=50))
    ladder = [ridge for ridge in RIDGES if ridge >= 1]
    chosen = {
        ridge: select(problem, 15, settings=Settings(ridge=ridge, max_rounds=50)).support
        for ridge in ladder
    }
    alikes = {ridge: likeness(problem.atoms, rows) for ridge, rows in chosen.items()}
    least = next((ridge for ridge in ladder if alikes[ridge] >= wanted), 1.0)
    assert found.settings == Settings(ridge=least, max_rounds=50)
    assert found.held == held_out(problem, 15, method="gtp", settings=found.settings)
    told = dict(found.scores[ALIKE])
    assert told.pop(EXAMPLES) == pytest.approx(wanted)
    met = ladder if max(alikes.values()) < wanted else ladder[: ladder.index(least) + 1]
    assert {float(ridge): value for ridge, value in told.items()} == {r: alikes[r] for r in met}
    said = auto_sentence(found.scores, vars(found.settings))
    where = f"ridge {least}, because no choice" if wanted == 0.9 else f"ridge {least} is the least"
    assert where in said
    assert f"(mean cosine {wanted:.3f}; 1.0 has {alikes[1.0]:.3f}" in said
    assert "match" not in said


def test_the_examples_likeness_moves_the_ridge():
    ridges = []
    for wanted in (0.03, 0.07, 0.085):
        problem = told_of_examples(problem_with_halves(0.0), wanted)
        ridges.append(as_alike(problem, 15, method="gtp", settings=Settings()).settings.ridge)
    assert ridges == sorted(set(ridges))


def test_what_has_no_likeness_or_no_ridge_is_refused(says):
    with pytest.raises(MethodError) as error:
        as_alike(pose_array(np.eye(4), np.ones(4)), 2, method="gtp", settings=Settings())
    says(error.value, "single")
    problem = told_of_examples(problem_with_halves(0.1), 0.1)
    with pytest.raises(MethodError) as error:
        as_alike(problem, 5, method="top-k", settings=Settings())
    says(error.value, "top-k")


def test_alike_from_the_command_is_on_the_receipt_and_rebuilt_without_it(
    own_catalog, tmp_path, capsys
):
    folder = str(own_catalog.store.folder)

    def run(*words: str) -> str:
        assert main([*words]) == 0
        return capsys.readouterr().out

    words = ("select", folder, "--task", "maths", "--budget", "6", "--ridge", "alike")
    text = run(*words)
    first = json.loads(run(*words, "--json"))
    expected = as_alike(pose(own_catalog, "maths"), 6, method="gtp", settings=Settings())
    assert first["settings"]["ridge"] == expected.settings.ridge
    assert first["settings"]["auto"] == expected.scores
    assert auto_sentence(first["settings"]["auto"], first["settings"]) in text
    both = json.loads(run(*words, "--subspace", "auto", "--json"))["settings"]["auto"]
    assert both.keys() == {"alike", "subspace"}
    out = tmp_path / "out.jsonl"
    receipt = json.loads(run("export", folder, first["run"], "--out", str(out), "--json"))
    assert f"--ridge {first['settings']['ridge']}" in receipt["rebuild"]


@pytest.mark.parametrize("method", ["top-k", "random", "craig"])
def test_a_method_without_a_ridge_is_refused(method, says):
    with pytest.raises(MethodError) as error:
        tuned(problem_with_halves(0.1), 5, method=method, settings=Settings())
    says(error.value, method)


def test_without_a_second_half_there_is_nothing_to_go_by(says):
    problem = pose_array(np.eye(4), np.ones(4))
    with pytest.raises(MethodError) as error:
        tuned(problem, 2, method="gtp", settings=Settings())
    says(error.value, "held out")


def test_the_note_does_not_change_the_run(own_catalog):
    problem = pose(own_catalog, "maths")
    found = tuned(problem, 6, method="gtp", settings=Settings())
    plain = select(problem, 6, settings=found.settings)
    noted = found.noted(plain)
    assert noted.settings[AUTO] == found.scores
    assert AUTO not in plain.settings
    assert (
        save(own_catalog, problem, noted, found.held)["run"]
        == (save(own_catalog, problem, plain, found.held)["run"])
    )


def test_the_command_says_what_was_compared_and_the_receipt_needs_no_auto(
    own_catalog, tmp_path, capsys
):
    folder = str(own_catalog.store.folder)

    def run(*words: str) -> str:
        assert main([*words]) == 0
        return capsys.readouterr().out

    words = ("select", folder, "--task", "maths", "--budget", "6")
    text = run(*words, "--ridge", "auto")
    first = json.loads(run(*words, "--ridge", "auto", "--json"))
    ridge, scores = first["settings"]["ridge"], first["settings"]["auto"]["ridge"]
    assert auto_sentence(first["settings"]["auto"], first["settings"]) in text
    assert str(ridge) in scores
    assert first["held_out"]["match"] == max(scores.values())
    out = tmp_path / "out.jsonl"
    receipt = json.loads(run("export", folder, first["run"], "--out", str(out), "--json"))
    assert f"--ridge {ridge}" in receipt["rebuild"]
    assert receipt["run"]["settings"]["auto"] == first["settings"]["auto"]
    there = ("--workspace", str(tmp_path / "elsewhere"), "--json")
    again = json.loads(run(*shlex.split(receipt["rebuild"])[3:], *there))
    assert again.pop("seconds") >= 0
    del first["settings"]["auto"], first["seconds"]
    assert again == first
