"""How good a selection is: reliability of the task, and held-out match."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt

import numpy as np

from gtp_core.atoms import Problem, together, weighted_sums
from gtp_core.errors import CancelledError
from gtp_core.estimate import on_one_thread
from gtp_core.methods import Settings, parse_budget, select
from gtp_core.methods.register import OnRound
from gtp_core.pursuit import Selection, Stop, kept_bytes

LOW_RELIABILITY = 0.5
_SIDE_BY_SIDE = 4e9  # bytes that pursuits may keep of the atoms they met, at a time


@dataclass(frozen=True)
class HeldOut:
    """How a selection fitted on one part of the validation examples matches the other part.

    Attributes:
        match: cosine of the fitted combination with the target of the other part, averaged.
        ceiling: cosine of the two parts' targets, averaged: what a perfect fit would reach.
        splits: number of fits.
    """

    match: float
    ceiling: float
    splits: int


@dataclass(frozen=True)
class Reliability:
    """How well two halves of a task's validation examples agree on its target.

    Attributes:
        split_half: mean cosine of the targets of two halves.
        full: reliability of the whole target, by Spearman-Brown: 2 r / (1 + r).
        doubled: what twice the examples would give.
        noise_floor: relative residual below which only noise is fitted: sqrt(1 - full).
        n_examples: validation examples used.
    """

    split_half: float
    full: float
    doubled: float
    noise_floor: float
    n_examples: int


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Cosine of two vectors; 0 when one of them is zero."""
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / length if length > 0 else 0.0


@on_one_thread
def reliability(problem: Problem, n_examples: int) -> Reliability | None:
    """The reliability of a problem's target; None when it has a single example."""
    if not problem.splits:
        return None
    r = float(np.mean([cosine(split.fit, split.rest) for split in problem.splits]))
    full = spearman_brown(r, 2)
    floor = sqrt(1 - min(max(full, 0.0), 1.0))
    return Reliability(r, full, spearman_brown(r, 4), floor, n_examples)


def spearman_brown(split_half: float, factor: float) -> float:
    """Reliability with `factor` times the examples of a half (Spearman 1910, Brown 1910)."""
    r = min(max(split_half, 0.0), 1.0)
    return factor * r / (1 + (factor - 1) * r)


def combination(problem: Problem, selection: Selection) -> np.ndarray:
    """weights @ atoms[support], (dim,) float64."""
    return weighted_sums(problem.atoms, selection.support, selection.weights[None])[0]


def held_out(
    problem: Problem,
    budget: str | int,
    *,
    method: str,
    settings: Settings,
    on_round: OnRound | None = None,
) -> HeldOut | None:
    """Fit on each part of the validation examples, match the other; None without two examples.

    `on_round` hears the rounds of every fit; what it raises ends all of them.
    """
    fitted = together(
        [part for part, _ in problem.parts],
        lambda _, part: select(part, budget, method=method, settings=settings, on_round=on_round),
        at_once=_at_once(problem, budget),
    )
    return _matched(problem, fitted)


def choose(
    problem: Problem,
    budget: str | int,
    *,
    method: str,
    settings: Settings,
    on_round: OnRound | None = None,
) -> tuple[Selection, HeldOut | None]:
    """What `select` and `held_out` say, for the passes over the atoms of one of them.

    On a large store the selection and the fits of the parts run side by side, as many as memory
    holds, and a pass serves them all: the held-out match needs none of its own. Of what was
    cancelled nothing is held out, nor where a fit was: what it has chosen so far says nothing.
    """

    def work(i: int, some: Problem) -> Selection | None:
        try:
            heard = None if i else on_round
            return select(some, budget, method=method, settings=settings, on_round=heard)
        except CancelledError:
            if i == 0:
                raise
            return None

    first, *fitted = together(
        [problem, *(part for part, _ in problem.parts)], work, at_once=_at_once(problem, budget)
    )
    assert first is not None
    whole = [fit for fit in fitted if fit is not None and fit.stop is not Stop.CANCELLED]
    if first.stop is Stop.CANCELLED or len(whole) < len(fitted):
        return replace(first, stop=Stop.CANCELLED), None
    return first, _matched(problem, whole)


@on_one_thread
def _matched(problem: Problem, fitted: Sequence[Selection]) -> HeldOut | None:
    if not fitted:
        return None
    matches, ceilings = [], []
    for (part, rest), selection in zip(problem.parts, fitted, strict=True):
        matches.append(cosine(combination(part, selection), rest))
        ceilings.append(cosine(part.target, rest))
    return HeldOut(float(np.mean(matches)), float(np.mean(ceilings)), len(matches))


def _at_once(problem: Problem, budget: str | int) -> int:
    """How many pursuits keep what they met in memory side by side."""
    amount, unit = parse_budget(budget)
    share = {"": 1.0, "%": len(problem.tokens) / 100, "tok": 1 / max(problem.tokens.mean(), 1)}
    count = min(max(round(amount * share[unit]), 1), problem.atoms.n_samples)
    return max(1, int(_SIDE_BY_SIDE // kept_bytes(count, problem.atoms.dim)))
