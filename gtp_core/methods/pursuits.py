"""Methods that match the target jointly."""

from dataclasses import replace

import numpy as np

from gtp_core.atoms import Problem, strongest
from gtp_core.errors import CancelledError
from gtp_core.methods.groups import n_groups, pursued_apart
from gtp_core.methods.register import OnRound, Settings, equal_weights, finish, method
from gtp_core.methods.steps import filled_up, largest_first, top_up
from gtp_core.methods.subspace import Pursued, pursued
from gtp_core.methods.subtasks import pursue_each
from gtp_core.methods.uniform import as_trained, even_within
from gtp_core.pursuit import Round, Selection, Stop


@method("gtp", passes="16, then 1 for some rounds")
def gtp(
    problem: Problem,
    count: int,
    settings: Settings,
    on_round: OnRound | None,
) -> Selection:
    """Choose samples that match the target together (Gradient Trajectory Pursuit)."""
    if settings.subtasks == "each" and len(problem.columns) > 1:
        return _joint(problem, count, settings, on_round)
    groups = n_groups(problem, count, settings)
    if groups > 1:
        found = pursued_apart(problem, count, settings, on_round, groups)
    else:
        found = pursued(problem, count, settings, on_round)
    selection = _selected(problem, count, settings, found)
    return replace(selection, settings={"groups": groups}) if groups > 1 else selection


def _selected(problem: Problem, count: int, settings: Settings, found: Pursued) -> Selection:
    """The selection that comes of a pursuit: filled up, or as it will be trained."""
    support, weights, rounds, pruned, stop = found
    if settings.weights == "uniform":
        return _uniform(problem, count, settings, found)
    filled, stop = filled_up(problem, support, count, settings.fill, stop)
    return finish(
        problem,
        "gtp",
        count,
        np.concatenate([support, filled]),
        np.concatenate([weights, np.zeros(len(filled))]),
        n_filled=len(filled),
        rounds=rounds,
        pruned=np.setdiff1d(pruned, filled),
        stop=stop,
    )


def _joint(problem: Problem, count: int, settings: Settings, on_round: OnRound | None) -> Selection:
    """The selection for all subtasks: its residual is |Y - W' A| / |Y| over all of them.

    A sample's weight is the mean over the subtasks. As the target is the mean of theirs, the
    weighted sum of the atoms is then the mean of what was fitted to each, and the held-out match
    compares it with a target as it does for every other method. (The sum over the subtasks would
    point the same way and be n_subtasks times too long.)
    """
    found = pursue_each(problem, count, settings, on_round)
    support, weights = largest_first(found.support, found.weights.mean(axis=1))
    filled, stop = filled_up(problem, support, count, settings.fill, found.stop)
    selection = finish(
        problem,
        "gtp",
        count,
        np.concatenate([support, filled]),
        np.concatenate([weights, np.zeros(len(filled))]),
        n_filled=len(filled),
        rounds=found.rounds,
        pruned=np.setdiff1d(found.pruned, filled),
        stop=stop,
    )
    return replace(selection, residual_weighted=found.residual)


def _uniform(problem: Problem, count: int, settings: Settings, found: Pursued) -> Selection:
    """The selection as it will be trained: all weights equal, begun with what was pursued."""
    support, _, rounds, pruned, stop = found
    if stop is Stop.CANCELLED and len(support):
        even = np.sort(support)
    else:
        even, whole = _evened(problem, count, settings, support)
        stop = stop if whole else Stop.CANCELLED
    pruned = np.setdiff1d(np.union1d(pruned, support), even)
    selection = equal_weights(problem, "gtp", count, even, pruned=pruned, stop=stop)
    kept = int(np.isin(even, support).sum())
    exchanged = Round(len(even) - kept, kept, len(support) - kept, selection.residual_as_trained)
    return replace(selection, rounds=(*rounds, exchanged))


def _evened(
    problem: Problem, count: int, settings: Settings, support: np.ndarray
) -> tuple[np.ndarray, bool]:
    """An even support, begun with one that was pursued, and whether nobody cancelled it.

    With nothing to fill up, a pursuit that needs less than the budget may be better without the
    rest: then its own size, and one between, are tried too, and the lowest residual counts.
    """
    begun = [support] if len(support) else []
    found: list[np.ndarray] = []
    try:
        everyone = problem.atoms.n_samples
        ranked = strongest(problem.influence, problem.atoms.candidates, everyone, positive=False)
        for wanted in _sizes(len(support), count, settings.fill):
            starts = [
                np.concatenate([support, top_up(problem, support, wanted)]),
                problem.first(ranked, wanted),
            ]
            size = max(map(len, starts))
            starts = [start for start in starts if len(start) == size]
            begun += starts
            found.append(even_within(problem, starts, size, settings.ridge))
    except CancelledError:
        if not begun:
            raise
        return np.sort(_nearest(problem, found + begun)), False
    return _nearest(problem, found), True


def _sizes(pursued: int, count: int, fill: str) -> list[int]:
    """How many samples are tried, the whole budget first: of equal residuals the first counts."""
    if fill != "none" or not 0 < pursued < count:
        return [count]
    return list(dict.fromkeys([count, (pursued + count) // 2, pursued]))


def _nearest(problem: Problem, supports: list[np.ndarray]) -> np.ndarray:
    """The support of the lowest as-trained residual; equal to ten digits is equal."""
    if len(supports) == 1:
        return supports[0]
    scale = float(np.linalg.norm(problem.target)) or 1.0
    return min(supports, key=lambda support: round(as_trained(problem, support) / scale, 10))
