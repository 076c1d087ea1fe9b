"""Methods that match the target jointly."""

import numpy as np

from gtp_core.atoms import Problem, strongest
from gtp_core.errors import BudgetError
from gtp_core.methods.register import OnRound, Settings, finish, method
from gtp_core.pursuit import MAX_BUDGET, Selection, pursue


@method("gtp", passes="1 per round")
def gtp(
    problem: Problem,
    count: int,
    settings: Settings,
    on_round: OnRound | None,
) -> Selection:
    """Choose samples that match the target together (Gradient Trajectory Pursuit)."""
    if count > MAX_BUDGET:
        raise BudgetError(
            f"budget={count:,} samples; gtp estimates up to {MAX_BUDGET:,} together. "
            "Take a smaller budget, or top-k."
        )
    support, weights, rounds, pruned, stop = pursue(
        problem.atoms,
        problem.target,
        count,
        ridge=settings.ridge,
        max_rounds=settings.max_rounds,
        tolerance=settings.tolerance,
        pinned=problem.pinned,
        on_round=on_round,
    )
    filled = np.empty(0, np.int64)
    if settings.fill == "influence" and len(support) < count:
        rest = problem.atoms.candidates.copy()
        rest[support] = False
        scores = problem.atoms.products(problem.target[None])[:, 0]
        filled = strongest(scores, rest, count - len(support), positive=False)
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
