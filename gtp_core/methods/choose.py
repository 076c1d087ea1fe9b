"""Choose samples for a problem with a method, a budget and settings."""

from dataclasses import replace
from math import inf
from numbers import Integral, Real
from typing import Any

import numpy as np

from gtp_core.atoms import Problem
from gtp_core.errors import BudgetError, CancelledError, MethodError
from gtp_core.estimate import on_one_thread
from gtp_core.methods.budgets import Sizes, parse_budget, samples_of
from gtp_core.methods.register import FILLS, METHODS, SUBTASKS, WEIGHTS, OnRound, Settings
from gtp_core.methods.subspace import IN_SUBSPACES, prepare_subspace, rank_of
from gtp_core.pursuit import Selection, Stop

WEIGHING = ("omp", "grad-match", "craig")  # weights of their own, whatever is set


def select(
    problem: Problem,
    budget: str | int,
    *,
    method: str = "gtp",
    settings: Settings | None = None,
    on_round: OnRound | None = None,
) -> Selection:
    """Choose samples for a problem; the same bytes for any number of threads.

    Args:
        problem: what to match.
        budget: samples (`500`), percent of the pool (`"5%"`) or tokens (`"200000tok"`).
        method: a key of METHODS.
        settings: what the curator set.
        on_round: called after every round of a pursuit; return True to cancel.

    Example:
        >>> import numpy as np
        >>> from gtp_core.atoms import pose_array
        >>> problem = pose_array(np.eye(4), np.array([3.0, 0.0, 1.0, 0.0]))
        >>> select(problem, 2, settings=Settings(ridge=0.0)).support.tolist()
        [0, 2]

    Raises:
        BudgetError: the budget is no budget, or does not fit the pool or the pins.
        MethodError: an unknown method or a setting out of range.
    """
    return _select(problem, budget, method, settings or Settings(), on_round)


@on_one_thread  # BLAS shares out a product of two vectors from 10,000 numbers on
def _select(
    problem: Problem,
    budget: str | int,
    method: str,
    settings: Settings,
    on_round: OnRound | None,
) -> Selection:
    _check(method, settings)
    amount, unit = parse_budget(budget)
    if unit == "tok":
        selection = _select_tokens(problem, int(amount), method, settings, on_round)
    else:
        count = samples_of(budget, len(problem.tokens), int(problem.atoms.candidates.sum()))
        count = _within_caps(problem, count, budget, unit)
        _check_pins(problem, count, budget)
        selection = METHODS[method](problem, count, settings, on_round)
    used = used_settings(problem, budget, method, settings)
    return replace(selection, settings={**used, **selection.settings})


def used_settings(
    problem: Problem, budget: str | int, method: str, settings: Settings
) -> dict[str, Any]:
    """Every value a selection depends on besides the store, defaults included.

    The same settings go to every method, so that they can be compared. Where a method has no use
    for one and the answer would contradict it, the value that was really used is told.
    """
    if method not in IN_SUBSPACES:
        settings = replace(settings, subspace=Settings.subspace)
    if method in WEIGHING:
        settings = replace(settings, weights=Settings.weights)
    used = {**problem.settings, **vars(settings), "method": method, "budget": str(budget)}
    energy = prepare_subspace(problem, settings) if method in IN_SUBSPACES else None
    return used if energy is None else {**used, "subspace_energy": [round(e, 4) for e in energy]}


def _select_tokens(
    problem: Problem,
    tokens: int,
    method: str,
    settings: Settings,
    on_round: OnRound | None,
) -> Selection:
    """A selection whose tokens fit where one of a sample more would not."""
    candidates = problem.atoms.candidates
    smallest = int(problem.tokens[candidates].min())
    if tokens < smallest:
        raise BudgetError(
            f"budget={tokens}tok; the shortest sample to choose from has {smallest:,} tokens. "
            "Give at least that."
        )
    _check_pins(
        problem, 0 if problem.tokens[problem.pinned].sum() > tokens else None, f"{tokens}tok"
    )
    sizes = _sizes(problem, tokens)
    best: Selection | None = None
    while sizes.low < sizes.high or (best is None and sizes.high >= max(sizes.low, 1)):
        size = sizes.next() if sizes.low < sizes.high else max(sizes.low, 1)
        try:
            selection = METHODS[method](problem, size, settings, on_round)
        except BudgetError:  # more than this method takes at once: fewer may do
            sizes.refused(size)
            continue
        except CancelledError:
            if best is None:
                raise
            return replace(best, stop=Stop.CANCELLED)
        used = int(problem.tokens[selection.support].sum())
        sizes.tell(size, used)
        if used <= tokens and (best is None or len(selection.support) >= len(best.support)):
            best = selection
        if best is not None and selection.stop is Stop.CANCELLED:
            return replace(best, stop=Stop.CANCELLED)
    if best is None:
        raise BudgetError(
            f"budget={tokens}tok; the first sample {method} chooses is longer than that. "
            "Give more tokens."
        )
    return best


def _sizes(problem: Problem, tokens: int) -> Sizes:
    """What is known beforehand: pins fit, and no more fit than the shortest samples that do."""
    usable = problem.atoms.candidates.copy()
    usable[problem.pinned] = True
    each = np.sort(problem.tokens[usable])
    high = min(int(np.searchsorted(np.cumsum(each), tokens, side="right")), problem.most)
    pinned = problem.tokens[problem.pinned]
    return Sizes(tokens, len(pinned), int(pinned.sum()), high, float(each.mean()))


def _check(method: str, settings: Settings) -> None:
    if method not in METHODS:
        raise MethodError(f"method {method!r} is unknown; there are {', '.join(METHODS)}.")
    for name in ("ridge", "tolerance"):
        value = getattr(settings, name)
        if not (isinstance(value, Real) and 0 <= float(value) < inf):
            raise MethodError(f"{name}={value!r}; it must be a number of at least 0.")
    for name, least in (("max_rounds", 1), ("seed", 0)):
        value = getattr(settings, name)
        if not (isinstance(value, Integral) and int(value) >= least):
            raise MethodError(f"{name}={value!r}; it must be a whole number of at least {least}.")
    for name, known in (("fill", FILLS), ("weights", WEIGHTS), ("subtasks", SUBTASKS)):
        if getattr(settings, name) not in known:
            raise MethodError(
                f"{name}={getattr(settings, name)!r}; it must be one of {', '.join(known)}."
            )
    if rank_of(settings.subspace) is not None and settings.subtasks == "each":
        raise MethodError(
            f"subtasks=each is pursued in full dimension, not in subspace={settings.subspace}. "
            "Leave one of them out."
        )
    if settings.subtasks == "each" and settings.weights == "uniform":
        raise MethodError(
            "subtasks=each gives every subtask weights of its own and weights=uniform allows none. "
            "Leave one of them out."
        )


def _within_caps(problem: Problem, count: int, budget: str | int, unit: str) -> int:
    """A budget that the caps allow; one in samples that they do not is refused."""
    if count <= problem.most:
        return count
    if unit == "%":
        return problem.most
    caps = " and ".join(f"{cap.most:,} per {cap.word}" for cap in problem.caps)
    raise BudgetError(
        f"budget={budget}; with at most {caps} there are {problem.most:,} samples to choose. "
        "Lower the budget or raise the cap."
    )


def _check_pins(problem: Problem, count: int | None, budget: str | int) -> None:
    if count is not None and len(problem.pinned) > count:
        raise BudgetError(
            f"{len(problem.pinned):,} samples are pinned and budget={budget} holds fewer. "
            "Raise the budget or remove pins."
        )
