"""`alike`: the least ridge whose choice is as alike as the validation examples are.

A target rests on few examples, and once their common part is matched a fit goes on with what is
only theirs: it takes samples of other kinds, and even the held-out match may rise with them.
Training on those taught less than on samples as alike as the examples are (README, the trial).
"""

from dataclasses import replace

import numpy as np

from gtp_core.atoms import Atoms, Problem
from gtp_core.errors import MethodError
from gtp_core.methods import OnRound, Settings, select
from gtp_core.report.auto import ALIKE, EXAMPLES, RIDGED, RIDGES, Tuned
from gtp_core.report.quality import cosine, held_out
from gtp_core.store import Progress

_ROWS_AT_ONCE = 256


def likeness(atoms: Atoms, index: np.ndarray) -> float:
    """The mean cosine of two of these samples; 1 where there are not two.

    Args:
        atoms: the pool, in the problem's geometry.
        index: (k,) samples.
    """
    total, count = np.zeros(atoms.dim), 0
    for begin in range(0, len(index), _ROWS_AT_ONCE):
        rows = atoms.rows(index[begin : begin + _ROWS_AT_ONCE]).astype(np.float64)
        lengths = np.linalg.norm(rows, axis=1)
        usable = lengths > 0
        total += (rows[usable] / lengths[usable, None]).sum(axis=0)
        count += int(usable.sum())
    if count < 2:
        return 1.0
    return float((total @ total - count) / (count * (count - 1)))


def likeness_of_examples(problem: Problem) -> float | None:
    """The mean cosine of two validation examples, as far as the target's reliability tells it.

    Halves of m examples whose means agree with cosine r have examples of mean cosine
    r / (m - (m - 1) r): Spearman-Brown backwards. None where nothing can be held out.
    """
    if not problem.splits or problem.n_examples < 2:
        return None
    r = float(np.mean([cosine(split.fit, split.rest) for split in problem.splits]))
    half = problem.n_examples / 2
    return max(r, 0.0) / (half - (half - 1) * max(r, 0.0))


def as_alike(
    problem: Problem,
    budget: str | int,
    *,
    method: str,
    settings: Settings,
    progress: Progress | None = None,
    on_round: OnRound | None = None,
) -> Tuned:
    """The least ridge from the default on whose choice is as alike as the examples; or the default.

    Args:
        problem: with splits of its validation examples.
        budget: as for `select`.
        method: one that has a ridge.
        settings: the others.
        progress: called before every choice.
        on_round: hears the rounds of every choice and fit; what it raises ends the comparison.

    Raises:
        MethodError: nothing can be held out, or the method has no ridge.
    """
    wanted = likeness_of_examples(problem)
    if wanted is None:
        raise MethodError(
            "ridge=alike compares samples with validation examples, and a single one does not tell "
            "how alike they are. Give the ridge, or add examples."
        )
    if method not in RIDGED:
        raise MethodError(f"ridge=alike; method {method} has no ridge. Leave it out, or take gtp.")
    ladder = [ridge for ridge in RIDGES if ridge >= Settings.ridge]
    found, best = {EXAMPLES: wanted}, Settings.ridge
    for done, ridge in enumerate(ladder):
        if progress:
            progress(done, len(ladder), f"ridge {ridge:g}")
        one = replace(settings, ridge=ridge)
        rows = select(problem, budget, method=method, settings=one, on_round=on_round)
        found[str(ridge)] = likeness(problem.atoms, rows.support)
        if found[str(ridge)] >= wanted:
            best = ridge
            break
    settings = replace(settings, ridge=best)
    held = held_out(problem, budget, method=method, settings=settings, on_round=on_round)
    assert held is not None, "checked: there are splits"
    return Tuned(settings, held, {ALIKE: found})
