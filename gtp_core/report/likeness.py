"""How alike chosen samples are among themselves, beside the validation examples.

A target rests on few examples, and once their common part is matched a fit goes on with what is
only theirs: it takes samples of other kinds, and the held-out match may still rise. Training on
those taught less than training on samples as alike as the examples are (README, the trial).
"""

import numpy as np

from gtp_core.atoms import Atoms, Problem
from gtp_core.report.quality import cosine

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
