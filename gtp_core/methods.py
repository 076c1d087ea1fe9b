"""Every way to select, by name: one decorated function each.

To add a method, write a function of a Problem and a number of samples, and decorate it. The first
line of its docstring is its label on the page, in the help of the command and in the README.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf
from numbers import Integral, Real
from typing import Any, Protocol

import numpy as np

from gtp_core.atoms import Problem, strongest
from gtp_core.errors import BudgetError, MethodError
from gtp_core.pursuit import (
    MAX_BUDGET,
    Round,
    Selection,
    Stop,
    best_multiple,
    pursue,
    relative_residuals,
)

OnRound = Callable[[Round], bool | None]
FILLS = ("none", "influence")
# Thousands may be grouped by threes and nothing else: "1,5%" is 1.5 % to half of Europe.
_BUDGET = re.compile(r"\s*((?:[0-9]{1,3}(?:[_,][0-9]{3})+|[0-9]+)?(?:\.[0-9]+)?)\s*(%|tok|)\s*")


@dataclass(frozen=True)
class Settings:
    """What a curator may set; every method takes all and uses what concerns it.

    Attributes:
        ridge: dial from choosing together (0) to choosing alone (large). The default of 1 is
            the compromise that the demo's held-out match speaks for: from 5 % of the pool on, less
            ridge fits noise (0.65 against 0.62 at ridge 0.1, 200 samples for tidy-data); at 0.5 %
            less is better for one task (0.62 against 0.57 at 0.1, shop-arithmetic).
        max_rounds: upper limit of pursuit's rounds.
        tolerance: pursuit stops at this relative residual.
        fill: what to do when fewer samples than the budget explain the target: `none`, or
            `influence` to top up with the best ranked of the rest.
        seed: of random choices.
    """

    ridge: float = 1.0
    max_rounds: int = 30
    tolerance: float = 1e-6
    fill: str = "none"
    seed: int = 0


class Method(Protocol):
    """A way to select: at most `count` samples for a problem."""

    def __call__(
        self,
        problem: Problem,
        count: int,
        settings: Settings,
        on_round: OnRound | None,
    ) -> Selection: ...


METHODS: dict[str, Method] = {}
PASSES: dict[str, str] = {}


def method(name: str, *, passes: str) -> Callable[[Method], Method]:
    """Register a method under a name; `passes` is its cost in passes over the atoms."""

    def register(function: Method) -> Method:
        METHODS[name] = function
        PASSES[name] = passes
        return function

    return register


def label(name: str) -> str:
    """What a method is, in one line."""
    return (METHODS[name].__doc__ or "").strip().splitlines()[0].rstrip(".")


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
    return _finish(
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


@method("top-k", passes="1")
def top_k(
    problem: Problem,
    count: int,
    settings: Settings,
    on_round: OnRound | None,
) -> Selection:
    """Rank every sample alone by its influence and take the first (LESS)."""
    rest = problem.atoms.candidates.copy()
    rest[problem.pinned] = False
    best = strongest(problem.influence, rest, count - len(problem.pinned), positive=False)
    return _equal_weights(problem, "top-k", count, np.concatenate([problem.pinned, best]))


@method("random", passes="0")
def random(
    problem: Problem,
    count: int,
    settings: Settings,
    on_round: OnRound | None,
) -> Selection:
    """Draw samples by chance, every source in its share of the pool."""
    rest = problem.atoms.candidates.copy()
    rest[problem.pinned] = False
    index = np.flatnonzero(rest)
    generator = np.random.default_rng([settings.seed, 7])
    shuffled = generator.permutation(index)
    # Position within its source over the source's size: taking the smallest is proportional.
    place = np.empty(len(shuffled))
    for source in np.unique(problem.sources[shuffled]):
        members = np.flatnonzero(problem.sources[shuffled] == source)
        place[members] = (np.arange(len(members)) + generator.random()) / len(members)
    drawn = shuffled[np.argsort(place, kind="stable")][: count - len(problem.pinned)]
    return _equal_weights(problem, "random", count, np.concatenate([problem.pinned, drawn]))


def select(
    problem: Problem,
    budget: str | int,
    *,
    method: str = "gtp",
    settings: Settings | None = None,
    on_round: OnRound | None = None,
) -> Selection:
    """Choose samples for a problem.

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
    settings = settings or Settings()
    _check(method, settings)
    amount, unit = parse_budget(budget)
    if unit == "tok":
        selection = _select_tokens(problem, int(amount), method, settings, on_round)
    else:
        count = samples_of(budget, len(problem.tokens), int(problem.atoms.candidates.sum()))
        _check_pins(problem, count, budget)
        selection = METHODS[method](problem, count, settings, on_round)
    return replace(selection, settings=used_settings(problem, budget, method, settings))


def used_settings(
    problem: Problem, budget: str | int, method: str, settings: Settings
) -> dict[str, Any]:
    """Every value a selection depends on besides the store, defaults included."""
    used = {**problem.settings, **vars(settings), "method": method, "budget": str(budget)}
    return {**used, "weights": "non-negative"}


def parse_budget(budget: str | int) -> tuple[float, str]:
    """Amount and unit (`""` samples, `"%"`, `"tok"`) of a budget.

    Raises:
        BudgetError: it is none of `500`, `5%`, `200000tok`.
    """
    found = _BUDGET.fullmatch(str(budget))
    if not found or not found[1]:
        raise BudgetError(
            f"budget={str(budget)!r} is no budget; give samples (500), percent of the pool (5%) "
            "or tokens (200000tok)."
        )
    amount, unit = float(found[1].replace("_", "").replace(",", "")), found[2]
    if unit != "%" and not amount.is_integer():
        raise BudgetError(f"budget={budget}; samples and tokens come whole. Give a whole number.")
    return amount, unit


def samples_of(budget: str | int, n_samples: int, n_candidates: int) -> int:
    """The number of samples a budget in samples or percent of the pool means.

    Raises:
        BudgetError: less than one sample, or more than may be chosen.
    """
    amount, unit = parse_budget(budget)
    if unit == "%" and not 0 < amount <= 100:
        raise BudgetError(
            f"budget={budget}; a percentage of the pool is above 0 and at most 100 %."
        )
    count = round(amount / 100 * n_samples) if unit == "%" else int(amount)
    if unit == "%":
        count = min(max(count, 1), n_candidates)
    if not 1 <= count <= n_candidates:
        raise BudgetError(
            f"budget={budget}; this store has 1 to {n_candidates:,} samples to choose from."
        )
    return count


def _select_tokens(
    problem: Problem,
    tokens: int,
    method: str,
    settings: Settings,
    on_round: OnRound | None,
) -> Selection:
    """The selection of most samples whose tokens fit, found by bisection over its size."""
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
    # No selection that fits is larger than the shortest samples that do.
    shortest = np.cumsum(np.sort(problem.tokens[candidates]))
    low, high = len(problem.pinned), int(np.searchsorted(shortest, tokens, side="right"))
    best: Selection | None = None
    while low < high or best is None:
        middle = max(1, (low + high + 1) // 2)
        try:
            selection = METHODS[method](problem, middle, settings, on_round)
        except BudgetError:  # more than this method takes at once: fewer may do
            high = middle - 1
            continue
        fits = problem.tokens[selection.support].sum() <= tokens
        if fits and (best is None or len(selection.support) >= len(best.support)):
            best = selection
        low, high = (middle, high) if fits else (low, middle - 1)
        if high < max(low, 1) or (best is not None and selection.stop is Stop.CANCELLED):
            break
    if best is None:
        raise BudgetError(
            f"budget={tokens}tok; the first sample {method} chooses is longer than that. "
            "Give more tokens."
        )
    return best


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
    if settings.fill not in FILLS:
        raise MethodError(f"fill={settings.fill!r}; it must be one of {', '.join(FILLS)}.")


def _check_pins(problem: Problem, count: int | None, budget: str | int) -> None:
    if count is not None and len(problem.pinned) > count:
        raise BudgetError(
            f"{len(problem.pinned):,} samples are pinned and budget={budget} holds fewer. "
            "Raise the budget or remove pins."
        )


def _equal_weights(problem: Problem, name: str, count: int, support: np.ndarray) -> Selection:
    """A selection whose weights are all the one number that fits the target best."""
    weight = best_multiple(problem.atoms.rows(support).astype(np.float64), problem.target)
    weights = np.full(len(support), weight)
    return _finish(problem, name, count, support, weights, stop=Stop.RANKED)


def _finish(
    problem: Problem,
    name: str,
    count: int,
    support: np.ndarray,
    weights: np.ndarray,
    *,
    stop: Stop,
    n_filled: int = 0,
    rounds: tuple[Round, ...] = (),
    pruned: np.ndarray | None = None,
) -> Selection:
    """Residuals from the weights themselves, and everything in one object."""
    rows = problem.atoms.rows(support).astype(np.float64)
    weighted, as_trained = relative_residuals(rows, weights, problem.target)
    return Selection(
        method=name,
        budget=count,
        support=support,
        weights=weights,
        n_filled=n_filled,
        residual_weighted=weighted,
        residual_as_trained=as_trained,
        rounds=rounds or (Round(len(support), 0, 0, weighted),),
        pruned=np.empty(0, np.int64) if pruned is None else pruned,
        stop=stop,
    )
