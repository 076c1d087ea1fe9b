"""Budgets above the length of an atom: parts of the pool pursued apart, their weights averaged.

One pursuit cannot tell more atoms apart than an atom has numbers: above that any target is fitted,
its noise included. Parts drawn by chance, each of which matches the whole target with few of its
own samples, have noise of their own that the mean of their answers averages out.
"""

from dataclasses import replace
from typing import Any, cast

import numpy as np

from gtp_core.atoms import Problem, weighted_sums
from gtp_core.atoms.sharing import together
from gtp_core.methods.register import OnRound, Settings
from gtp_core.methods.steps import largest_first
from gtp_core.methods.subspace import Pursued, pursued
from gtp_core.pursuit import Round, Stop

_SHARE = 4  # samples of a part are at most the length of an atom over this


def n_groups(problem: Problem, count: int, settings: Settings) -> int:
    """Into how many parts the pool is split for a budget; 1 up to the length of an atom.

    Held-out match at a ridge of 1 for one pursuit / parts of half / parts of a quarter of that
    length (256, the demo's last checkpoint, budgets of 256 and 512): shop-arithmetic 0.681 / 0.683
    / 0.679 and 0.680 / 0.692 / 0.690, tidy-data 0.634 / 0.653 / 0.671 and 0.626 / 0.668 / 0.684,
    calendar 0.194 / 0.214 / 0.224 and 0.188 / 0.214 / 0.218; uniform weights 0.680 and 0.682, 0.629
    and 0.632, 0.190 and 0.188. Without a ridge an exact fit is wanted, and under caps the parts
    would have to know of each other: both are left to one pursuit.
    """
    if count <= problem.atoms.dim or settings.ridge == 0 or problem.caps:
        return 1
    size = max(1, problem.atoms.dim // _SHARE)
    return -(-(count - len(problem.pinned)) // size)


def pursued_apart(
    problem: Problem, count: int, settings: Settings, on_round: OnRound | None, groups: int
) -> Pursued:
    """What the parts chose between them; a round for every part. Pinned samples are in the first.

    On a store where a pass costs seconds, the parts share their passes.
    """
    free = problem.atoms.candidates.copy()
    free[problem.pinned] = False
    drawn = np.random.default_rng([settings.seed, 11]).permutation(np.flatnonzero(free))
    parts = [np.sort(part) for part in np.array_split(drawn, groups)]
    parts[0] = np.union1d(parts[0], problem.pinned)
    none = problem.pinned[:0]
    problems = [_limited(problem, p, none if i else problem.pinned) for i, p in enumerate(parts)]
    share, more = divmod(count - len(problem.pinned), groups)

    def work(i: int, part: Problem) -> Pursued:
        return pursued(part, share + (i < more) + len(part.pinned), settings, on_round)

    answers = together(problems, work)
    stops = [answer[4] for answer in answers]
    stop = Stop.CANCELLED if Stop.CANCELLED in stops else stops[0]
    if stop is Stop.CANCELLED:  # parts not begun have no say in the mean
        answers = [answer for answer in answers if len(answer[0])] or answers[:1]
    support = np.concatenate([answer[0] for answer in answers])
    weights = np.concatenate([answer[1] for answer in answers]) / len(answers)
    support, weights = largest_first(support, weights)
    pruned = np.setdiff1d(np.concatenate([answer[3] for answer in answers]), support)
    return support, weights, _rounds(problem, answers), pruned, stop


def _limited(problem: Problem, part: np.ndarray, pinned: np.ndarray) -> Problem:
    candidates = np.zeros(problem.atoms.n_samples, bool)
    candidates[part] = True
    atoms = replace(cast(Any, problem.atoms), candidates=candidates)
    return replace(problem, atoms=atoms, pinned=pinned)


def _rounds(problem: Problem, answers: list[Pursued]) -> tuple[Round, ...]:
    """A round for each part: its samples enter, and the residual of the mean so far."""
    total, kept, rounds = np.zeros(problem.atoms.dim), 0, []
    scale = max(float(np.linalg.norm(problem.target)), 1e-300)
    for number, (support, weights, *_) in enumerate(answers, 1):
        total += weighted_sums(problem.atoms, support, weights[None])[0]
        left = float(np.linalg.norm(problem.target - total / number)) / scale
        rounds.append(Round(len(support), kept, 0, left))
        kept += len(support)
    return tuple(rounds)
