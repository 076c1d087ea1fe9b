"""Promises of budgets above the length of an atom: parts of the pool, pursued apart."""

import json

import numpy as np
import pytest

from gtp_core.atoms import Cap, Problem, pose, pose_array
from gtp_core.cli import main
from gtp_core.methods import Settings, select
from gtp_core.methods.groups import n_groups
from gtp_core.report import fill_sentence, held_out


def noisy(seed: int, n: int = 600, dim: int = 24, pinned=()) -> Problem:
    """Unit atoms that lean towards a signal, and the signal with noise as the target."""
    generator = np.random.default_rng(seed)
    signal = generator.standard_normal(dim) / np.sqrt(dim)
    matrix = generator.standard_normal((n, dim)) / np.sqrt(dim) + 0.3 * signal
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    return pose_array(
        matrix, signal + 0.7 * generator.standard_normal(dim) / np.sqrt(dim), pinned=pinned
    )


@pytest.mark.parametrize(
    ("count", "what", "groups"),
    [(24, {}, 1), (25, {}, 5), (60, {}, 10), (61, {}, 11), (60, {"ridge": 0.0}, 1)],
)
def test_parts_begin_above_the_length_of_an_atom(count, what, groups):
    problem, settings = noisy(0), Settings(**what)
    assert n_groups(problem, count, settings) == groups
    chosen = select(problem, count, settings=settings)
    assert chosen.settings.get("groups", 1) == groups
    assert len(chosen.support) <= count
    assert ("above what one pursuit can tell apart" in fill_sentence(chosen)) == (groups > 1)
    if groups > 1:
        assert len(chosen.rounds) == groups
        assert sum(one.entered for one in chosen.rounds) == len(chosen.support)


def test_weights_and_residual_are_those_of_the_mean_of_the_parts():
    problem = noisy(1)
    chosen = select(problem, 60)
    left = problem.target - chosen.weights @ problem.atoms.rows(chosen.support)
    share = np.linalg.norm(left) / np.linalg.norm(problem.target)
    assert chosen.residual_weighted == pytest.approx(share)
    assert chosen.rounds[-1].residual == pytest.approx(share)
    assert len(set(chosen.support.tolist())) == len(chosen.support) == 60
    assert (np.diff(chosen.weights) <= 1e-12).all()


def test_pins_bans_and_seeds_hold():
    problem = noisy(2, pinned=[3, 500])
    allowed = problem.atoms.candidates.copy()
    allowed[:3] = False
    banned = Problem(
        **{**vars(problem), "atoms": type(problem.atoms)(problem.atoms.matrix, allowed)}
    )
    one, two = (select(banned, 50) for _ in range(2))
    assert {3, 500} <= set(one.support.tolist())
    assert allowed[one.support].all()
    assert len(one.support) <= 50
    assert one.weights.tobytes() == two.weights.tobytes()
    other = select(banned, 50, settings=Settings(seed=1))
    assert set(other.support.tolist()) != set(one.support.tolist())


def test_caps_are_left_to_one_pursuit():
    capped = Problem(**{**vars(noisy(3)), "caps": (Cap(np.arange(600) % 3, 20, "source"),)})
    chosen = select(capped, 50)
    assert "groups" not in chosen.settings
    assert np.bincount(chosen.support % 3).max() <= 20


def test_parts_generalise_better_than_one_pursuit(monkeypatch):
    """The cosine with the signal that the target's noise hides, over ten draws."""
    gains = []
    for seed in range(10):
        problem = noisy(seed)
        signal = np.random.default_rng(seed).standard_normal(24)

        def match(chosen, problem=problem, signal=signal) -> float:
            total = chosen.weights @ problem.atoms.rows(chosen.support)
            return float(total @ signal / np.linalg.norm(total) / np.linalg.norm(signal))

        apart = match(select(problem, 60))
        with monkeypatch.context() as patch:
            patch.setattr("gtp_core.methods.pursuits.n_groups", lambda *_: 1)
            gains.append(apart - match(select(problem, 60)))
    assert np.mean(gains) > 0.005


def test_the_command_says_so(own_catalog, capsys):
    folder = str(own_catalog.store.folder)
    words = ["select", folder, "--task", "maths", "--budget", "55"]
    assert main(words) == 0
    assert "above what one pursuit can tell apart" in capsys.readouterr().out
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["settings"]["groups"] == 5
    problem = pose(own_catalog, "maths")
    assert held_out(problem, 55, method="gtp", settings=Settings()) is not None
