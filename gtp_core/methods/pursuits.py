"""Methods that match the target jointly."""

from dataclasses import replace

import numpy as np

from gtp_core.atoms import Problem, strongest
from gtp_core.methods.register import OnRound, Settings, equal_weights, finish, method
from gtp_core.methods.steps import top_up
from gtp_core.methods.uniform import even_support
from gtp_core.pursuit import Round, Selection, Stop, pursue


@method("gtp", passes="16, then 1 for some rounds")
def gtp(
    problem: Problem,
    count: int,
    settings: Settings,
    on_round: OnRound | None,
) -> Selection:
    """Choose samples that match the target together (Gradient Trajectory Pursuit)."""
    support, weights, rounds, pruned, stop = pursue(
        problem.atoms,
        problem.target,
        count,
        ridge=settings.ridge,
        max_rounds=settings.max_rounds,
        tolerance=settings.tolerance,
        pinned=problem.pinned,
        first=problem.first if problem.caps else None,
        on_round=on_round,
    )
    if settings.weights == "uniform":
        return _uniform(problem, count, support, rounds, pruned, stop)
    filled = np.empty(0, np.int64)
    if settings.fill == "influence":
        filled = top_up(problem, support, count)
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


def _uniform(
    problem: Problem,
    count: int,
    support: np.ndarray,
    rounds: tuple[Round, ...],
    pruned: np.ndarray,
    stop: Stop,
) -> Selection:
    """The selection as it will be trained: all weights equal, begun with what was pursued."""
    everyone = problem.atoms.n_samples
    ranked = strongest(problem.influence, problem.atoms.candidates, everyone, positive=False)
    pursued = np.concatenate([support, top_up(problem, support, count)])
    starts = [pursued, problem.first(ranked, count)]
    size = max(map(len, starts))
    even = even_support(problem, [start for start in starts if len(start) == size], size)
    pruned = np.setdiff1d(np.union1d(pruned, support), even)
    selection = equal_weights(problem, "gtp", count, even, pruned=pruned, stop=stop)
    kept = int(np.isin(even, support).sum())
    exchanged = Round(len(even) - kept, kept, len(support) - kept, selection.residual_as_trained)
    return replace(selection, rounds=(*rounds, exchanged))
